//! One virtual disk as its clients may see it: a set of independent registers, one a sector, judged by intervals
//! `[submitted, ended]` of the operations.
//!
//! * **What a read may return** (I18, I19, I20, I22): for every sector a value that some order of the operations explains, an order
//!   that keeps A before B where A ended before B was submitted, given everything read so far. Exact for any number of
//!   operations in flight (`reign`), zeros included (`zeros`).
//!   - an acknowledged write (of zeros) took effect once, between its submission and its end;
//!   - a failed write and a discard, whatever its end, took effect once in that time, or never, each sector on its own.
//!     Which, is open until a read tells;
//!   - a failed read or flush says nothing.
//! * **What may stand there after a crash** (I24, I25): see `durable`. What was in flight may be applied or not, each
//!   sector on its own.
//! * Life: `reset` → (`submit`, `complete`)* → `crash` → `check_after_crash`* → `restart` → ... A crash may be looked at
//!   (`check_after_crash`) at any time, with as many images as wanted.
//! * Values are told apart by the number of the write that made them: it must not be used again, not even after a restart.
//! * Steady state allocates nothing: `reset` and `restart` keep all buffers, and cost O(sectors touched) + a copy.

use crate::durable::{NOT_FLUSHED, ReadThenFlush};
use crate::op::{End, Kind, Op, Value};
use crate::reign::Time;
use crate::sector::{Moment, NO_READ, Sector};
use crate::violation::{self, Violation};
use crate::zeros::Search;
use std::ops::Range;

/// An operation in flight. Never used twice by one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpId {
    slot: u32,
    start: Time,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    op: Op,
    /// The number of the write, if it is one.
    write: u32,
    /// Submission, or 0: nobody is in this slot.
    start: Time,
}

/// One virtual disk.
#[derive(Clone, Debug)]
pub struct Model {
    initial: Vec<Value>,
    sectors: Vec<Sector>,
    /// Sectors with a history.
    touched: Vec<u64>,
    in_flight: Vec<InFlight>,
    free_slots: Vec<u32>,
    reads_in_flight: u32,
    clock: Time,
    flushed_to: Time,
    newest_write: u32,
    rule: ReadThenFlush,
    crashed: bool,
    search: Search,
}

impl Model {
    /// A disk of that many 512-byte sectors, all zeros, durably so.
    #[must_use]
    pub fn new(sectors: u64) -> Model {
        let n = usize::try_from(sectors).unwrap_or(usize::MAX);
        Model {
            initial: vec![Value::ZERO; n],
            sectors: vec![Sector::default(); n],
            touched: Vec::new(),
            in_flight: Vec::new(),
            free_slots: Vec::new(),
            reads_in_flight: 0,
            clock: NOT_FLUSHED,
            flushed_to: NOT_FLUSHED,
            newest_write: 0,
            rule: ReadThenFlush::default(),
            crashed: false,
            search: Search::default(),
        }
    }

    /// Chooses which reads, followed by a flush, fix a value.
    pub fn set_read_then_flush(&mut self, rule: ReadThenFlush) {
        self.rule = rule;
    }

    /// Starts over with a disk of `initial.len()` sectors and this content, which is durable. Operations in flight are
    /// forgotten; write numbers may start over.
    pub fn reset(&mut self, initial: &[Value]) {
        for sector in self.touched.drain(..) {
            self.sectors[sector as usize].clear();
        }
        self.sectors.resize_with(initial.len(), Sector::default);
        self.initial.clear();
        self.initial.extend_from_slice(initial);
        self.forget_in_flight();
        self.flushed_to = NOT_FLUSHED;
        self.newest_write = 0;
        self.crashed = false;
    }

    /// The disk becomes so many sectors larger. They read as zeros, durably.
    pub fn grow(&mut self, sectors: u64) {
        let len = self.initial.len() + usize::try_from(sectors).unwrap_or(usize::MAX);
        self.initial.resize(len, Value::ZERO);
        self.sectors.resize_with(len, Sector::default);
    }

    /// The disk goes back to this content, of its own length, durably. Operations in flight have done nothing that is still
    /// there; they go on, and take effect from now on, or never.
    ///
    /// # Panics
    /// If `content` has another length than the disk.
    pub fn roll_back(&mut self, content: &[Value]) {
        assert_eq!(content.len(), self.initial.len(), "another disk");
        for sector in self.touched.drain(..) {
            self.sectors[sector as usize].clear();
        }
        self.initial.copy_from_slice(content);
        let mut lives: Vec<InFlight> = self.in_flight.clone();
        lives.retain(|entry| entry.start != 0);
        lives.sort_unstable_by_key(|entry| entry.start);
        for InFlight { op, write, start } in lives {
            self.submit_over(op, write, start);
        }
    }

    /// Number of sectors.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.initial.len() as u64
    }

    /// A client submits `op`. `write` is the number of a `Kind::Write` (1, 2, ...; unique), and of no meaning else.
    ///
    /// # Panics
    /// After a crash and before the restart; for a write number 0. The harness is wrong then.
    pub fn submit(&mut self, op: Op, write: u32) -> OpId {
        assert!(!self.crashed, "submitted to a disk without power");
        let start = self.tick();
        if op.kind == Kind::Read {
            self.reads_in_flight += 1;
        }
        self.submit_over(op, write, start);
        let entry = InFlight { op, write, start };
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.in_flight[slot as usize] = entry;
                slot
            }
            None => {
                self.in_flight.push(entry);
                (self.in_flight.len() - 1) as u32
            }
        };
        OpId { slot, start }
    }

    /// The operation ended. `read`: for a read that ended `Ok`, what it returned, one value a sector; empty else.
    ///
    /// # Errors
    /// The first sector whose answer nothing explains. The model is of no use then, until `reset`.
    pub fn complete(&mut self, id: OpId, end: End, read: &[Value]) -> Result<(), Violation> {
        let now = self.tick();
        let op = match self.in_flight.get_mut(id.slot as usize) {
            Some(entry) if entry.start == id.start => {
                entry.start = 0;
                entry.op
            }
            _ => return Err(nothing_seen(violation::Kind::NotInFlight, 0)),
        };
        self.free_slots.push(id.slot);
        let ok = end == End::Ok;
        if op.kind == Kind::Read {
            self.reads_in_flight -= 1;
        }
        if ok
            && op.kind != Kind::Flush
            && op
                .start
                .checked_add(op.len)
                .is_none_or(|end| end > self.sectors())
        {
            return Err(nothing_seen(violation::Kind::OutOfRange, op.start));
        }
        match op.kind {
            Kind::Read if ok => self.end_read(op, id.start, now, read)?,
            Kind::Read => {}
            Kind::Write { preflush, fua } => {
                if ok && preflush {
                    self.flushed_to = self.flushed_to.max(id.start);
                }
                self.end_write(op, id.start, now, ok, fua);
            }
            Kind::WriteZeroes { fua, .. } => self.end_write(op, id.start, now, ok, fua),
            Kind::Discard => self.end_write(op, id.start, now, false, false),
            Kind::Flush => {
                if ok {
                    self.flushed_to = self.flushed_to.max(id.start);
                }
            }
            Kind::Promote { .. } => {}
        }
        Ok(())
    }

    /// The power is lost now: nothing in flight will ever end.
    pub fn crash(&mut self) {
        self.forget_in_flight();
        self.crashed = true;
    }

    /// May `sector` hold `seen`, if the power was (or were) lost now?
    ///
    /// # Errors
    /// It may not, or there is no such sector.
    pub fn check_after_crash(&self, sector: u64, seen: Value) -> Result<(), Violation> {
        let Some((initial, history)) = self.find(sector) else {
            return Err(nothing_seen(violation::Kind::OutOfRange, sector));
        };
        let good = if history.is_untouched() {
            initial == seen
        } else {
            history.may_survive(seen, self.flushed_to)
        };
        if good {
            return Ok(());
        }
        let kind = match self.kind_of_wrong(sector, seen) {
            violation::Kind::StaleRead | violation::Kind::LostData => violation::Kind::LostDurable,
            other => other,
        };
        Err(Violation {
            sector,
            kind,
            seen,
            legal: self.legal_after_crash(sector),
        })
    }

    /// [`Model::check_after_crash`] for the whole disk.
    ///
    /// # Errors
    /// The first sector that may not hold what was seen, or `seen` has another length than the disk.
    pub fn check_all_after_crash(&self, seen: &[Value]) -> Result<(), Violation> {
        if seen.len() != self.initial.len() {
            return Err(nothing_seen(violation::Kind::WrongLength, 0));
        }
        for (sector, &value) in seen.iter().enumerate() {
            self.check_after_crash(sector as u64, value)?;
        }
        Ok(())
    }

    /// The disk is up again after a crash, and reads as `seen`: checks it, and takes it as the new content, durable since it came
    /// from the medium.
    ///
    /// # Errors
    /// As [`Model::check_all_after_crash`]; nothing has changed then.
    pub fn restart(&mut self, seen: &[Value]) -> Result<(), Violation> {
        self.check_all_after_crash(seen)?;
        let newest_write = self.newest_write;
        self.reset(seen);
        self.newest_write = newest_write;
        Ok(())
    }

    /// What a read submitted and answered right now may return, ascending. Slow: for messages and tests.
    #[must_use]
    pub fn legal_now(&self, sector: u64) -> Vec<Value> {
        self.legal_for_read(sector, self.clock + 1, self.clock + 2)
    }

    /// What may stand in `sector` after a crash right now, ascending. Slow: for messages and tests.
    #[must_use]
    pub fn legal_after_crash(&self, sector: u64) -> Vec<Value> {
        match self.find(sector) {
            None => Vec::new(),
            Some((initial, history)) if history.is_untouched() => vec![initial],
            Some((_, history)) => sorted(history.survivors(self.flushed_to)),
        }
    }

    /// Calls `f` with everything that may stand in each sector after a crash right now: sector by sector, in no order
    /// within one, a value perhaps twice. For those who compare moments: the same calls, the same verdicts.
    pub fn for_each_after_crash(&self, f: &mut dyn FnMut(u64, Value)) {
        for (sector, (&initial, history)) in (0..).zip(self.initial.iter().zip(&self.sectors)) {
            if history.is_untouched() {
                f(sector, initial);
            } else {
                let survivors = history.survivors(self.flushed_to);
                survivors.for_each(|value| f(sector, value));
            }
        }
    }

    fn end_read(
        &mut self,
        op: Op,
        start: Time,
        now: Time,
        read: &[Value],
    ) -> Result<(), Violation> {
        if read.len() as u64 != op.len {
            return Err(nothing_seen(violation::Kind::WrongLength, op.start));
        }
        let oldest_read = self.oldest_read();
        for (sector, &seen) in (op.start..).zip(read) {
            let history = &mut self.sectors[sector as usize];
            let explained = if history.is_untouched() {
                self.initial[sector as usize] == seen
            } else {
                let (flushed_to, rule, search) = (self.flushed_to, self.rule, &mut self.search);
                history.end_read(
                    start,
                    seen,
                    &mut Moment {
                        now,
                        oldest_read,
                        flushed_to,
                        rule,
                        search,
                    },
                )
            };
            if !explained {
                let kind = self.kind_of_wrong(sector, seen);
                return Err(Violation {
                    sector,
                    kind,
                    seen,
                    legal: self.legal_for_read(sector, start, now),
                });
            }
        }
        Ok(())
    }

    fn end_write(&mut self, op: Op, start: Time, now: Time, certain: bool, fua: bool) {
        let oldest_read = self.oldest_read();
        for sector in self.range(op) {
            let (flushed_to, rule, search) = (self.flushed_to, self.rule, &mut self.search);
            let mut at = Moment {
                now,
                oldest_read,
                flushed_to,
                rule,
                search,
            };
            self.sectors[sector as usize].end_write(start, certain, fua, &mut at);
        }
    }

    /// The sectors of an operation may change from `start` on.
    fn submit_over(&mut self, op: Op, write: u32, start: Time) {
        match op.kind {
            Kind::Read | Kind::Flush | Kind::Promote { .. } => {}
            Kind::Write { .. } => {
                assert!(write != 0, "writes are numbered from 1");
                self.newest_write = self.newest_write.max(write);
                for sector in self.range(op) {
                    self.submit_to(sector, Value::of(write, sector), start);
                }
            }
            Kind::WriteZeroes { .. } | Kind::Discard => {
                for sector in self.range(op) {
                    self.submit_to(sector, Value::ZERO, start);
                }
            }
        }
    }

    fn submit_to(&mut self, sector: u64, value: Value, now: Time) {
        let history = &mut self.sectors[sector as usize];
        if history.is_untouched() {
            self.touched.push(sector);
            history.begin(self.initial[sector as usize]);
        }
        history.submit(value, now);
    }

    fn legal_for_read(&self, sector: u64, start: Time, now: Time) -> Vec<Value> {
        let Some((initial, history)) = self.find(sector) else {
            return Vec::new();
        };
        if history.is_untouched() {
            return vec![initial];
        }
        let mut search = Search::default();
        let oldest_read = self.oldest_read();
        let at = &mut Moment {
            now,
            oldest_read,
            flushed_to: self.flushed_to,
            rule: self.rule,
            search: &mut search,
        };
        sorted(
            history
                .readable()
                .filter(|&v| history.could_read(start, v, at)),
        )
    }

    /// What is wrong with a value that is not legal here.
    fn kind_of_wrong(&self, sector: u64, seen: Value) -> violation::Kind {
        if seen == Value::ZERO {
            violation::Kind::LostData
        } else if seen == self.initial[sector as usize] {
            violation::Kind::StaleRead
        } else if seen != Value::of(seen.write(), sector) {
            violation::Kind::ForeignData
        } else if seen.write() > self.newest_write {
            violation::Kind::FutureValue
        } else {
            violation::Kind::StaleRead
        }
    }

    fn find(&self, sector: u64) -> Option<(Value, &Sector)> {
        let i = usize::try_from(sector).ok()?;
        Some((*self.initial.get(i)?, self.sectors.get(i)?))
    }

    /// The sectors of `op` that exist.
    fn range(&self, op: Op) -> Range<u64> {
        let end = op.start.saturating_add(op.len).min(self.sectors());
        op.start.min(end)..end
    }

    fn oldest_read(&self) -> Time {
        if self.reads_in_flight == 0 {
            return NO_READ;
        }
        let reads = self
            .in_flight
            .iter()
            .filter(|e| e.start != 0 && e.op.kind == Kind::Read);
        reads.map(|e| e.start).min().unwrap_or(NO_READ)
    }

    fn tick(&mut self) -> Time {
        self.clock += 1;
        self.clock
    }

    fn forget_in_flight(&mut self) {
        self.in_flight.clear();
        self.free_slots.clear();
        self.reads_in_flight = 0;
    }
}

fn nothing_seen(kind: violation::Kind, sector: u64) -> Violation {
    Violation {
        sector,
        kind,
        seen: Value::ZERO,
        legal: Vec::new(),
    }
}

fn sorted(values: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut values: Vec<Value> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[cfg(test)]
mod tests;
