//! What a power cut could leave in the top file, right now: for each sector, BAT slot, the length and the in-use mark
//! the values that are possible.
//!
//! * A change is possible from the moment its I/O was handed out (in flight, any subset may be on the medium), and stays
//!   so until a later one of the same cell is durable. Which of two is the later one, their ends say: what a read would
//!   return is what a sync makes durable.
//! * A sync covers the changes whose completion was delivered before it was handed out. A write with FUA covers itself.
//! * What a failed sync should have covered is never covered by a later one. What a failed write did is open until a sync:
//!   that makes durable what a read would return.
//! * Cells persist independently of each other: 512-byte tearing puts the slots of one page down one by one.

use std::fmt::Debug;

/// One I/O.
#[derive(Clone, Copy, Debug)]
struct Io {
    begin: u64,
    /// When it ended, and whether it was carried out.
    end: Option<(u64, bool)>,
    /// A sync that should have covered it failed.
    lost: bool,
}

/// The I/Os, in the order in which they were handed out.
#[derive(Debug, Default)]
pub(crate) struct Ios {
    list: Vec<Io>,
    clock: u64,
}

/// Which changes became durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cover {
    /// All that ended before this sync began.
    Sync(usize),
    /// This one alone (FUA).
    Own(usize),
}

impl Ios {
    /// An I/O is handed out.
    pub(crate) fn begin(&mut self) -> usize {
        self.clock += 1;
        self.list.push(Io {
            begin: self.clock,
            end: None,
            lost: false,
        });
        self.list.len() - 1
    }

    /// Its end is about to be delivered. `applied`: a read sees it.
    pub(crate) fn end(&mut self, id: usize, applied: bool) {
        assert!(
            self.list[id].end.is_none(),
            "the test delivered I/O {id} twice"
        );
        self.clock += 1;
        self.list[id].end = Some((self.clock, applied));
    }

    /// A sync failed.
    pub(crate) fn lose(&mut self, sync: usize) {
        for id in 0..self.list.len() {
            self.list[id].lost |= self.covers(Cover::Sync(sync), id);
        }
    }

    /// Number of I/Os that are not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.list.iter().filter(|io| io.end.is_none()).count()
    }

    fn covers(&self, cover: Cover, id: usize) -> bool {
        match cover {
            Cover::Own(own) => own == id,
            Cover::Sync(sync) => {
                let at = self.list[sync].begin;
                !self.list[id].lost && self.list[id].end.is_some_and(|(end, _)| end < at)
            }
        }
    }

    /// When it ended; `None`: in flight.
    fn ended(&self, id: usize) -> Option<u64> {
        self.list[id].end.map(|(end, _)| end)
    }

    fn is_applied(&self, id: usize) -> bool {
        self.list[id].end.is_some_and(|(_, applied)| applied)
    }
}

/// One independent piece of the file.
#[derive(Clone, Debug)]
pub(crate) struct Cell<T> {
    durable: T,
    pending: Vec<(usize, T)>,
}

impl<T: Copy + PartialEq + Debug> Cell<T> {
    /// Durably this.
    pub(crate) fn new(value: T) -> Cell<T> {
        Cell {
            durable: value,
            pending: Vec::new(),
        }
    }

    /// An I/O that sets it is handed out.
    pub(crate) fn change(&mut self, io: usize, value: T) {
        self.pending.push((io, value));
    }

    /// An I/O ended before it came here.
    pub(crate) fn not_reached(&mut self, io: usize) {
        self.pending.retain(|&(id, _)| id != io);
    }

    /// Everything that may be there after a power cut.
    pub(crate) fn possible(&self) -> impl Iterator<Item = T> + '_ {
        let pending = self.pending.iter().map(|(_, value)| *value);
        std::iter::once(self.durable).chain(pending)
    }

    /// It is this for sure.
    pub(crate) fn is(&self, value: T) -> bool {
        self.possible().all(|possible| possible == value)
    }

    /// Some changes became durable.
    pub(crate) fn settle(&mut self, ios: &Ios, cover: Cover) {
        if !self.pending.iter().any(|&(id, _)| ios.covers(cover, id)) {
            return;
        }
        let sure = self.pending.iter();
        let last = sure
            .filter(|(id, _)| ios.covers(cover, *id) && ios.is_applied(*id))
            .max_by_key(|(id, _)| ios.ended(*id));
        if let Some(&(last, value)) = last {
            self.durable = value;
            let until = ios.ended(last);
            self.pending
                .retain(|&(id, _)| ios.ended(id).is_none_or(|end| Some(end) > until));
        }
        self.pending.retain(|&(id, _)| !ios.covers(cover, id));
    }
}
