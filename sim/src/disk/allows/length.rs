//! The lengths that a crash may leave, at a moment of a history.

use super::{Change, Effect, Moment, NEVER};

/// What a change makes of the length, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// At least this.
    AtLeast(u64),
    /// This.
    Exactly(u64),
}

impl To {
    /// What becomes of a length.
    pub(super) fn of(self, len: u64) -> u64 {
        match self {
            To::AtLeast(least) => len.max(least),
            To::Exactly(len) => len,
        }
    }

    fn len(self) -> u64 {
        match self {
            To::AtLeast(len) | To::Exactly(len) => len,
        }
    }
}

/// A change of the length, and which change of the history it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct LengthStep {
    pub(super) to: To,
    pub(super) change: usize,
}

/// The lengths that a crash at this moment may leave, the durable one first.
pub(super) fn candidates(
    initial: u64,
    steps: &[LengthStep],
    changes: &[Change],
    now: Moment,
) -> Vec<u64> {
    let known = || {
        let all = steps.iter().map(|step| (step.to, &changes[step.change]));
        all.filter(|(_, change)| change.submitted <= now)
    };
    // A sync makes durable in the order of landing what no durable truncation supersedes.
    let mut durable: Vec<(To, &Change)> = known().filter(|(_, c)| c.synced <= now).collect();
    durable.sort_by_key(|(_, change)| (change.synced, change.completed));
    let (mut len, mut exact_at) = (initial, 0);
    for (to, change) in durable {
        if change.completed > exact_at {
            len = to.of(len);
            if let To::Exactly(_) = to {
                exact_at = change.completed;
            }
        }
    }
    let is_pending = |change: &Change| {
        let landed = change.completed <= now && change.effect == Effect::Done;
        change.synced > now && (!landed || change.completed > exact_at)
    };
    let pending = || known().filter(|(_, change)| is_pending(change));
    let shrinks = pending().any(|(to, _)| matches!(to, To::Exactly(_)));
    let mut found = vec![len];
    for (to, _) in pending() {
        let counts = match to {
            To::AtLeast(least) => least > len || shrinks,
            To::Exactly(_) => true,
        };
        if counts && !found.contains(&to.len()) {
            found.push(to.len());
        }
    }
    debug_assert_ne!(now, NEVER);
    found
}
