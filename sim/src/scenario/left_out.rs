//! What a player does not play of a scenario: counted by kind of line, so that "passed" says of what.

use std::collections::BTreeMap;
use std::fmt;

use crate::scenario::Step;
use crate::world::stage::Ending;
use crate::world::switch::Switch;

/// Lines by kind. Shown as `left out: expect 2, power cut 1`; nothing if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<&'static str, u32>);

impl LeftOut {
    /// One more of this kind.
    pub fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of this kind.
    #[must_use]
    pub fn times(&self, what: &str) -> u32 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "left out: ";
        for (what, times) in &self.0 {
            write!(f, "{before}{what} {times}")?;
            before = ", ";
        }
        Ok(())
    }
}

impl Step {
    /// The kind of a line that is left out. `None`: where it is left out, nothing is missed.
    #[must_use]
    pub fn missed(&self) -> Option<&'static str> {
        Some(match self {
            Step::Settle => return None,
            Step::Submit(..) => "operation",
            Step::Ended(..) => "ended",
            Step::Expect { .. } => "expect",
            Step::Deliver(_, Ending::Done) | Step::DeliverAll => "deliver",
            Step::Deliver(..) => "fault",
            Step::Turn(_) => "turn",
            Step::Waits(_) => "waits",
            Step::Mapped(..) => "mapped",
            Step::Tick(_) => "tick",
            Step::Suspend(_) => "suspend",
            Step::Close(None) => "close",
            Step::Close(Some(_)) | Step::Cut(_) => "power cut",
            Step::Kill => "kill",
            Step::Switch(Switch::Grow(_), _) => "grow",
            Step::Switch(Switch::Rollback, _) => "rollback",
            Step::Switch(..) => "change of the chain",
            Step::Track(_) => "track",
            Step::Copies(_) => "copy",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted() {
        let mut left_out = LeftOut::default();
        assert!(left_out.is_empty());
        assert_eq!(left_out.to_string(), "");
        for what in ["power cut", "expect", "expect"] {
            left_out.note(what);
        }
        assert_eq!(left_out.to_string(), "left out: expect 2, power cut 1");
        assert_eq!((left_out.times("expect"), left_out.times("fault")), (2, 0));
    }
}
