//! Tracking for a live copy: which guest clusters may have changed since somebody last asked.
//!
//! ```text
//!   off ──start──▶ on: every mapped cluster is marked     a part of a write, of zeros or of a discard ends ──▶ its cluster is
//!    ▲              │   next: one mark is taken away,      marked, before the request can be acknowledged (failed ones too)
//!    └─────stop─────┘   then its cluster is copied
//! ```
//! * A superset: what changed is marked. A mark is taken *before* the cluster is read, so that whatever ends after the read
//!   marks it again. When nothing is marked and nothing in flight, the copy is the disk.
//! * Off, it costs one load a part. Lives with the device: who copies starts again with the next one.

use crate::sync::{Flag, Mutex, Rank};
use crate::units::Clu;

#[derive(Debug, Default)]
struct Marks {
    /// One bit a guest cluster; empty: off.
    words: Vec<u64>,
    count: u64,
    /// Where the next search begins, in words.
    cursor: usize,
}

impl Marks {
    fn set(&mut self, clu: Clu) {
        // Beyond: tracking was stopped meanwhile.
        if let Some(word) = self.words.get_mut(clu.0 as usize / 64) {
            let bit = 1 << (clu.0 % 64);
            self.count += u64::from(*word & bit == 0);
            *word |= bit;
        }
    }

    fn take(&mut self) -> Option<Clu> {
        let len = self.words.len();
        let mut order = (self.cursor..len).chain(0..self.cursor.min(len));
        let index = order.find(|&index| self.words[index] != 0)?;
        let bit = self.words[index].trailing_zeros();
        self.words[index] &= !(1 << bit);
        self.count -= 1;
        self.cursor = index;
        Some(Clu(index as u32 * 64 + bit))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tracking {
    on: Flag,
    marks: Mutex<Marks>,
}

impl Tracking {
    pub(crate) fn new() -> Tracking {
        Tracking {
            on: Flag::new(),
            marks: Mutex::new(Rank::Table, "tracking", Marks::default()),
        }
    }

    /// Switches it on with nothing marked, for so many clusters.
    pub(crate) fn start(&self, clusters: u32) {
        let mut marks = self.marks.lock();
        *marks = Marks {
            words: vec![0; clusters.div_ceil(64) as usize],
            ..Marks::default()
        };
        self.on.set(true);
    }

    /// Switches it off.
    pub(crate) fn stop(&self) {
        let mut marks = self.marks.lock();
        *marks = Marks::default();
        self.on.set(false);
    }

    /// Takes all marks away.
    pub(crate) fn clear(&self) {
        let mut marks = self.marks.lock();
        marks.words.fill(0);
        marks.count = 0;
    }

    /// A cluster may have changed.
    #[inline]
    pub(crate) fn mark(&self, clu: Clu) {
        if self.on.get() {
            self.marks.lock().set(clu);
        }
    }

    /// Takes one mark away. `None`: nothing is marked. `Err`: off.
    pub(crate) fn take(&self) -> Result<Option<Clu>, ()> {
        let mut marks = self.marks.lock();
        if self.on.get() {
            Ok(marks.take())
        } else {
            Err(())
        }
    }

    /// How many clusters are marked.
    pub(crate) fn count(&self) -> u64 {
        self.marks.lock().count
    }
}
