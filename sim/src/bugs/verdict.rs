//! What became of one bug before one engine.

use crate::shrink::Counts;
use crate::shrink::trial::words;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an engine found in a patched tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The named checker fired; its message.
    pub found: Option<String>,
    /// The checker's name, where the patch names none for this engine.
    #[serde(default)]
    pub by: Option<String>,
    /// What fired, but is not the named checker: counts for nothing.
    pub others: Vec<Other>,
    /// Runs, executions or schedules in all, as far as the engine tells.
    pub runs: Option<u64>,
    /// Runs, executions or schedules until it was found, once for each base of seeds that found it.
    #[serde(default)]
    pub schedules: Vec<u64>,
    /// Processor time.
    pub cpu_seconds: f64,
    /// The budget that was not enough, in seconds.
    pub budget: f64,
    /// The shrunk tape of what was found, if the engine has tapes.
    #[serde(default)]
    pub small: Option<Small>,
}

/// A shrunk tape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Small {
    /// Figures of the tape that was found.
    pub before: Counts,
    /// Figures of the small one.
    pub after: Counts,
    /// Runs that it took.
    pub runs: u64,
    /// Time that it took, in seconds.
    pub seconds: f64,
    /// The file.
    pub output: String,
}

/// Something that fired, but not as it should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// Checker, or test.
    pub name: String,
    /// How often.
    pub count: u64,
    /// What it said first.
    pub message: String,
}

impl Verdict {
    /// The median of the schedules until it was found.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        let mut sorted = self.schedules.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Notes what fired, but does not count; complaints that differ in places and values only are one.
    pub(super) fn other(&mut self, name: &str, message: String) {
        let like =
            |other: &&mut Other| other.name == name && words(&other.message) == words(&message);
        match self.others.iter_mut().find(like) {
            Some(other) => other.count += 1,
            None => self.others.push(Other {
                name: name.to_owned(),
                count: 1,
                message,
            }),
        }
    }
}

/// Why a bug could not be judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    /// The patch does not apply.
    Apply(String),
    /// Its tree does not compile.
    Build(String),
    /// An engine cannot be run here.
    Engine(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Apply(why) => write!(f, "does not apply: {why}"),
            Trouble::Build(why) => write!(f, "does not compile: {why}"),
            Trouble::Engine(why) => write!(f, "{why}"),
        }
    }
}
