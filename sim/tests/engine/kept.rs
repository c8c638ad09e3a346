//! The visible slots outside of the device: what is left if the server is killed now.
//!
//! At the moment a write is acknowledged, on whatever queue, the slots that lead to it must be there already. Requests that
//! un-map are not followed: a device that was ever asked to is not judged.
//!
//! Known limit: a call of the map is no switch point of the engine. A call that is left out is seen; one that only comes too
//! late, behind the page's unlock, is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::core::VisibleMap;
use crate::core::units::Clu;
use model::op::{Kind, Op};

#[derive(Debug)]
struct Slots {
    entries: Vec<AtomicU32>,
    unmaps: AtomicBool,
}

/// See the module. Clones are the same slots. Not part of what an engine explores: plain memory of the test.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    slots: Arc<Slots>,
    cluster: u64,
}

impl Kept {
    pub(crate) fn new(clusters: u64, cluster: u64) -> Kept {
        let slots = Slots {
            entries: (0..clusters).map(|_| AtomicU32::new(0)).collect(),
            unmaps: AtomicBool::new(false),
        };
        Kept {
            slots: Arc::new(slots),
            cluster,
        }
    }

    /// A request is about to go in.
    pub(crate) fn submitted(&self, op: Op) {
        if matches!(op.kind, Kind::Discard | Kind::WriteZeroes { .. }) {
            self.slots.unmaps.store(true, Ordering::SeqCst);
        }
    }

    /// A request has succeeded.
    pub(crate) fn acknowledged(&self, op: Op) {
        if !matches!(op.kind, Kind::Write { .. }) || self.slots.unmaps.load(Ordering::SeqCst) {
            return;
        }
        for clu in op.start / self.cluster..(op.start + op.len).div_ceil(self.cluster) {
            assert!(
                self.get(Clu(clu as u32)) != 0,
                "{op:?} is acknowledged, and a server killed now would not know cluster {clu}"
            );
        }
    }
}

impl VisibleMap for Kept {
    fn set(&self, clu: Clu, entry: u32) {
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
