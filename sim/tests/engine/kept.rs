//! The visible slots outside of the device: what is left if the server is killed now.
//!
//! At the moment a write is acknowledged, on whatever queue, the slots that lead to it must be there already. Clusters that
//! somebody was asked to un-map are not judged.
//!
//! A *watched* map is part of what the engine explores: before each of its slots is set, another thread may run. So a slot
//! that is set behind the page's unlock is seen to be late, not only one that is never set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Events;
use super::atomics::AtomicUsize;
use super::core::VisibleMap;
use super::core::units::Clu;
use model::op::{Kind, Op};

#[derive(Debug)]
struct Slots {
    entries: Vec<AtomicU32>,
    unmapped: Vec<AtomicBool>,
    /// The engine's own, if the map is watched: a place to switch threads.
    moment: Option<AtomicUsize>,
    events: Events,
}

/// See the module. Clones are the same slots: plain memory of the test.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    slots: Arc<Slots>,
    cluster: u64,
}

impl Kept {
    pub(crate) fn new(clusters: u64, cluster: u64, watched: bool) -> Kept {
        let slots = Slots {
            entries: (0..clusters).map(|_| AtomicU32::new(0)).collect(),
            unmapped: (0..clusters).map(|_| AtomicBool::new(false)).collect(),
            moment: watched.then(|| AtomicUsize::new(0)),
            events: Events::new(),
        };
        Kept {
            slots: Arc::new(slots),
            cluster,
        }
    }

    /// A request is about to go in.
    pub(crate) fn submitted(&self, op: Op) {
        if matches!(op.kind, Kind::Discard | Kind::WriteZeroes { .. }) {
            let clusters = self.clusters(op);
            let (from, to) = (clusters.start as u64, clusters.end as u64);
            self.slots.events.slots(from, to, true);
            for clu in clusters {
                self.slots.unmapped[clu].store(true, Ordering::SeqCst);
            }
        }
    }

    fn clusters(&self, op: Op) -> std::ops::Range<usize> {
        let end = (op.start + op.len).div_ceil(self.cluster);
        (op.start / self.cluster) as usize..end as usize
    }

    /// A request has succeeded.
    pub(crate) fn acknowledged(&self, op: Op) {
        if !matches!(op.kind, Kind::Write { .. }) {
            return;
        }
        if let Some(moment) = &self.slots.moment {
            moment.load(Ordering::SeqCst);
        }
        let clusters = self.clusters(op);
        let (from, to) = (clusters.start as u64, clusters.end as u64);
        self.slots.events.slots(from, to, false);
        for clu in clusters {
            let judged = !self.slots.unmapped[clu].load(Ordering::SeqCst);
            assert!(
                !judged || self.get(Clu(clu as u32)) != 0,
                "{op:?} is acknowledged, and a server killed now would not know cluster {clu}"
            );
        }
    }
}

impl VisibleMap for Kept {
    fn set(&self, clu: Clu, entry: u32) {
        if let Some(moment) = &self.slots.moment {
            moment.fetch_add(1, Ordering::SeqCst);
        }
        let at = u64::from(clu.0);
        self.slots.events.slots(at, at + 1, true);
        self.slots.entries[clu.0 as usize].store(entry, Ordering::SeqCst);
    }

    fn get(&self, clu: Clu) -> u32 {
        self.slots.entries[clu.0 as usize].load(Ordering::SeqCst)
    }

    fn set_poisoned(&self) {}

    fn is_poisoned(&self) -> bool {
        false
    }
}
