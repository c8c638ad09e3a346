//! What a run says: its counts, or the failure that a named checker found.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::disk::fault::FaultCounts;

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStats {
    /// Guest operations submitted.
    pub ops: u64,
    /// Events delivered to the core.
    pub steps: u64,
    /// Power cuts.
    pub crashes: u64,
    /// Servers killed and taken over.
    pub kills: u64,
    /// Images left by a server that could not make them durable, and opened without a power cut.
    pub left: u64,
    /// Live copies that were compared.
    pub copies: u64,
    /// Levels that left the chain after a promotion.
    pub promoted_merges: u64,
    /// Changes of the chain, per sort (`world::switch`).
    pub switches: [u64; crate::world::switch::Switch::SORTS],
    /// Power cuts inside a change of the chain.
    pub switch_cuts: u64,
    /// Of these, while it was made anew after a power cut.
    pub switch_recovery_cuts: u64,
    /// Changes of the chain that met a fault, and were made anew.
    pub switch_faults: u64,
    /// Images below a top that were shorter disks.
    pub short_lowers: u64,
    /// Devices suspended while they were used.
    pub suspends: u64,
    /// Power cuts after a power cut, before the image was marked in use again, or while it was settled.
    pub recovery_crashes: u64,
    /// Power cuts inside a close.
    pub close_crashes: u64,
    /// Power cuts of which every distinct crash image was examined.
    pub complete_cuts: u64,
    /// Crash images opened, checked and compared.
    pub crash_images: u64,
    /// Sectors compared with the model, reads and crash images together.
    pub sectors_compared: u64,
    /// Crash images in which one round's riders were torn apart.
    pub torn_rounds: u64,
    /// Of these, in the geometry of real images: pages of 4096 bytes, torn at 512.
    pub torn_real_rounds: u64,
    /// Faults injected, by kind.
    pub faults: FaultCounts,
    /// Hash of everything that happened, in order.
    pub trace: u64,
}

/// How a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A wrong answer or a broken invariant.
    Wrong,
    /// Something never ended.
    Hang,
    /// A panic.
    Panic,
}

impl Class {
    /// The exit code of the command line.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Wrong => 2,
            Class::Hang => 3,
            Class::Panic => 4,
        }
    }
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub class: Class,
    /// The checker that found it, by the name that the documentation uses.
    pub checker: &'static str,
    /// What is wrong, in one or a few lines.
    pub message: String,
    /// Hash of everything that happened until then.
    pub trace: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{}] {}", self.class, self.checker, self.message)
    }
}
