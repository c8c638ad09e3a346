//! A *reign*: one write (or write of zeros, discard, or the initial content) of one sector together with the reads that
//! returned its value; and the order that time forces on reigns.
//!
//! # Why this decides linearizability exactly
//! In a linearization of a register nothing stands between a write and a read of it but other reads of it: a reign is
//! one block. Of a reign we keep `f` = the earliest end and `s` = the latest start among its operations. If an operation
//! of A ended before one of B started, block A stands before block B; some such pair exists if and only if `f(A) < s(B)`.
//! Write `A ≺ B` for that.
//!
//! * A reign *took part* if its write was acknowledged, or if somebody read it. All others (in flight, failed, a
//!   discard; unread) may be left out of the linearization, and leaving them out never hurts.
//! * The history is linearizable if and only if `≺` has no cycle among the reigns that took part: sort them by `≺`.
//! * No cycle of two means no cycle at all. Take a shortest cycle, of three or more. If it contains `A ≺ B ≺ C` with
//!   `s(B) <= f(B)`, then `f(A) < s(B) <= f(B) < s(C)`, so `A ≺ C` makes it shorter. So all have `f < s`; no cycle of two
//!   means that the intervals `[f, s]` are disjoint, and between disjoint intervals `≺` is the order of time.
//!
//! So it is enough to compare pairs, whatever the number of operations in flight. It needs to be known *which* write a
//! read saw: values are unique, except zeros (see `zeros`).
//!
//! * A reign is *closed* when no read, in flight or to come, can return it: there is `W`, which took part, with
//!   `U ≺ W` and `f(W)` before the start of the oldest read in flight.
//! * A reign is *doomed* when it is certain to be older than another that the next flush makes durable (see `durable`).

use crate::durable::ReadThenFlush;
use crate::op::Value;

/// A moment: the number of the event (submission or end of an operation). 0 is before everything.
pub(crate) type Time = u64;

/// Not yet.
pub(crate) const NEVER: Time = u64::MAX;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reign {
    pub(crate) value: Value,
    /// Submission of the write.
    pub(crate) start: Time,
    /// End of the write, good or bad.
    pub(crate) end: Time,
    /// `f`: the earliest end of the write and its reads.
    pub(crate) first_end: Time,
    /// `s`: the latest start of the write and its reads.
    pub(crate) last_start: Time,
    /// A flush submitted after this moment, and acknowledged, excludes it after a crash.
    pub(crate) doomed_at: Time,
    /// The write took effect for certain.
    pub(crate) certain: bool,
    /// Some read returned it.
    pub(crate) read: bool,
    /// No read, in flight or to come, can return it.
    pub(crate) closed: bool,
}

impl Reign {
    /// What stood there at the beginning: a durable write that ended at time 0.
    pub(crate) fn initial(value: Value) -> Reign {
        Reign {
            end: 0,
            first_end: 0,
            certain: true,
            ..Reign::submitted(value, 0)
        }
    }

    /// A write that goes in flight.
    pub(crate) fn submitted(value: Value, start: Time) -> Reign {
        Reign {
            value,
            start,
            end: NEVER,
            first_end: NEVER,
            last_start: start,
            closed: false,
            doomed_at: NEVER,
            certain: false,
            read: false,
        }
    }

    /// The reign that its read from `start` to `end` makes of it.
    pub(crate) fn with_read(self, start: Time, end: Time) -> Reign {
        let first_end = self.first_end.min(end);
        Reign {
            first_end,
            last_start: self.last_start.max(start),
            read: true,
            ..self
        }
    }

    pub(crate) fn took_part(&self) -> bool {
        self.certain || self.read
    }

    pub(crate) fn ended(&self) -> bool {
        self.end != NEVER
    }

    pub(crate) fn doomed(&self) -> bool {
        self.doomed_at != NEVER
    }

    /// `self ≺ later`.
    fn precedes(&self, later: &Reign) -> bool {
        self.first_end < later.last_start
    }
}

/// Does reign `i`, which took part, contradict another one?
pub(crate) fn contradicts(reigns: &[Reign], i: usize) -> bool {
    let r = &reigns[i];
    others(reigns, i).any(|w| w.took_part() && w.precedes(r) && r.precedes(w))
}

/// Can no read, in flight (the oldest started at `oldest_read`) or to come, return reign `i`?
pub(crate) fn is_over(reigns: &[Reign], i: usize, oldest_read: Time) -> bool {
    let r = &reigns[i];
    others(reigns, i).any(|w| w.took_part() && r.precedes(w) && w.first_end < oldest_read)
}

/// Does reign `i` stand, in every linearization, before one that was read and that a flush submitted now would cover?
pub(crate) fn is_older_than_one_read(reigns: &[Reign], i: usize, rule: ReadThenFlush) -> bool {
    let covered = |r: &Reign| rule == ReadThenFlush::AnyRead || r.ended();
    let r = &reigns[i];
    // `U ≺ W ≺ V` does not imply `U ≺ V` if W was read on both sides of V's start; longer ways shrink to this one, and
    // if W is covered itself, W is the proof.
    let by_way_of_one_in_flight = |v: &Reign| {
        reigns
            .iter()
            .any(|w| w.read && !w.ended() && w.precedes(v) && r.precedes(w))
    };
    covered(r)
        && others(reigns, i)
            .any(|v| v.read && covered(v) && (r.precedes(v) || by_way_of_one_in_flight(v)))
}

fn others(reigns: &[Reign], i: usize) -> impl Iterator<Item = &Reign> {
    reigns[..i].iter().chain(&reigns[i + 1..])
}
