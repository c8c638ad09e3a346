//! What the reader does with a problem: stop (strict) or write it down and go on (lenient).

use std::io;

use crate::error::{LoadError, Problem};

/// Problems that are kept one by one; of more, only the number is known. Bounds what a hostile BAT can make us keep.
pub(super) const KEPT: usize = 1000;

/// Why reading stopped. The file's name is added at the end.
pub(super) enum Stop {
    Io {
        what: &'static str,
        source: io::Error,
    },
    Bad(Problem),
}

impl Stop {
    pub(super) fn in_file(self, name: &str) -> LoadError {
        match self {
            Stop::Bad(problem) => problem.refuse(name),
            Stop::Io { what, source } => LoadError::Io {
                file: name.to_owned(),
                what,
                source,
            },
        }
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        Stop::Bad(problem)
    }
}

pub(super) fn reading(what: &'static str, source: io::Error) -> Stop {
    Stop::Io { what, source }
}

/// Where problems go.
pub(super) enum Report {
    Strict,
    Lenient { problems: Vec<Problem>, count: u64 },
}

impl Report {
    pub(super) fn lenient() -> Report {
        Report::Lenient {
            problems: Vec::new(),
            count: 0,
        }
    }

    /// Reports damage. `Err`: reading ends here. `Ok`: leave out what is damaged and go on.
    pub(super) fn damage(&mut self, problem: Problem) -> Result<(), Problem> {
        match self {
            Report::Strict => Err(problem),
            Report::Lenient { .. } => {
                self.note(problem);
                Ok(())
            }
        }
    }

    /// Reports something that does not keep the image from being opened.
    pub(super) fn note(&mut self, problem: Problem) {
        if let Report::Lenient { problems, count } = self {
            *count += 1;
            if problems.len() < KEPT {
                problems.push(problem);
            }
        }
    }
}
