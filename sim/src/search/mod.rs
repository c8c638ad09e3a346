//! Search engines: how the next schedule is chosen on the worlds of a campaign.
//!
//! | engine | how |
//! |---|---|
//! | `swarm` | chance, by weights that each run draws: the default |
//! | `urw` | uniform random walk: lanes as likely as they have events left |
//! | `pct` | random priorities, changed at one to four moments (depth 2 to 5, by the seed) |
//! | `fuzz` | tapes that showed something new, mutated |
//! | `portfolio` | each of these, a quarter of the runs |
//!
//! 1. A run is a function of the campaign's plan and its index, whatever the engine and the number of jobs. Those of `fuzz`
//!    build on each other in *hunts* of [`HUNT`] runs, which one job takes in order, beginning with nothing.
//! 2. All that an engine decides is on the tape: a replay does not know of engines.
//! 3. The engines draw operations, faults and crashes as the default does; `fuzz` mutates these, too.
//!
//! Why not libFuzzer for `fuzz`: it needs an instrumented build, counts edges of code where runs differ in their order of
//! events, and is no function of a seed across builds. Its targets stay (`fuzz/`); here the same tapes are mutated by
//! event, not by byte, in the same process, at the speed of the simulator.

mod corpus;
mod mutate;

pub use corpus::{Corpus, Hunt, Kept};
pub use mutate::mutate;

use crate::tape::{Policy, mix};
use std::fmt;
use std::str::FromStr;

/// Runs that build on each other.
pub const HUNT: u64 = 8192;

/// Runs that a job takes at once, where each stands alone.
const BATCH: u64 = 16;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Chance.
    #[default]
    Swarm,
    /// Uniform random walk.
    Uniform,
    /// Priorities.
    Priorities,
    /// Coverage-guided.
    Fuzz,
    /// All of them.
    Portfolio,
}

/// How one run is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Chance decides everything.
    Chance,
    /// A policy decides about the schedule.
    Guided(Policy),
    /// As an earlier run, changed; by chance if there is none.
    Mutant,
}

/// Sets the draw of the way apart from the draws of the run.
const STREAM: u64 = 0x77_61_79;

impl Engine {
    /// All of them.
    pub const ALL: [Engine; 5] = [
        Engine::Swarm,
        Engine::Uniform,
        Engine::Priorities,
        Engine::Fuzz,
        Engine::Portfolio,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Engine::Swarm => "swarm",
            Engine::Uniform => "urw",
            Engine::Priorities => "pct",
            Engine::Fuzz => "fuzz",
            Engine::Portfolio => "portfolio",
        }
    }

    /// How the run of a seed is to go.
    #[must_use]
    pub fn way(self, seed: u64) -> Way {
        let drawn = mix(seed ^ STREAM);
        let depth = 2 + (drawn >> 8) as u32 % 4;
        match self {
            Engine::Swarm => Way::Chance,
            Engine::Uniform => Way::Guided(Policy::Uniform),
            Engine::Priorities => Way::Guided(Policy::Priorities { depth }),
            Engine::Fuzz if drawn.is_multiple_of(8) => Way::Chance,
            Engine::Fuzz => Way::Mutant,
            Engine::Portfolio => {
                let all = [Engine::Swarm, Engine::Uniform, Engine::Priorities];
                match all.get(drawn as usize % 4) {
                    Some(engine) => engine.way(seed),
                    None => Way::Mutant,
                }
            }
        }
    }

    /// True if runs build on each other.
    #[must_use]
    pub fn hunts(self) -> bool {
        matches!(self, Engine::Fuzz | Engine::Portfolio)
    }

    /// Runs that one job takes at once, in order.
    #[must_use]
    pub fn batch(self) -> u64 {
        if self.hunts() { HUNT } else { BATCH }
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
        let found = Engine::ALL.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| format!("engine {name:?}: must be swarm, urw, pct, fuzz or portfolio"))
    }
}

#[cfg(test)]
mod tests;
