//! A recorded run, run again.

use crate::campaign::{Make, Runner, hang};
use crate::profile::Profile;
use crate::report::{Failure, RunStats};
use crate::tape::{Choice, Span, Tape, TapeFile};
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

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

impl Replay {
    /// The run did not end: there is nothing to be told of it.
    #[must_use]
    pub fn hangs(&self) -> bool {
        matches!(&self.result, Err(failure) if failure.checker == hang::WATCHDOG)
    }
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

/// As [`replay`], of a tape that may not end: after so long it is a hang, and its thread is left behind.
pub fn replay_in_time(file: &TapeFile, profile: Profile, make: Make, patience: Duration) -> Replay {
    let (send, ended) = mpsc::channel();
    let tape = file.clone();
    thread::spawn(move || {
        // Nobody listens any more if it took too long.
        let _ = send.send(replay(&tape, profile, make));
    });
    match ended.recv_timeout(patience) {
        Ok(replay) => replay,
        Err(RecvTimeoutError::Timeout) => {
            let failure = hang::failure(patience);
            Replay {
                agreement: agreement(file, failure.checker, failure.trace),
                result: Err(failure),
                misaligned: 0,
                alignment: 100.0,
                choices: file.choices.clone(),
                spans: file.spans.clone(),
            }
        }
        Err(RecvTimeoutError::Disconnected) => unreachable!("a run's panic is caught"),
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
    Replay {
        agreement: agreement(file, checker, trace),
        result,
        misaligned,
        alignment,
        choices: runner.choices().to_vec(),
        spans: runner.spans().to_vec(),
    }
}

/// How what came out compares to what the file says.
fn agreement(file: &TapeFile, checker: &str, trace: u64) -> Agreement {
    if checker != file.failure {
        Agreement::Other
    } else if file.trace.is_some_and(|recorded| recorded != trace) {
        Agreement::SameVerdict
    } else {
        Agreement::Same
    }
}
