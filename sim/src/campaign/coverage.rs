//! What a campaign must have been to: all coverage marks of the core, all faults on all kinds of I/O, torn rounds, crashes
//! inside a recovery. A small campaign only says what it did not see; a large one is red.

use super::Summary;
use crate::profile::Profile;
use crate::world::switch::Switch;
use std::time::Duration;

const SWITCHES: [&str; Switch::SORTS] = [
    "reload",
    "snapshot",
    "merge up",
    "merge down",
    "grow",
    "compaction",
    "rollback",
    "moved clusters",
    "repair",
    "a new dirty bitmap",
    "a dirty bitmap cleared",
    "a dirty bitmap gone",
    "write-back switched",
    "a read-only load",
];

/// From this many guest operations on a campaign is large (some 200,000 runs of the profile `tiny`).
pub const LARGE_OPS: u64 = 2_000_000;
/// So is one that was given this time.
pub const LARGE_TIME: Duration = Duration::from_secs(60);
/// A profile with this many operations must have torn a round and crashed a recovery by itself.
pub const PROFILE_OPS: u64 = 100_000;

/// What was not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Marks of the core.
    pub marks: Vec<String>,
    /// Anything else, in words.
    pub others: Vec<String>,
    /// The campaign was so large that everything must have been seen.
    pub large: bool,
}

impl Coverage {
    /// Judges a campaign that was given this time, if it was limited. `marks` are those that it has not seen.
    #[must_use]
    pub fn of(time: Option<Duration>, summary: &Summary, marks: Vec<String>) -> Coverage {
        let sum = summary.totals.sum();
        let large = sum.ops >= LARGE_OPS || time.is_some_and(|time| time >= LARGE_TIME);
        let mut others = Vec::new();
        for (io, fault, count) in sum.faults.iter() {
            if count == 0 {
                others.push(format!("{} on {}", fault.name(), io.name()));
            }
        }
        for (profile, _, stats) in summary.totals.iter() {
            if stats.ops >= PROFILE_OPS && stats.torn_rounds == 0 {
                others.push(format!("a round torn apart ({profile})"));
            }
            if stats.ops >= PROFILE_OPS && stats.close_crashes == 0 {
                others.push(format!("a crash inside a close ({profile})"));
            }
            if stats.ops >= PROFILE_OPS && stats.recovery_crashes == 0 {
                others.push(format!("a crash inside a recovery ({profile})"));
            }
        }
        if sum.torn_rounds == 0 {
            others.push("a round torn apart".into());
        }
        // `tiny` has no real geometry, `big` no tiny one.
        let only = |one| summary.totals.iter().all(|(profile, ..)| profile == one);
        if sum.torn_real_rounds == 0 && !only(Profile::Tiny) {
            others.push("a round torn apart in real geometry".into());
        }
        if sum.torn_real_rounds == sum.torn_rounds && !only(Profile::Big) {
            others.push("a round torn apart in tiny geometry".into());
        }
        if sum.kills == 0 {
            others.push("a server killed and taken over".into());
        }
        if sum.left == 0 {
            others.push("an image left open that could not be made durable".into());
        }
        // `tiny` knows the plain changes only, and nothing goes wrong in them.
        let sorts = match only(Profile::Tiny) {
            true => Switch::PLAIN,
            false => Switch::SORTS,
        };
        for (count, sort) in sum.switches.iter().zip(SWITCHES).take(sorts) {
            if *count == 0 {
                others.push(format!("a chain changed by {sort}"));
            }
        }
        let in_changes = [
            (sum.switch_cuts, "a crash inside a change of the chain"),
            (
                sum.switch_recovery_cuts,
                "a crash while a change of the chain is made anew after a crash",
            ),
            (sum.switch_faults, "a change of the chain that met a fault"),
            (
                sum.short_lowers,
                "an image below the top that is a shorter disk",
            ),
        ];
        for (count, what) in in_changes {
            if count == 0 && !only(Profile::Tiny) {
                others.push(what.into());
            }
        }
        if sum.suspends == 0 {
            others.push("a device suspended in use".into());
        }
        if sum.copies == 0 {
            others.push("a live copy compared".into());
        }
        // Disks of `big` are too large to be promoted as a whole.
        if sum.promoted_merges == 0 && !only(Profile::Big) {
            others.push("a level gone after a promotion".into());
        }
        if sum.recovery_crashes == 0 {
            others.push("a crash inside a recovery".into());
        }
        Coverage {
            marks,
            others,
            large,
        }
    }

    /// True if nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.marks.is_empty() && self.others.is_empty()
    }

    /// True if something is missing that a campaign of this size must have seen.
    #[must_use]
    pub fn is_red(&self) -> bool {
        self.large && !self.is_complete()
    }
}
