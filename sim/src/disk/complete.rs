//! Completion of a change: its units land, and those of a failed one that the tape says.

use super::cache::{DROPPED, Stamp};
use super::file::SimFile;
use super::length::LengthChange;
use super::sector::Layout;
use super::submit::IoId;
use crate::tape::{Kind, Tape};

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// All of it was done.
    Done,
    /// The first so many bytes were done, any part of the rest too. Not durable, even with FUA.
    Short(u64),
    /// Any part of it was done. Not durable, even with FUA.
    Failed,
}

impl SimFile {
    /// Ends a change. Where it overlaps changes that were in flight at the same time the tape says which came first;
    /// of a failed or short one the tape says what was applied.
    pub fn complete(&mut self, id: IoId, effect: Effect, tape: &mut Tape) {
        let at = self.cache.find(id.0);
        let stamp = self.cache.tick();
        match effect {
            Effect::Done => self.finish(at, stamp, tape),
            Effect::Short(bytes) => self.finish_some(at, stamp, bytes, tape),
            Effect::Failed => self.finish_some(at, stamp, 0, tape),
        }
        self.cache.list[at].completed = stamp;
        let p = self.cache.list[at];
        if p.fua && effect == Effect::Done {
            self.commit_units(at);
            let p = &mut self.cache.list[at];
            p.end = p.first;
        }
        if self.cache.list[at].units().is_empty() && !self.length.is_live(&self.cache.list[at]) {
            self.cache.kill(at);
            self.cache.sweep();
        }
    }

    /// All that has not yet landed lands.
    fn finish(&mut self, at: usize, stamp: Stamp, tape: &mut Tape) {
        let p = self.cache.list[at];
        let raced = self.cells[p.units()]
            .iter()
            .any(|cell| cell.visible_at > p.submitted);
        if !raced && self.cache.untouched(at) {
            for unit in p.units() {
                self.cells[unit].visible = self.cache.content(&p, unit);
                self.cells[unit].visible_at = stamp;
            }
            self.cache.land_whole(at, stamp);
        } else {
            p.units().for_each(|unit| self.land(at, unit, stamp, tape));
        }
        self.land_length(at, stamp);
    }

    /// One unit lands unless it has: on top of what it raced with, or (the tape says so) beneath.
    fn land(&mut self, at: usize, unit: usize, stamp: Stamp, tape: &mut Tape) {
        let p = self.cache.list[at];
        if self.cache.landed(&p, unit) != 0 {
            return;
        }
        let cell = &mut self.cells[unit];
        if cell.visible_at > p.submitted && tape.choose(Kind::Order, 2) == 1 {
            // As if it had landed when it was submitted.
            self.cache.land_unit(at, unit, p.submitted);
        } else {
            cell.visible = self.cache.content(&p, unit);
            cell.visible_at = stamp;
            self.cache.land_unit(at, unit, stamp);
        }
    }

    fn land_length(&mut self, at: usize, stamp: Stamp) {
        let p = &mut self.cache.list[at];
        self.length.land(p.length);
        p.length_at = stamp;
    }

    /// The units inside the first `sure` bytes land, and those of the rest that the tape says. The others never will.
    fn finish_some(&mut self, at: usize, stamp: Stamp, sure: u64, tape: &mut Tape) {
        let p = self.cache.list[at];
        let start = self.layout.start(p.first as usize);
        let is_sure = |layout: Layout, unit: usize| {
            layout.start(unit) + layout.size(unit) <= start.saturating_add(sure)
        };
        let rest = p
            .units()
            .find(|&unit| !is_sure(self.layout, unit))
            .unwrap_or(p.end as usize);
        let extent = Extent::draw(p.end as usize - rest, tape);
        for unit in p.units() {
            if unit < rest || extent.holds(unit - rest, tape) {
                self.land(at, unit, stamp, tape);
            } else if self.cache.landed(&p, unit) == 0 {
                self.cache.land_unit(at, unit, DROPPED);
            }
        }
        let p = self.cache.list[at];
        let reached = p
            .units()
            .rev()
            .find(|&unit| self.cache.landed(&p, unit) != DROPPED);
        let length = match p.length {
            LengthChange::None => LengthChange::None,
            LengthChange::AtLeast(len) if tape.choose(Kind::Fault, 2) == 0 => {
                let end =
                    reached.map_or(0, |unit| self.layout.start(unit) + self.layout.size(unit));
                if end > self.length.visible {
                    LengthChange::AtLeast(end.min(len))
                } else {
                    LengthChange::None
                }
            }
            LengthChange::Exact(_) if extent == Extent::Nothing => LengthChange::None,
            length => length,
        };
        self.cache.list[at].length = length;
        self.land_length(at, stamp);
        if reached.is_none() {
            let p = &mut self.cache.list[at];
            p.end = p.first;
        }
    }
}

/// How much of the unsure part of a failed change was done. Drawn once, so that whole, nothing and torn are all likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Nothing,
    All,
    First(u32),
    Each,
}

impl Extent {
    fn draw(units: usize, tape: &mut Tape) -> Extent {
        match tape.choose(Kind::Fault, 4) {
            0 => Extent::Nothing,
            1 => Extent::All,
            2 => Extent::First(tape.index(Kind::Fault, units) as u32),
            _ => Extent::Each,
        }
    }

    fn holds(self, index: usize, tape: &mut Tape) -> bool {
        match self {
            Extent::Nothing => false,
            Extent::All => true,
            Extent::First(units) => index < units as usize,
            Extent::Each => tape.choose(Kind::Fault, 2) == 1,
        }
    }
}
