//! The words of a line, and errors that name line and word.

use std::str::FromStr;

use crate::scenario::ScenarioError;

pub(super) type Result<T> = std::result::Result<T, ScenarioError>;

/// The words of a line that are left.
pub(super) struct Words<'a> {
    pub(super) line: usize,
    pub(super) rest: std::str::SplitWhitespace<'a>,
}

pub(super) fn bad(line: usize, token: &str, problem: &str) -> ScenarioError {
    ScenarioError::Syntax {
        line,
        token: token.to_owned(),
        problem: problem.to_owned(),
    }
}

impl<'a> Words<'a> {
    pub(super) fn bad(&self, token: &str, problem: &str) -> ScenarioError {
        bad(self.line, token, problem)
    }

    /// The next word, which stays.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.rest.clone().next()
    }

    pub(super) fn next(&mut self, what: &str) -> Result<&'a str> {
        let line = self.line;
        let missing = || bad(line, "", &format!("here must stand {what}"));
        self.rest.next().ok_or_else(missing)
    }

    pub(super) fn parse<T: FromStr>(&self, token: &str, problem: &str) -> Result<T> {
        token.parse().map_err(|_| self.bad(token, problem))
    }

    pub(super) fn number<T: FromStr>(&mut self, what: &str) -> Result<T> {
        let token = self.next(what)?;
        self.parse(token, &format!("must be {what}"))
    }

    pub(super) fn end(&mut self) -> Result<()> {
        match self.rest.next() {
            None => Ok(()),
            Some(word) => Err(self.bad(word, "must not stand here")),
        }
    }
}
