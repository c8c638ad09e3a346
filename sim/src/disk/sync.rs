//! Sync: what it covers becomes durable, or, if it fails, durable in part and lost for the rest.

use super::cache::{DROPPED, Pending, Stamp};
use super::file::SimFile;
use super::length::LengthChange;
use crate::tape::{Kind, Tape};

/// A sync in flight on one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncId(Stamp);

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncEffect {
    /// What it covers is durable.
    Done,
    /// Any part of what it covers is durable, the rest is lost.
    Failed {
        /// Reads may fall back to the durable content of what is lost.
        evict: bool,
    },
    /// It never was: whoever wanted it was killed.
    Nothing,
}

/// What a failed sync does to a unit that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is durable in spite of the error.
    Durable,
    /// It is seen until the next crash.
    Seen,
    /// Reads fall back to the durable content.
    Evicted,
}

impl Fate {
    const ALL: [Fate; 3] = [Fate::Durable, Fate::Seen, Fate::Evicted];

    fn draw(evict: bool, tape: &mut Tape) -> Fate {
        Fate::ALL[tape.choose(Kind::Fault, if evict { 3 } else { 2 }) as usize]
    }
}

impl SimFile {
    /// Puts a sync in flight: it covers all changes completed so far.
    pub fn submit_sync(&mut self) -> SyncId {
        let stamp = self.cache.tick();
        self.syncs.push(stamp);
        SyncId(stamp)
    }

    /// Ends a sync.
    pub fn complete_sync(&mut self, id: SyncId, effect: SyncEffect, tape: &mut Tape) {
        let found = self.syncs.iter().position(|&stamp| stamp == id.0);
        self.syncs
            .swap_remove(found.expect("a sync that is not in flight on this file was completed"));
        match effect {
            SyncEffect::Done => self.commit(id.0),
            SyncEffect::Nothing => {}
            SyncEffect::Failed { evict } => self.fail_sync(id.0, evict, tape),
        }
    }

    fn fail_sync(&mut self, sync: Stamp, evict: bool, tape: &mut Tape) {
        // One fate for all, or each its own: whole and torn outcomes are both likely.
        let common = if tape.choose(Kind::Fault, 2) == 0 {
            Some(Fate::draw(evict, tape))
        } else {
            None
        };
        if common == Some(Fate::Durable) {
            return self.commit(sync);
        }
        for at in 0..self.cache.list.len() {
            if !self.covered(at, sync) {
                continue;
            }
            for unit in self.cache.list[at].units() {
                self.give_up(at, unit, common, evict, tape);
            }
            let p = self.cache.list[at];
            if common.is_none()
                && self.length.is_live(&p)
                && Fate::draw(false, tape) == Fate::Durable
            {
                self.length
                    .commit(&self.cache.list, |other| other.submitted == p.submitted);
                self.cache.list[at].length = LengthChange::None;
            }
            self.cache.list[at].lost = true;
        }
    }

    /// True if the sync submitted at `sync` covers the change.
    fn covered(&self, at: usize, sync: Stamp) -> bool {
        let p = &self.cache.list[at];
        !p.dead && !p.lost && p.completed != 0 && p.completed < sync
    }

    /// Makes durable what the sync submitted at `sync` covers.
    fn commit(&mut self, sync: Stamp) {
        let covered = |p: &Pending| !p.lost && p.completed != 0 && p.completed < sync;
        self.length.commit(&self.cache.list, covered);
        for at in 0..self.cache.list.len() {
            if self.covered(at, sync) {
                self.commit_units(at);
                self.cache.kill(at);
            }
        }
        self.cache.sweep();
    }

    /// Makes the units of a completed change durable, but for those that a durable one supersedes.
    pub(super) fn commit_units(&mut self, at: usize) {
        let p = self.cache.list[at];
        for unit in p.units() {
            let stamp = self.cache.landed(&p, unit);
            let cell = &mut self.cells[unit];
            if stamp != DROPPED && stamp > cell.durable_at {
                cell.durable = self.cache.content(&p, unit);
                cell.durable_at = stamp;
            }
        }
    }

    /// A unit that a failed sync covers meets its fate.
    fn give_up(
        &mut self,
        at: usize,
        unit: usize,
        common: Option<Fate>,
        evict: bool,
        tape: &mut Tape,
    ) {
        let p = self.cache.list[at];
        let cell = &mut self.cells[unit];
        if !self.cache.may_survive(&p, unit, cell.durable_at) {
            return;
        }
        let stamp = self.cache.landed(&p, unit);
        match common.unwrap_or_else(|| Fate::draw(evict, tape)) {
            Fate::Durable => {
                cell.durable = self.cache.content(&p, unit);
                cell.durable_at = stamp;
            }
            Fate::Evicted if cell.visible_at == stamp => {
                cell.visible = cell.durable;
                cell.visible_at = cell.durable_at;
            }
            Fate::Seen | Fate::Evicted => {}
        }
    }
}
