//! A recorded run, run again.

use crate::campaign::{Make, Runner};
use crate::profile::Profile;
use crate::report::{Failure, RunStats};
use crate::tape::{Choice, Span, Tape, TapeFile};
use std::fmt;

/// What became of a tape.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Of the run. What is not the same twice is a failure of the checker `determinism`.
    pub result: Result<RunStats, Failure>,
    /// How it compares to what the file says.
    pub agreement: Agreement,
    /// Recorded choices that were of another kind or range than the question.
    pub misaligned: u64,
    /// The share of recorded choices that answered the question they were recorded for, in percent.
    pub alignment: f64,
    /// The choices that it made.
    pub choices: Vec<Choice>,
    /// Its events, by name.
    pub spans: Vec<Span>,
}

/// How a replay compares to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The same verdict and the same trace.
    Same,
    /// The same verdict by another way: the code has changed.
    SameVerdict,
    /// Another verdict.
    Other,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Agreement::Same => "as recorded, to the last step",
            Agreement::SameVerdict => "the recorded verdict, by another way: the code has changed",
            Agreement::Other => "not the recorded verdict: the code has changed",
        })
    }
}

/// Runs a tape twice, each time in a fresh subject.
pub fn replay(file: &TapeFile, profile: Profile, make: Make) -> Replay {
    let mut runner = Runner::new(make, false);
    let mut tape = Tape::replay_spans(&file.choices, &file.spans);
    tape.note_spans();
    let result = runner.run_tape(profile, tape);
    let (misaligned, alignment) = (runner.misaligned(), runner.alignment());
    let result = runner.confirm(profile, &result).and(result);
    let (checker, trace) = match &result {
        Ok(stats) => ("", stats.trace),
        Err(failure) => (failure.checker, failure.trace),
    };
    let agreement = if checker != file.failure {
        Agreement::Other
    } else if file.trace.is_some_and(|recorded| recorded != trace) {
        Agreement::SameVerdict
    } else {
        Agreement::Same
    };
    Replay {
        result,
        agreement,
        misaligned,
        alignment,
        choices: runner.choices().to_vec(),
        spans: runner.spans().to_vec(),
    }
}
