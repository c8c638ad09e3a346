//! The engines, by name.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Who looks for a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The deterministic simulator: `sim run`.
    Sim,
    /// Every interleaving of small models: `cargo test -p sim --test loom`.
    Loom,
    /// Every inequivalent interleaving of these models, and small configurations with all their crash images:
    /// `cargo test -p sim --test explore`, `sim explore`.
    Explore,
    /// Random interleavings of whole devices: `cargo test -p sim --test shuttle`.
    Shuttle,
    /// The control plane's operations under power cuts and faults: `cargo test -p sim --test control`.
    Control,
    /// Fixed cases that no drawn world comes to: `cargo test -p sim --test rules`.
    Rules,
    /// The core's own tests: `cargo test -p ploop-core --lib`.
    Core,
    /// Bundles of snapshots, stopped and crashed at each step: `cargo test -p ploop-ublk --lib`.
    Bundle,
    /// `cargo fuzz run bat_ops`.
    BatOps,
    /// `cargo fuzz run open_image`.
    OpenImage,
}

impl Engine {
    /// All of them, in the order of the table.
    pub const ALL: &'static [Engine] = &[
        Engine::Sim,
        Engine::Loom,
        Engine::Explore,
        Engine::Shuttle,
        Engine::Control,
        Engine::Rules,
        Engine::Core,
        Engine::Bundle,
        Engine::BatOps,
        Engine::OpenImage,
    ];

    /// The name on the command line, in a patch's header and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Engine::Sim => "sim",
            Engine::Loom => "loom",
            Engine::Explore => "explore",
            Engine::Shuttle => "shuttle",
            Engine::Control => "control",
            Engine::Rules => "rules",
            Engine::Core => "core",
            Engine::Bundle => "bundle",
            Engine::BatOps => "bat_ops",
            Engine::OpenImage => "open_image",
        }
    }

    /// True if its schedules are drawn: how many it takes says little where they are few.
    #[must_use]
    pub fn draws(self) -> bool {
        !matches!(self, Engine::Loom | Engine::Explore)
    }

    /// True if it gives the same verdict each time: all its tests, in order, draw nothing but what their seeds say.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        matches!(
            self,
            Engine::Loom | Engine::Explore | Engine::Control | Engine::Rules | Engine::Bundle
        )
    }

    /// Engines by name; `fuzz` is both fuzz targets.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn list(name: &str) -> Result<Vec<Engine>, String> {
        match name {
            "fuzz" => Ok(vec![Engine::BatOps, Engine::OpenImage]),
            name => name.parse().map(|engine| vec![engine]),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Engine, String> {
        let found = Engine::ALL.iter().find(|engine| engine.name() == name);
        found.copied().ok_or_else(|| {
            format!(
                "engine {name:?}: must be sim, loom, explore, shuttle, control, rules, core, bundle, bat_ops, open_image or fuzz"
            )
        })
    }
}
