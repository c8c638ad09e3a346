//! What runs, where, in which order, and for how long at most. The host shows it as tests; the agent runs it.

use crate::guest::harness;
use crate::guest::trouble::Outcome;

/// A kernel that guests boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kernel {
    /// 6.12 of bookworm-backports: the oldest that is supported.
    V6_12,
    /// 7.3 of trixie-backports: all features.
    V7_3,
}

impl Kernel {
    /// All of them.
    pub(crate) const ALL: [Kernel; 2] = [Kernel::V6_12, Kernel::V7_3];

    /// Its version line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::V6_12 => "6.12",
            Kernel::V7_3 => "7.3",
        }
    }

    /// The suite that has it.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Kernel::V6_12 => "bookworm-backports",
            Kernel::V7_3 => "trixie-backports",
        }
    }
}

/// One step of a guest.
pub(crate) struct Step {
    /// Its name, without blanks and commas.
    pub(crate) name: &'static str,
    /// Where it runs.
    pub(crate) kernels: &'static [Kernel],
    /// Seconds that it may take; a step that takes longer hangs.
    pub(crate) limit: u64,
    /// Does it.
    pub(crate) run: fn() -> Outcome,
}

const fn step(
    name: &'static str,
    kernels: &'static [Kernel],
    limit: u64,
    run: fn() -> Outcome,
) -> Step {
    Step {
        name,
        kernels,
        limit,
        run,
    }
}

const BOTH: &[Kernel] = &Kernel::ALL;
const OLD: &[Kernel] = &[Kernel::V6_12];
const NEW: &[Kernel] = &[Kernel::V7_3];

/// All steps, in order.
pub(crate) const STEPS: &[Step] = &[
    step("harness-on-kernel-loop", OLD, 60, harness::sound),
    step("harness-finds-a-lie", OLD, 60, harness::lie),
];
