//! Is this an image that a crash may leave? The rules of the folder's head once more, asked of a file that somebody else
//! has crashed: a real one, on a real kernel.
//!
//! A [`History`] is what was done to a file, in order: changes with what they wrote, syncs, each with its submission and its
//! completion. A *moment* is the number of steps that had happened. A [`Verdict`] says whether **one** moment of a window
//! explains a whole image: its length and every sector.
//!
//! ```text
//!   content of a sector:  possible from its submission ──▶ until a change that was submitted after it had completed is durable
//!   length:               the durable one, or that of a change that is not durable and that no truncation supersedes
//! ```
//! The power cuts of the real-kernel tests are judged by it, which says how far the simulated disk is a real one: see the README.
//!
//! * Contents are numbers that the caller chooses, for instance hashes. 0 is a sector of zeros.
//! * What is not known widens: which of two changes in flight at once came first, what reads have seen. Without reads it is
//!   exactly what [`SimFile`](super::SimFile) can leave: a test compares the two sets, image by image.
//! * A change of length that failed is not judged: it may have become visible or not.

mod judge;
mod length;
mod span;
#[cfg(test)]
mod tests;

pub use judge::{Image, Judged, Never, Refusal, Verdict};

use super::complete::Effect;
use length::LengthStep;
use ploop_core::units::SECTOR_BYTES;

/// Number of steps that had happened.
pub type Moment = usize;

/// Never.
const NEVER: Moment = Moment::MAX;

/// A change to a file. Positions in sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Writes whole sectors. Extends the file if need be.
    Write {
        /// First sector.
        at: u64,
        /// What each holds then.
        contents: Vec<u64>,
        /// Its own range is durable when it completes.
        fua: bool,
    },
    /// Makes a range read as zeros, inside the length.
    Zero {
        /// First sector.
        at: u64,
        /// Number of sectors.
        len: u64,
    },
    /// Makes the file at least so long.
    Extend {
        /// Length in bytes.
        bytes: u64,
    },
    /// Makes the file exactly so long.
    SetLen {
        /// Length in bytes.
        bytes: u64,
    },
}

/// A change of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeId(usize);

/// A sync of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncId(usize);

/// What a change puts into its sectors.
#[derive(Clone, Debug)]
enum Payload {
    Zeros,
    Contents(Vec<u64>),
}

#[derive(Clone, Debug)]
struct Change {
    /// First sector, and the one behind the last.
    first: u64,
    end: u64,
    payload: Payload,
    fua: bool,
    submitted: Moment,
    /// [`NEVER`] while in flight.
    completed: Moment,
    effect: Effect,
    /// When a sync has made it durable.
    synced: Moment,
    /// A failed sync gave it up.
    lost: bool,
}

impl Change {
    fn content(&self, sector: u64) -> u64 {
        match &self.payload {
            Payload::Zeros => 0,
            Payload::Contents(contents) => contents[(sector - self.first) as usize],
        }
    }

    /// True if the sector has surely become what the change says, once it has completed.
    fn is_sure_of(&self, sector: u64) -> bool {
        match self.effect {
            Effect::Done => true,
            Effect::Short(bytes) => (sector + 1 - self.first) * SECTOR_BYTES <= bytes,
            Effect::Failed => false,
        }
    }

    /// From when on the sector is durably this, or something later.
    fn durable(&self, sector: u64) -> Moment {
        match () {
            () if self.completed == NEVER || !self.is_sure_of(sector) => NEVER,
            () if self.fua && self.effect == Effect::Done => self.completed,
            () => self.synced,
        }
    }
}

#[derive(Clone, Debug)]
struct Sync {
    submitted: Moment,
    ended: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct History {
    now: Moment,
    initial: Vec<u64>,
    initial_len: u64,
    changes: Vec<Change>,
    /// Changes of the length, as they were submitted.
    lengths: Vec<LengthStep>,
    syncs: Vec<Sync>,
    /// The length that reads see.
    visible: u64,
    /// Behind the last sector that was ever something.
    used: u64,
    /// From when on the length is not known.
    unknown: Moment,
}

impl History {
    /// Of a file of so many bytes with these sectors, all durable; zeros follow.
    #[must_use]
    pub fn new(len: u64, contents: Vec<u64>) -> History {
        History {
            now: 0,
            used: contents.len() as u64,
            initial: contents,
            initial_len: len,
            changes: Vec::new(),
            lengths: Vec::new(),
            syncs: Vec::new(),
            visible: len,
            unknown: NEVER,
        }
    }

    /// Steps so far.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The length that reads see, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.visible
    }

    fn step(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    /// A change goes in flight.
    pub fn submit(&mut self, what: What) -> ChangeId {
        let submitted = self.step();
        let visible = self.visible;
        let grown = |end: u64| (end > visible).then_some(length::To::AtLeast(end));
        let (first, end, payload, fua, to) = match what {
            What::Write { at, contents, fua } => {
                let end = at + contents.len() as u64;
                let to = grown(end * SECTOR_BYTES);
                (at, end, Payload::Contents(contents), fua, to)
            }
            What::Zero { at, len } => (at, (at + len).min(self.used), Payload::Zeros, false, None),
            What::Extend { bytes } => (0, 0, Payload::Zeros, false, grown(bytes)),
            What::SetLen { bytes } => {
                let first = bytes.div_ceil(SECTOR_BYTES);
                let to = (bytes != visible).then_some(length::To::Exactly(bytes));
                let end = if bytes < visible { self.used } else { first };
                (first, end, Payload::Zeros, false, to)
            }
        };
        let end = end.max(first);
        self.used = self.used.max(end);
        if let Some(to) = to {
            self.lengths.push(LengthStep {
                to,
                change: self.changes.len(),
            });
        }
        self.changes.push(Change {
            first,
            end,
            payload,
            fua,
            submitted,
            completed: NEVER,
            effect: Effect::Done,
            synced: NEVER,
            lost: false,
        });
        ChangeId(self.changes.len() - 1)
    }

    /// A change ends.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn complete(&mut self, id: ChangeId, effect: Effect) {
        let now = self.step();
        let change = &mut self.changes[id.0];
        assert_eq!(change.completed, NEVER, "completed twice");
        change.completed = now;
        change.effect = effect;
        let Ok(at) = self.lengths.binary_search_by_key(&id.0, |step| step.change) else {
            return;
        };
        if effect == Effect::Done {
            self.visible = self.lengths[at].to.of(self.visible);
        } else {
            self.unknown = self.unknown.min(self.changes[id.0].submitted);
        }
    }

    /// A sync goes in flight: it covers what has completed.
    pub fn submit_sync(&mut self) -> SyncId {
        let submitted = self.step();
        self.syncs.push(Sync {
            submitted,
            ended: false,
        });
        SyncId(self.syncs.len() - 1)
    }

    /// A sync ends. If it failed, nobody knows what of it is durable.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn complete_sync(&mut self, id: SyncId, ok: bool) {
        let now = self.step();
        let sync = &mut self.syncs[id.0];
        assert!(!sync.ended, "a sync completed twice");
        sync.ended = true;
        let submitted = sync.submitted;
        let covered = |change: &&mut Change| change.completed < submitted;
        for change in self.changes.iter_mut().filter(covered) {
            if ok && !change.lost {
                change.synced = change.synced.min(now);
            } else if change.synced == NEVER {
                change.lost = true;
            }
        }
    }

    /// What may be where, and when.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        Verdict::of(self)
    }
}
