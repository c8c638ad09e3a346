//! The volatile cache: changes that were submitted and are not known to be durable.
//!
//! ```text
//!            submit            complete(Done | Short | Failed)       sync covers it / FUA
//!   (new) ───────────▶ in flight ────────────────────────▶ completed ─────────────────────▶ dead
//!                        │  ▲ units land one by one            │ a failed sync
//!                        └──┘ when a read sees them            ▼
//!                                                            lost: seen until the next crash, never covered again
//! ```
//!
//! Invariants
//! 1. A *stamp* is a tick of the file's clock; submissions, landings and completions all take one, so stamps of one
//!    file order everything that happened to it.
//! 2. Each unit of a change *lands* at one stamp (a read saw it, or the change completed), or is dropped (a failed
//!    change that did not reach it). The landed change with the highest stamp is what reads see.
//! 3. Among changes of one unit, a durable one supersedes those that landed before it. Changes that were in flight at
//!    the same time land in either order: the tape decides.
//! 4. Changes stand in the order of submission; those not dead are found by their id, which is the submission's stamp.

use super::length::LengthChange;
use super::sector::Content;

/// A tick of the clock of a file. 0: not yet.
pub(super) type Stamp = u32;

/// Landing stamp of a unit that a failed change did not reach.
pub(super) const DROPPED: Stamp = Stamp::MAX;

/// What a change writes.
#[derive(Clone, Copy, Debug)]
enum Payload {
    Zeros,
    /// Index of its first unit's content.
    Contents(u32),
}

/// When the units of a change landed.
#[derive(Clone, Copy, Debug)]
enum Landing {
    /// All at this stamp (0: none yet).
    Whole(Stamp),
    /// Each at its own; index of the first.
    Each(u32),
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// First unit, and the one behind the last. Empty for a change of length alone.
    pub(super) first: u32,
    pub(super) end: u32,
    payload: Payload,
    landing: Landing,
    pub(super) submitted: Stamp,
    /// 0 while in flight.
    pub(super) completed: Stamp,
    pub(super) length: LengthChange,
    /// When the length changed; [`DROPPED`] if it did not.
    pub(super) length_at: Stamp,
    /// Durable in its own range when completed.
    pub(super) fua: bool,
    /// A failed sync gave it up.
    pub(super) lost: bool,
    /// Nothing of it is pending.
    pub(super) dead: bool,
}

impl Pending {
    pub(super) fn units(&self) -> std::ops::Range<usize> {
        self.first as usize..self.end as usize
    }

    pub(super) fn covers(&self, unit: usize) -> bool {
        self.units().contains(&unit)
    }

    pub(super) fn in_flight(&self) -> bool {
        self.completed == 0 && !self.dead
    }
}

/// All pending changes of a file, and the arenas that hold their contents. Nothing is allocated in steady state.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    pub(super) list: Vec<Pending>,
    contents: Vec<Content>,
    landings: Vec<Stamp>,
    spare: (Vec<Content>, Vec<Stamp>),
    dead: usize,
    clock: Stamp,
}

/// Dead changes worth a compaction.
const MANY_DEAD: usize = 32;

impl Cache {
    /// Forgets everything, keeping the memory. The clock begins anew.
    pub(super) fn reset(&mut self) {
        self.clear();
        self.clock = 0;
    }

    /// Forgets all changes.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.contents.clear();
        self.landings.clear();
        self.dead = 0;
    }

    /// Becomes a copy of `other`, keeping its memory.
    pub(super) fn copy_from(&mut self, other: &Cache) {
        self.list.clone_from(&other.list);
        self.contents.clone_from(&other.contents);
        self.landings.clone_from(&other.landings);
        self.dead = other.dead;
        self.clock = other.clock;
    }

    /// The next stamp.
    pub(super) fn tick(&mut self) -> Stamp {
        self.clock += 1;
        assert!(
            self.clock < DROPPED,
            "the clock of a simulated file ran over: reset it between runs"
        );
        self.clock
    }

    /// Entries held in all arenas together.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.list.len() + self.contents.len() + self.landings.len()
    }

    /// Begins a change: the contents pushed from now on are its.
    pub(super) fn begin(&self) -> usize {
        self.contents.len()
    }

    pub(super) fn push_content(&mut self, content: Content) {
        self.contents.push(content);
    }

    /// Adds a change of the units `first..end`. Its contents were pushed since `begin` (`None`: zeros).
    pub(super) fn add(
        &mut self,
        units: (usize, usize),
        begin: Option<usize>,
        length: LengthChange,
        fua: bool,
    ) -> Stamp {
        debug_assert!(begin.is_none_or(|begin| self.contents.len() - begin == units.1 - units.0));
        let submitted = self.tick();
        self.list.push(Pending {
            first: units.0 as u32,
            end: units.1 as u32,
            payload: begin.map_or(Payload::Zeros, |begin| Payload::Contents(begin as u32)),
            landing: Landing::Whole(0),
            submitted,
            completed: 0,
            length,
            length_at: 0,
            fua,
            lost: false,
            dead: false,
        });
        submitted
    }

    /// The place of a change in the list. Panics if there is no such change in flight: the caller completed it twice.
    pub(super) fn find(&self, id: Stamp) -> usize {
        let found = self.list.binary_search_by_key(&id, |p| p.submitted).ok();
        let found = found.filter(|&at| self.list[at].in_flight());
        found.expect("an I/O that is not in flight on this file was completed")
    }

    /// What change `p` puts into `unit`.
    #[inline]
    pub(super) fn content(&self, p: &Pending, unit: usize) -> Content {
        match p.payload {
            Payload::Zeros => Content::ZERO,
            Payload::Contents(at) => self.contents[at as usize + unit - p.first as usize],
        }
    }

    /// When change `p` landed at `unit`: 0 not yet, [`DROPPED`] never.
    #[inline]
    pub(super) fn landed(&self, p: &Pending, unit: usize) -> Stamp {
        match p.landing {
            Landing::Whole(stamp) => stamp,
            Landing::Each(at) => self.landings[at as usize + unit - p.first as usize],
        }
    }

    /// True if no unit of the change has landed.
    pub(super) fn untouched(&self, at: usize) -> bool {
        matches!(self.list[at].landing, Landing::Whole(0))
    }

    /// All units of the change land at one stamp.
    pub(super) fn land_whole(&mut self, at: usize, stamp: Stamp) {
        self.list[at].landing = Landing::Whole(stamp);
    }

    /// One unit of the change lands.
    pub(super) fn land_unit(&mut self, at: usize, unit: usize, stamp: Stamp) {
        let p = &mut self.list[at];
        let begin = match p.landing {
            Landing::Each(begin) => begin,
            Landing::Whole(stamp) => {
                let begin = self.landings.len();
                self.landings.resize(begin + p.units().len(), stamp);
                p.landing = Landing::Each(begin as u32);
                begin as u32
            }
        };
        self.landings[begin as usize + unit - p.first as usize] = stamp;
    }

    /// True if change `p` is something that a crash may leave in `unit`, whose durable content landed at `durable_at`.
    #[inline]
    pub(super) fn may_survive(&self, p: &Pending, unit: usize, durable_at: Stamp) -> bool {
        if p.dead || !p.covers(unit) {
            return false;
        }
        match self.landed(p, unit) {
            0 => true,
            DROPPED => false,
            stamp => stamp > durable_at,
        }
    }

    /// Marks a change dead. Call [`Cache::sweep`] when done.
    pub(super) fn kill(&mut self, at: usize) {
        if !self.list[at].dead {
            self.list[at].dead = true;
            self.dead += 1;
        }
    }

    /// Gives back what dead changes hold.
    pub(super) fn sweep(&mut self) {
        if self.dead == self.list.len() {
            self.clear();
        } else if self.dead >= MANY_DEAD && self.dead * 2 > self.list.len() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        std::mem::swap(&mut self.contents, &mut self.spare.0);
        std::mem::swap(&mut self.landings, &mut self.spare.1);
        self.contents.clear();
        self.landings.clear();
        let (contents, landings) = &self.spare;
        self.list.retain(|p| !p.dead);
        self.dead = 0;
        for p in &mut self.list {
            let len = p.units().len();
            if let Payload::Contents(at) = &mut p.payload {
                let from = *at as usize;
                *at = self.contents.len() as u32;
                self.contents.extend_from_slice(&contents[from..from + len]);
            }
            if let Landing::Each(at) = &mut p.landing {
                let from = *at as usize;
                *at = self.landings.len() as u32;
                self.landings.extend_from_slice(&landings[from..from + len]);
            }
        }
    }
}
