//! One metadata page: its part of the map, its cluster locks, its write-back. One lock, and every critical section of
//! the data plane is a method of this file, so that nothing is decided under the lock and done after it.
//!
//! * P1 Level and entry of a slot change together, under the lock (I11).
//! * P2 Look-up and registration (`flight`), or look-up and taking the cluster lock, are one section (I12, I13).
//! * P3 A mapping is published only when the content under it is there (its base), together with what makes it safe to
//!   write (`need`); the cluster lock ends in the same section and its waiters come out of it.
//! * P4 A slot with `flight > 0` is never un-mapped: the last I/O on a host cluster ends before the host is given up.
//! * P5 Whatever differs from the disk has a record; a page with a record, or a header that changed, is not `Clean` and
//!   is in the dirty set.
//! * P6 A change of a slot is in the kept map (`bat::visible`) before the section ends.
//!
//! Nested in the page lock are only the host clusters' life (`Holes`) or the dirty set (`Table`), one at a time.

use std::collections::VecDeque;

use crate::alloc::Alloc;
use crate::bat::level::{Levels, NO_LEVEL, Place};
use crate::bat::visible::VisibleMap;
use crate::cluster::lock::{COUNT, ClusterLocks, HELD, Hold, OWES, SHADOWS};
use crate::request::work::{Segment, SegmentKind, Waiter};
use crate::sync::{Guard, Mutex, Rank};
use crate::units::{Clu, Level, Millis, PageId, Sector, Slot};
use crate::verify::{mark, verify};
use crate::writeback::dirty::DirtySet;
use crate::writeback::record::Record;
use crate::writeback::state::{Event, State};

/// What a page needs of the rest of the device.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) levels: &'a Levels,
    pub(crate) alloc: &'a Alloc,
    pub(crate) dirty: &'a DirtySet,
    pub(crate) visible: &'a dyn VisibleMap,
    pub(crate) now: Millis,
}

/// A metadata page behind its lock. On cache lines of its own: two queues on two pages share none.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Page {
    md: Mutex<MdPage>,
}

/// Header bytes of page 0, and their own record.
#[derive(Debug)]
pub(crate) struct HeaderCopy {
    pub(crate) bytes: [u8; 64],
    /// Oldest change that is not durable; 0 = none.
    pub(crate) first: u64,
    pub(crate) latest: u64,
    pub(crate) riding: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct MdPage {
    pub(crate) id: PageId,
    /// Guest cluster of its first slot.
    pub(crate) first: Clu,
    pub(crate) map: Box<[u32]>,
    pub(crate) level: Box<[u8]>,
    pub(crate) flight: Box<[u32]>,
    pub(crate) locks: ClusterLocks,
    pub(crate) state: State,
    /// Sorted by slot; a slot has one exactly if its flight word says `OWES`.
    pub(crate) records: Vec<Record>,
    pub(crate) header: Option<Box<HeaderCopy>>,
    /// Bytes behind the last slot of the last page, kept as they are.
    pub(crate) slack: Box<[u8]>,
    /// Counts changes of this page; each change has its own number, from 1.
    pub(crate) changes: u64,
    /// A round is wanted that covers all changes up to this one.
    pub(crate) want: u64,
    pub(crate) waiters: Vec<(u64, Waiter)>,
    /// In the dirty set's ready list.
    pub(crate) queued: bool,
    /// A waiter of the sync gate will queue it.
    pub(crate) awaiting: bool,
    /// Since the last durable round one has failed.
    pub(crate) failing: bool,
    /// Short writes of the index since a round last settled.
    pub(crate) shorts: u8,
}

/// What to do with a segment.
#[derive(Debug)]
pub(crate) enum Begin {
    /// It waits on the cluster.
    Parked,
    /// Nothing is mapped: a read gets zeros.
    Hole(Segment),
    /// I/O at this place; registered.
    Read(Segment, Level, Sector),
    /// Write at this place of the top; registered. `durable`: nothing about the slot is outstanding.
    Write {
        segment: Segment,
        at: Sector,
        durable: bool,
    },
    /// Zero at this place of the top; registered.
    Zero { segment: Segment, at: Sector },
    /// A new mapping is needed; the segment holds the cluster.
    Make(Segment),
    /// It is done, by an un-map or because there is nothing to do. `change`: what an acknowledgement that promises
    /// durability has to wait for.
    Done {
        segment: Segment,
        change: Option<u64>,
    },
}

/// A drained discard: done, and whoever waited for the cluster.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) segment: Segment,
    pub(crate) change: u64,
    pub(crate) waiters: VecDeque<Segment>,
}

impl Page {
    pub(crate) fn new(md: MdPage) -> Page {
        Page {
            md: Mutex::new(Rank::Page, "metadata page", md),
        }
    }

    /// For write-back (`writeback::round`) and inspection; data-plane sections are the methods below.
    pub(crate) fn lock(&self) -> Guard<'_, MdPage> {
        self.md.lock()
    }

    /// Looks a segment's cluster up and registers for it, or parks, or takes the cluster.
    pub(crate) fn begin(
        &self,
        slot: Slot,
        segment: Segment,
        covers: bool,
        cx: Context<'_>,
    ) -> Begin {
        let mut md = self.md.lock();
        let word = md.flight[slot.index()];
        if word & HELD != 0 {
            mark!(ParkedOnCluster);
            match md.locks.find(slot) {
                Some(lock) => lock.waiters.push_back(segment),
                None => unreachable!("held cluster without a lock"),
            }
            return Begin::Parked;
        }
        let place = md.place(slot, cx.levels);
        match (segment.kind, place) {
            (SegmentKind::Read, Place::Unmapped) => Begin::Hole(segment),
            (SegmentKind::Read, Place::Top(at)) => {
                md.flight[slot.index()] += 1;
                Begin::Read(segment, cx.levels.top(), at)
            }
            (SegmentKind::Read, Place::Lower(level, at)) => {
                md.flight[slot.index()] += 1;
                Begin::Read(segment, level, at)
            }
            (SegmentKind::Write, Place::Top(at)) => {
                md.flight[slot.index()] += 1;
                let durable = word & OWES == 0;
                Begin::Write {
                    segment,
                    at,
                    durable,
                }
            }
            (SegmentKind::Write, Place::Unmapped | Place::Lower(..))
            | (SegmentKind::Zeroes { .. }, Place::Lower(..)) => {
                md.flight[slot.index()] |= HELD;
                md.locks.hold(slot, Hold::Making);
                Begin::Make(segment)
            }
            (SegmentKind::Zeroes { unmap: true } | SegmentKind::Discard, Place::Top(_))
                if covers && word & SHADOWS == 0 =>
            {
                if word & COUNT != 0 {
                    mark!(DiscardDrains);
                    md.flight[slot.index()] |= HELD;
                    md.locks.hold(slot, Hold::Draining(segment));
                    return Begin::Parked;
                }
                let change = md.unmap(slot, cx);
                Begin::Done {
                    segment,
                    change: Some(change),
                }
            }
            (SegmentKind::Zeroes { .. }, Place::Top(at)) => {
                md.flight[slot.index()] += 1;
                Begin::Zero { segment, at }
            }
            (SegmentKind::Discard, Place::Top(at)) if covers => {
                mark!(DiscardZeroes);
                md.flight[slot.index()] += 1;
                Begin::Zero { segment, at }
            }
            (SegmentKind::Promote { lowest }, Place::Lower(level, _)) if level >= lowest => {
                md.flight[slot.index()] |= HELD;
                md.locks.hold(slot, Hold::Making);
                Begin::Make(segment)
            }
            (SegmentKind::Zeroes { .. }, Place::Unmapped)
            | (SegmentKind::Discard | SegmentKind::Promote { .. }, _) => {
                let change = md.record(slot).map(|record| record.latest);
                Begin::Done { segment, change }
            }
        }
    }

    /// A registered I/O ended. If a discard waited for it and it was the last one, the discard is done here.
    pub(crate) fn end_io(&self, slot: Slot, cx: Context<'_>) -> Option<Drained> {
        let mut md = self.md.lock();
        verify!(
            md.flight[slot.index()] & COUNT != 0,
            "I/O ended on a cluster with none in flight"
        );
        md.flight[slot.index()] -= 1;
        let word = md.flight[slot.index()];
        if word & COUNT != 0 || word & HELD == 0 {
            return None;
        }
        if !matches!(md.locks.find(slot)?.hold, Hold::Draining(_)) {
            return None;
        }
        let lock = md.locks.release(slot)?;
        let Hold::Draining(segment) = lock.hold else {
            return None;
        };
        md.flight[slot.index()] &= !HELD;
        let change = md.unmap(slot, cx);
        Some(Drained {
            segment,
            change,
            waiters: lock.waiters,
        })
    }

    /// Where the data of a held cluster is until now: what a copy copies. Also whether it is safe to start from zeros.
    pub(crate) fn held_place(&self, slot: Slot, cx: Context<'_>) -> Place {
        self.md.lock().place(slot, cx.levels)
    }

    /// Publishes a new mapping of a held cluster, releases the cluster, and registers one I/O for its maker if `register`.
    /// Returns the number of the change and whoever waited.
    pub(crate) fn publish(
        &self,
        slot: Slot,
        entry: u32,
        need: u64,
        register: bool,
        cx: Context<'_>,
    ) -> (u64, VecDeque<Segment>) {
        let mut md = self.md.lock();
        let disk = md.top_entry(slot, cx.levels);
        verify!(disk == 0, "published over a mapping");
        if md.level[slot.index()] != NO_LEVEL {
            md.flight[slot.index()] |= SHADOWS;
        }
        md.map[slot.index()] = entry;
        md.level[slot.index()] = cx.levels.top().0;
        cx.alloc.published(entry);
        cx.visible.set(md.clu(slot), entry);
        let change = md.change(slot, disk, entry, need, cx);
        if register {
            md.flight[slot.index()] += 1;
        }
        (change, md.release(slot))
    }

    /// Releases a held cluster without a new mapping. Returns whoever waited.
    pub(crate) fn abandon(&self, slot: Slot) -> VecDeque<Segment> {
        self.md.lock().release(slot)
    }

    /// A killed device left this slot as it is now; the file says `file`. `need`: the sync that makes a mapping safe.
    pub(crate) fn recovered(&self, slot: Slot, file: u32, need: u64, cx: Context<'_>) {
        let mut md = self.md.lock();
        if file != 0 {
            md.give_up(slot, file, cx);
        }
        let visible = md.top_entry(slot, cx.levels);
        if visible != 0 {
            md.change(slot, 0, visible, need, cx);
        }
    }

    /// The change that an acknowledgement of I/O on this slot has to wait for, if it promises durability; `None`: the
    /// slot is durable.
    pub(crate) fn outstanding(&self, slot: Slot) -> Option<u64> {
        self.md.lock().record(slot).map(|record| record.latest)
    }
}

impl MdPage {
    /// The place of a slot.
    fn place(&self, slot: Slot, levels: &Levels) -> Place {
        let level = self.level[slot.index()];
        if level == NO_LEVEL {
            return Place::Unmapped;
        }
        let at = levels.sector(Level(level), self.map[slot.index()]);
        if level == levels.top().0 {
            Place::Top(at)
        } else {
            Place::Lower(Level(level), at)
        }
    }

    /// What the top's BAT should say about a slot: its raw entry if the top has it, else 0.
    pub(crate) fn top_entry(&self, slot: Slot, levels: &Levels) -> u32 {
        if self.level[slot.index()] == levels.top().0 {
            self.map[slot.index()]
        } else {
            0
        }
    }

    /// The guest cluster of a slot.
    fn clu(&self, slot: Slot) -> Clu {
        Clu(self.first.0 + u32::from(slot.0))
    }

    /// The record of a slot.
    pub(crate) fn record(&self, slot: Slot) -> Option<&Record> {
        if self.flight[slot.index()] & OWES == 0 {
            return None;
        }
        self.find(slot).ok().map(|index| &self.records[index])
    }

    fn find(&self, slot: Slot) -> Result<usize, usize> {
        self.records
            .binary_search_by_key(&slot, |record| record.slot)
    }

    /// Gives a mapping up. Nothing is in flight on it (P4). Returns the number of the change.
    fn unmap(&mut self, slot: Slot, cx: Context<'_>) -> u64 {
        verify!(
            self.flight[slot.index()] & COUNT == 0,
            "un-map of a cluster with I/O in flight"
        );
        let entry = self.top_entry(slot, cx.levels);
        verify!(entry != 0, "un-map of an unmapped cluster");
        self.map[slot.index()] = 0;
        self.level[slot.index()] = NO_LEVEL;
        cx.visible.set(self.clu(slot), 0);
        self.give_up(slot, entry, cx)
    }

    /// The slot, whose value was `entry`, names no host of the top any more.
    fn give_up(&mut self, slot: Slot, entry: u32, cx: Context<'_>) -> u64 {
        cx.alloc.condemned(entry);
        let change = self.change(slot, entry, 0, 0, cx);
        if let Ok(index) = self.find(slot) {
            let record = &mut self.records[index];
            if record.is_riding() {
                mark!(CondemnedDuringRound);
            }
            record.condemned.push(entry);
        }
        change
    }

    /// Notes that a slot's visible value went from `disk` (if nothing was outstanding) to `visible`.
    fn change(&mut self, slot: Slot, disk: u32, visible: u32, need: u64, cx: Context<'_>) -> u64 {
        self.changes += 1;
        let change = self.changes;
        let index = self.find(slot).unwrap_or_else(|index| {
            self.flight[slot.index()] |= OWES;
            self.records.insert(index, Record::new(slot, disk, change));
            index
        });
        if self.state == State::Writeback {
            mark!(ChangedDuringRound);
        }
        self.records[index].change(change, visible, need);
        self.touched(change, cx);
        change
    }

    /// Something changed: the timer starts, or a round is wanted.
    pub(crate) fn touched(&mut self, change: u64, cx: Context<'_>) {
        match cx.dirty.enter(self.id, cx.now) {
            Some(due) => self.step(Event::Change { due }),
            None => {
                self.want = change;
                self.step(Event::ChangeNow);
                self.queue(cx.dirty);
            }
        }
    }

    /// Puts a dirty page on the ready list, once.
    pub(crate) fn queue(&mut self, dirty: &DirtySet) {
        if self.state == State::Dirty && !self.queued && !self.awaiting {
            self.queued = true;
            dirty.queue(self.id);
        }
    }

    /// One step of the write-back state.
    pub(crate) fn step(&mut self, event: Event) {
        match self.state.on(event) {
            Some(next) => self.state = next,
            None => unreachable!("page {:?}: {event:?} in {:?}", self.id, self.state),
        }
    }

    fn release(&mut self, slot: Slot) -> VecDeque<Segment> {
        verify!(
            self.flight[slot.index()] & HELD != 0,
            "release of a cluster that is not held"
        );
        self.flight[slot.index()] &= !HELD;
        self.locks
            .release(slot)
            .map(|lock| lock.waiters)
            .unwrap_or_default()
    }
}

impl Slot {
    /// As an index into the page's arrays.
    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}
