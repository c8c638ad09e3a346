//! What may stand in a sector after a crash. The promise:
//!
//! 1. A write W is *superseded* when a durably acknowledged write W' was submitted after W had ended. After a crash a
//!    sector holds the value of some write that is not superseded. The initial content is a write that ended at time 0.
//!    Of a failed write, one in flight at the crash, and a discard, it is open whether they took effect: they are
//!    candidates, but supersede nothing.
//! 2. Durably acknowledged: a write (or write of zeros) with FUA, at its own acknowledgement; any, once a flush (or a write with
//!    preflush) that was submitted after its acknowledgement has been acknowledged. A failed flush proves nothing.
//! 3. A value once read and then flushed is fixed: if a read of V ended before a flush was submitted, and the flush was
//!    acknowledged, then no value appears that stands before V in every linearization of what had happened until the
//!    flush was submitted. Which reads count: [`ReadThenFlush`].
//!
//! Bookkeeping: for every candidate one number, `doomed_at`: since when a flush submitted *now* would exclude it. It is
//! found when an operation of the sector ends. The candidate is out when `doomed_at < flushed_to`, where `flushed_to`
//! is the latest submission among the flushes acknowledged: a flush costs O(1), however large the disk. Candidates
//! that are doomed and that no read can return any more leave the sector's history and wait in [`Past`].

use crate::op::Value;
use crate::reign::{Reign, Time};

/// Which reads, followed by a flush, fix a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadThenFlush {
    /// The write whose value was read, and the one that it wins over, must both have ended before the flush was
    /// submitted. A flush covers what was acknowledged before it, and waits for nobody else: a read that overlaps a write in flight
    /// may see data that the flush need not make durable.
    #[default]
    EndedWrites,
    /// Any read: also one that saw a write still in flight.
    AnyRead,
}

/// Before any flush. `doomed_at` 0, which is before it, means out already.
pub(crate) const NOT_FLUSHED: Time = 1;

/// A value that no read can return any more, but that a crash can bring back.
#[derive(Clone, Copy, Debug)]
struct Relic {
    value: Value,
    end: Time,
    doomed_at: Time,
}

/// The values of a sector that only a crash can bring back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    relics: Vec<Relic>,
}

impl Past {
    pub(crate) fn clear(&mut self) {
        self.relics.clear();
    }

    /// Takes a doomed reign in, unless it is out already.
    pub(crate) fn push(&mut self, reign: &Reign, flushed_to: Time) {
        if reign.doomed_at < flushed_to {
            return;
        }
        let new = Relic {
            value: reign.value,
            end: reign.end,
            doomed_at: reign.doomed_at,
        };
        if new.value == Value::ZERO {
            let outlives = |r: &Relic| r.doomed_at > new.doomed_at || r.end > new.end;
            self.relics
                .retain(|r| r.value != Value::ZERO || outlives(r));
        }
        if self.relics.len() == self.relics.capacity() {
            self.relics.retain(|r| r.doomed_at >= flushed_to);
        }
        self.relics.push(new);
    }

    /// A write submitted at `start` is durable: all that ended before is superseded.
    pub(crate) fn supersede(&mut self, start: Time) {
        self.relics.retain(|r| r.end >= start);
    }

    /// What may come back.
    pub(crate) fn values(&self, flushed_to: Time) -> impl Iterator<Item = Value> {
        self.relics
            .iter()
            .filter(move |r| r.doomed_at >= flushed_to)
            .map(|r| r.value)
    }
}

/// Rule 1, when the write submitted at `start` was acknowledged `now`: those that ended before its submission are
/// doomed, or out at once if it is durable.
pub(crate) fn acknowledge(
    reigns: &mut [Reign],
    past: &mut Past,
    start: Time,
    now: Time,
    fua: bool,
) {
    for r in reigns.iter_mut().filter(|r| r.end < start) {
        r.doomed_at = if fua { 0 } else { r.doomed_at.min(now) };
    }
    if fua {
        past.supersede(start);
    }
}

/// May this reign's value appear after a crash?
pub(crate) fn may_survive(reign: &Reign, flushed_to: Time) -> bool {
    reign.doomed_at >= flushed_to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relic(value: Value, end: Time, doomed_at: Time) -> Reign {
        Reign {
            end,
            doomed_at,
            ..Reign::submitted(value, 2)
        }
    }

    #[test]
    fn zeros_that_another_zero_outlives_are_not_kept_twice() {
        // (end, doomed at) of relics of zeros, in the order of their coming, and how many are kept.
        for (relics, kept) in [
            ([(10, 20), (30, 40)], 1),
            ([(30, 40), (10, 20)], 2),
            ([(10, 40), (30, 20)], 2),
            ([(30, 20), (10, 40)], 2),
        ] {
            let mut past = Past::default();
            past.push(&relic(Value::of(1, 0), 3, 4), NOT_FLUSHED);
            for (end, doomed_at) in relics {
                past.push(&relic(Value::ZERO, end, doomed_at), NOT_FLUSHED);
            }
            assert_eq!(past.values(NOT_FLUSHED).count(), 1 + kept, "{relics:?}");
            assert_eq!(past.values(40).count(), 1);
            assert_eq!(past.values(41).count(), 0);
            past.supersede(30);
            assert!(past.values(NOT_FLUSHED).eq([Value::ZERO]), "{relics:?}");
            past.supersede(31);
            assert_eq!(past.values(NOT_FLUSHED).count(), 0);
        }
    }
}
