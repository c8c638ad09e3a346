//! The history of one sector, cut to what still matters.
//!
//! ```text
//! submitted ──end──> in `reigns` ──closed, doomed, ended──> in `past` ──flushed──> gone
//!                       └──closed, doomed by FUA, ended──────────────────────────> gone
//! ```
//! * S1 `reigns` is empty (nothing but the initial content, nothing ever submitted) or holds at least one reign.
//! * S2 A reign leaves `reigns` only when no read can return it any more, a later flush is certain to exclude it, no read's source is open, and
//!   no write that was read is still in flight (such a one may still need this reign to be doomed itself).
//! * S3 Leaving loses nothing: if X stood before a reign U that left, X is closed by then. (`U ≺ W`, `f(W)` before the
//!   oldest read. If `X ≺ U` but not `X ≺ W`, then `s(W) <= f(X) < s(U)` and `f(U) < s(W)`. If `s(W) <= f(W)`: `f(U) <
//!   f(W)`, so U itself closes X. Else both are intervals, disjoint, U first: `s(U) <= f(W)`, and again `f(U) < f(W)`.)
//!   A reign in flight and unread has `f` in the future, so it stands before nothing.
//! * S4 Where one reign is alone, reads say nothing new: nothing is in flight, and whatever comes starts later.

use crate::durable::{self, Past, ReadThenFlush};
use crate::op::Value;
use crate::reign::{self, NEVER, Reign, Time};
use crate::zeros::{self, OpenRead, Search, Source, Verdict};

/// What a sector needs to know of the rest of the disk at an event.
pub(crate) struct Moment<'a> {
    pub(crate) now: Time,
    /// Start of the oldest read in flight on this disk, or `NEVER`.
    pub(crate) oldest_read: Time,
    /// Latest submission among the acknowledged flushes.
    pub(crate) flushed_to: Time,
    pub(crate) rule: ReadThenFlush,
    pub(crate) search: &'a mut Search,
}

/// One sector's history since the last restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sector {
    reigns: Vec<Reign>,
    past: Past,
    open: Vec<OpenRead>,
}

impl Sector {
    pub(crate) fn clear(&mut self) {
        self.reigns.clear();
        self.past.clear();
        self.open.clear();
    }

    /// Nothing was ever submitted here but reads.
    pub(crate) fn is_untouched(&self) -> bool {
        self.reigns.is_empty()
    }

    pub(crate) fn begin(&mut self, initial: Value) {
        self.reigns.push(Reign::initial(initial));
    }

    pub(crate) fn submit(&mut self, value: Value, now: Time) {
        self.reigns.push(Reign::submitted(value, now));
    }

    /// The write submitted at `start` ended; `certain` if it took effect for sure, and then durably with `fua`.
    pub(crate) fn end_write(&mut self, start: Time, certain: bool, fua: bool, at: &mut Moment<'_>) {
        let Some(reign) = self
            .reigns
            .iter_mut()
            .rev()
            .find(|r| r.start == start && !r.ended())
        else {
            return;
        };
        reign.end = at.now;
        reign.first_end = reign.first_end.min(at.now);
        reign.certain = certain;
        if certain {
            durable::acknowledge(&mut self.reigns, &mut self.past, start, at.now, fua);
        }
        let explained = self.settle(at);
        debug_assert!(explained, "the end of a write contradicts nothing");
    }

    /// A read from `start` until now returned `seen`. False if nothing explains that; then nothing has changed.
    #[must_use]
    pub(crate) fn end_read(&mut self, start: Time, seen: Value, at: &mut Moment<'_>) -> bool {
        if let [only] = self.reigns.as_slice() {
            return only.value == seen;
        }
        if seen == Value::ZERO {
            return self.end_zero_read(OpenRead { start, end: at.now }, at);
        }
        match self
            .reigns
            .iter()
            .position(|r| r.value == seen && !r.closed)
        {
            Some(i) => self.assign(i, start, at),
            None => false,
        }
    }

    fn end_zero_read(&mut self, read: OpenRead, at: &mut Moment<'_>) -> bool {
        if self.reigns.iter().all(|r| r.value == Value::ZERO) {
            return true;
        }
        match zeros::source(&mut self.reigns, read, &self.open) {
            Source::None => false,
            Source::Harmless => true,
            Source::One(i) => self.assign(i, read.start, at),
            Source::Open => {
                self.open.push(read);
                let explained = self.settle(at);
                if !explained {
                    self.open.pop();
                }
                explained
            }
        }
    }

    /// Gives a read to reign `i`, if that contradicts nothing.
    fn assign(&mut self, i: usize, start: Time, at: &mut Moment<'_>) -> bool {
        let before = self.reigns[i];
        self.reigns[i] = before.with_read(start, at.now);
        let explained = !reign::contradicts(&self.reigns, i) && self.settle(at);
        if !explained {
            self.reigns[i] = before;
        }
        explained
    }

    /// Draws the conclusions of an event. False, and nothing changed, if the open reads cannot be explained.
    fn settle(&mut self, at: &mut Moment<'_>) -> bool {
        if self.reigns.len() < 2 {
            return true;
        }
        if self.open.is_empty() {
            self.conclude(at);
        } else {
            match at
                .search
                .run(&self.reigns, &self.open, at.oldest_read, at.rule)
            {
                Verdict::Unexplained => return false,
                Verdict::GaveUp => self.open.clear(),
                Verdict::Explained => self.conclude_open(at),
            }
        }
        if self.open.is_empty() {
            self.drop_what_is_over(at);
        }
        true
    }

    fn conclude(&mut self, at: &Moment<'_>) {
        for i in 0..self.reigns.len() {
            if !self.reigns[i].doomed() && reign::is_older_than_one_read(&self.reigns, i, at.rule) {
                self.reigns[i].doomed_at = at.now;
            }
            self.reigns[i].closed |= reign::is_over(&self.reigns, i, at.oldest_read);
        }
    }

    /// The same where the source of some read is open: only what every good assignment says. The open reads are
    /// forgotten once they can tell nothing about what is left: when every reign that they could have seen is finished,
    /// and all assignments agree about the others.
    fn conclude_open(&mut self, at: &Moment<'_>) {
        let mut forget = true;
        for (r, all) in self.reigns.iter_mut().zip(&at.search.findings) {
            if !r.doomed() && all.older.always {
                r.doomed_at = at.now;
            }
            if !(r.ended() && r.doomed() && (r.closed || all.over.always)) {
                forget &= !self.open.iter().any(|read| read.could_see(r));
                forget &= r.closed || all.over.agreed();
                forget &= r.doomed() || all.older.agreed();
            }
        }
        if forget {
            self.open.clear();
            for (r, all) in self.reigns.iter_mut().zip(&at.search.findings) {
                r.closed |= all.over.always;
            }
        }
    }

    fn drop_what_is_over(&mut self, at: &Moment<'_>) {
        if self.reigns.iter().any(|r| !r.ended() && r.read) {
            return;
        }
        let (past, flushed_to) = (&mut self.past, at.flushed_to);
        self.reigns.retain(|r| {
            let finished = r.closed && r.doomed() && r.ended();
            if finished {
                past.push(r, flushed_to);
            }
            !finished
        });
        self.drop_useless_zeros(at.oldest_read);
    }

    /// Of zeros that perhaps took effect (discards, failed writes of zeros) and that nobody read, only the latest ended can matter: a
    /// read that started after W was submitted demands less of the others if it saw W than if it saw the earlier U, and
    /// whatever excludes W after a crash excludes U.
    fn drop_useless_zeros(&mut self, oldest_read: Time) {
        let idle = |r: &Reign| r.value == Value::ZERO && r.ended();
        let mut i = 0;
        while i < self.reigns.len() {
            let u = self.reigns[i];
            let better = |w: &Reign| idle(w) && w.first_end > u.first_end && w.start < oldest_read;
            if idle(&u) && !u.took_part() && self.reigns.iter().any(better) {
                self.reigns.remove(i);
            } else {
                i += 1;
            }
        }
    }

    /// Could a read that started at `start` and ends now return `seen`? Slow: for messages and tests.
    pub(crate) fn could_read(&self, start: Time, seen: Value, at: &mut Moment<'_>) -> bool {
        self.clone().end_read(start, seen, at)
    }

    /// Every value that a read could return at all, in no order and perhaps twice.
    pub(crate) fn readable(&self) -> impl Iterator<Item = Value> {
        self.reigns.iter().map(|r| r.value)
    }

    /// May `seen` stand here after a crash?
    pub(crate) fn may_survive(&self, seen: Value, flushed_to: Time) -> bool {
        self.survivors(flushed_to).any(|v| v == seen)
    }

    /// Every value that may stand here after a crash, in no order and perhaps twice.
    pub(crate) fn survivors(&self, flushed_to: Time) -> impl Iterator<Item = Value> {
        let present = self
            .reigns
            .iter()
            .filter(move |r| durable::may_survive(r, flushed_to))
            .map(|r| r.value);
        present.chain(self.past.values(flushed_to))
    }

    /// How many reigns and relics are kept, for tests.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.reigns.len() + self.open.len() + self.past.values(0).count()
    }
}

/// No read is in flight.
pub(crate) const NO_READ: Time = NEVER;
