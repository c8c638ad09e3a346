//! Why a scenario could not be played, or how it failed.

use std::{fmt, io};

use crate::report::Failure;

/// See the module.
#[derive(Debug)]
pub enum ScenarioError {
    /// The file could not be read.
    Io(io::Error),
    /// A line is no step.
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What stands there; empty: nothing, where something must stand.
        token: String,
        /// What must stand there.
        problem: String,
    },
    /// It cannot be played where it was to be.
    Unusable(String),
    /// A checker, the model or a line of the scenario itself found something wrong.
    Failed {
        /// The line being played, from 1; `None`: the end that follows the last line.
        line: Option<usize>,
        /// What was found.
        failure: Failure,
    },
}

impl ScenarioError {
    /// The failure, unless the scenario could not even be read.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            ScenarioError::Failed { failure, .. } => Some(failure),
            ScenarioError::Io(_) | ScenarioError::Syntax { .. } | ScenarioError::Unusable(_) => {
                None
            }
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScenarioError::Io(error) => write!(f, "cannot read the scenario: {error}"),
            ScenarioError::Syntax {
                line,
                token,
                problem,
            } => write!(f, "line {line}, {token:?}: {problem}"),
            ScenarioError::Unusable(problem) => f.write_str(problem),
            ScenarioError::Failed {
                line: Some(line),
                failure,
            } => write!(f, "line {line}: {failure}"),
            ScenarioError::Failed {
                line: None,
                failure,
            } => write!(f, "at the end: {failure}"),
        }
    }
}

impl std::error::Error for ScenarioError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ScenarioError::Io(error) => Some(error),
            ScenarioError::Syntax { .. }
            | ScenarioError::Unusable(_)
            | ScenarioError::Failed { .. } => None,
        }
    }
}
