//! The shrinker: a failing tape becomes a small one that fails in the same way.
//!
//! ```text
//!   tape ──▶ run, its events named ──▶ passes: candidates are run, the smallest that fails alike is kept ──▶ run twice
//! ```
//! 1. "Alike" is the class, the checker, and what the checker complains about (foreign data is not lost data).
//! 2. Operations, faults, schedule and crash choices shrink together: they are all choices of one tape. What is kept is
//!    what the candidate's run has *made* of its tape, not what it was given: no choice is left that nobody asked for.
//! 3. Same tape, same number of runs: same result. Time is a bound only.
//! 4. The result was run twice, each time in a fresh world, with the same trace.

mod counts;
mod draft;
mod passes;
#[cfg(test)]
mod tests;
pub(crate) mod trial;

pub use counts::Counts;
use draft::Draft;
use trial::{Limits, Signature, Trials};

use crate::campaign::hang::WATCHDOG;
use crate::campaign::{Make, Runner};
use crate::profile::Profile;
use crate::report::Failure;
use crate::tape::{Tape, TapeFile};
use std::fmt;
use std::time::{Duration, Instant};

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs at the most.
    pub runs: u64,
    /// Time at the most.
    pub time: Duration,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort {
            runs: 150_000,
            time: Duration::from_secs(5),
        }
    }
}

/// A tape that was shrunk.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small tape, with the names of its events.
    pub file: TapeFile,
    /// How it fails.
    pub failure: Failure,
    /// The original.
    pub before: Counts,
    /// The small one.
    pub after: Counts,
    /// Runs that it took.
    pub runs: u64,
    /// Time that it took.
    pub elapsed: Duration,
}

/// Why a tape cannot be shrunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not fail.
    Passes,
    /// It does not end.
    Hangs,
    /// It does not go the same way twice.
    Unsteady(Failure),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Passes => {
                f.write_str("this tape does not fail (any more): there is nothing to shrink")
            }
            Refusal::Hangs => f.write_str(
                "the run of this tape does not end: whether a smaller one ends could not be told without waiting for each",
            ),
            Refusal::Unsteady(failure) => write!(f, "{failure}"),
        }
    }
}

/// Shrinks a tape.
///
/// # Errors
/// If it does not fail, does not end, or does not fail in the same way twice.
pub fn shrink(
    file: &TapeFile,
    profile: Profile,
    make: Make,
    effort: Effort,
) -> Result<Shrunk, Refusal> {
    let started = Instant::now();
    if file.failure == WATCHDOG {
        return Err(Refusal::Hangs);
    }
    let (failure, start) = named(file, profile, make)?;
    let before = Counts::of(&start.choices, &start.spans);
    let limits = Limits {
        runs: effort.runs,
        // The result is run once more, in time.
        until: started + effort.time * 19 / 20,
    };
    let wanted = Signature::of(&failure);
    let mut trials = Trials::new(make, profile, wanted.clone(), limits, start);
    trials.shrink();
    let Draft { choices, spans } = trials.best;
    let small = TapeFile {
        choices,
        spans,
        ..file.clone()
    };
    let (failure, last) = named(&small, profile, make)?;
    let after = Counts::of(&last.choices, &last.spans);
    Ok(Shrunk {
        file: TapeFile {
            trace: Some(failure.trace),
            failure: failure.checker.to_owned(),
            choices: last.choices,
            spans: last.spans,
            ..small
        },
        failure,
        before,
        after,
        runs: trials.runs + 4,
        elapsed: started.elapsed(),
    })
}

/// Runs a tape twice. Its failure, and the tape as it was read, with the names of its events.
fn named(file: &TapeFile, profile: Profile, make: Make) -> Result<(Failure, Draft), Refusal> {
    let mut runner = Runner::new(make, false);
    let mut tape = Tape::replay_spans(&file.choices, &file.spans);
    tape.note_spans();
    let result = runner.run_tape(profile, tape);
    runner
        .confirm(profile, &result)
        .map_err(Refusal::Unsteady)?;
    match result {
        Ok(_) => Err(Refusal::Passes),
        Err(failure) => Ok((failure, runner.draft())),
    }
}

impl Runner {
    /// The tape of the last run.
    fn draft(&self) -> Draft {
        Draft {
            choices: self.choices().to_vec(),
            spans: self.spans().to_vec(),
        }
    }
}
