//! Trials: a draft is run, and kept if it fails as the original does and is smaller.

use super::counts::Size;
use super::draft::Draft;
use crate::campaign::{Make, Subject, attempt};
use crate::profile::Profile;
use crate::report::{Class, Failure, RunStats};
use crate::tape::Tape;
use std::time::Instant;

/// What makes two failures the same: class, checker, and what the checker complains about, without places and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    class: Class,
    checker: &'static str,
    words: String,
}

impl Signature {
    pub(crate) fn of(failure: &Failure) -> Signature {
        Signature {
            class: failure.class,
            checker: failure.checker,
            words: words(&failure.message),
        }
    }
}

/// "sector 7: foreign data: saw ..." -> "foreign data"; a panic: its place; else the text up to the first colon or figure.
pub(crate) fn words(message: &str) -> String {
    let line = message.lines().next().unwrap_or("");
    if let Some((before, _)) = line.split_once(": saw ") {
        return before.rsplit(": ").next().unwrap_or(before).to_owned();
    }
    if let Some((_, place)) = line.rsplit_once(", at ") {
        return place.to_owned();
    }
    let stop = |c: char| c == ':' || c.is_ascii_digit();
    line.split(stop).next().unwrap_or("").trim().to_owned()
}

/// How much may be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) runs: u64,
    pub(super) until: Instant,
}

/// See the module.
pub(super) struct Trials {
    make: Make,
    profile: Profile,
    subject: Option<Box<dyn Subject>>,
    wanted: Signature,
    limits: Limits,
    tape: Tape,
    /// The smallest that fails.
    pub(super) best: Draft,
    pub(super) size: Size,
    pub(super) runs: u64,
}

impl Trials {
    pub(super) fn new(
        make: Make,
        profile: Profile,
        wanted: Signature,
        limits: Limits,
        start: Draft,
    ) -> Trials {
        Trials {
            make,
            profile,
            subject: None,
            wanted,
            limits,
            tape: Tape::from_seed(0),
            size: Size::of(&start.choices, &start.spans),
            best: start,
            runs: 0,
        }
    }

    /// True if there is neither time nor a run left.
    pub(super) fn over(&self) -> bool {
        self.runs >= self.limits.runs
            || (self.runs.is_multiple_of(16) && Instant::now() >= self.limits.until)
    }

    /// Runs a draft; keeps it if it is as it should be. Nothing is tried when the time is up.
    pub(super) fn keeps(&mut self, draft: &Draft) -> bool {
        if self.over() {
            return false;
        }
        self.tape.restart_replay(&draft.choices, &draft.spans);
        self.settle()
    }

    /// Runs the first `spans` stretches of a draft, then what chance says.
    pub(super) fn keeps_prefix(&mut self, draft: &Draft, spans: usize, seed: u64) -> bool {
        if self.over() {
            return false;
        }
        let end = draft.spans.get(spans).map_or(draft.choices.len(), |s| s.at);
        let (choices, spans) = (&draft.choices[..end], &draft.spans[..spans]);
        self.tape.restart_prefix(choices, spans, seed);
        self.tape.note_spans();
        self.settle()
    }

    fn settle(&mut self) -> bool {
        self.runs += 1;
        let Err(failure) = run(self.make, self.profile, &mut self.subject, &mut self.tape) else {
            return false;
        };
        if Signature::of(&failure) != self.wanted {
            return false;
        }
        let size = Size::of(self.tape.choices(), self.tape.spans());
        if size >= self.size {
            return false;
        }
        self.size = size;
        self.best = Draft::of(&self.tape);
        true
    }
}

/// One run. A subject that has failed is not used again.
pub(crate) fn run(
    make: Make,
    profile: Profile,
    subject: &mut Option<Box<dyn Subject>>,
    tape: &mut Tape,
) -> Result<RunStats, Failure> {
    let ready = subject.get_or_insert_with(|| make(profile, false));
    let result = attempt(&mut **ready, tape);
    if result.is_err() {
        *subject = None;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_failure_name_no_place_and_no_value() {
        for (message, kind) in [
            (
                "sector 7: foreign data: saw write 3, legal: zeros",
                "foreign data",
            ),
            (
                "boom 3, at core/src/bat/page.rs:17\nbacktrace",
                "core/src/bat/page.rs:17",
            ),
            (
                "nothing due, but waited for: Op { .. }\npage 0",
                "nothing due, but waited for",
            ),
            ("guest cluster 3 and 4 share", "guest cluster"),
            ("", ""),
        ] {
            assert_eq!(words(message), kind);
        }
    }
}
