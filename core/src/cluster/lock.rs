//! The cluster lock: exclusive use of one guest cluster, kept beside the map that it protects, under the same page lock.
//!
//! * C1 At most one holder a cluster; while there is one, nobody else's I/O on the cluster starts (I13).
//! * C2 Whoever meets a held cluster becomes *data* on the lock and goes on, in order of arrival, when it is released:
//!   the list is taken out in the same critical section that ends the lock (I34).
//! * C3 Looking up a place and registering for it is one critical section (I12): `flight` of a slot counts the requests
//!   that know its place.
//!
//! ```text
//!   free ──hold(Making)──▶ a new mapping is being made ──release──▶ free
//!   free ──hold(Draining)─▶ waits for flight == 0 ──last one──▶ un-mapped, free
//! ```

use std::collections::VecDeque;

use crate::request::work::Segment;
use crate::units::Slot;

/// Bit of a slot's flight word: a cluster lock is held.
pub(crate) const HELD: u32 = 1 << 31;
/// Bit of a slot's flight word: a lower delta maps this guest cluster too.
pub(crate) const SHADOWS: u32 = 1 << 30;
/// Bit of a slot's flight word: the slot has a write-back record, so the disk may say something else.
pub(crate) const OWES: u32 = 1 << 29;
/// The count in a slot's flight word.
pub(crate) const COUNT: u32 = OWES - 1;

/// Why a cluster is held.
#[derive(Debug)]
pub(crate) enum Hold {
    /// A new mapping is being made; the maker travels in a ticket or waits for an extension.
    Making,
    /// The discard (or unmapping write of zeros) that waits for I/O on the cluster to end.
    Draining(Segment),
}

/// A held cluster.
#[derive(Debug)]
pub(crate) struct ClusterLock {
    pub(crate) slot: Slot,
    pub(crate) hold: Hold,
    pub(crate) waiters: VecDeque<Segment>,
}

/// The held clusters of one page. Few at any time.
#[derive(Debug, Default)]
pub(crate) struct ClusterLocks {
    held: Vec<ClusterLock>,
}

impl ClusterLocks {
    /// Takes the lock of a free cluster.
    pub(crate) fn hold(&mut self, slot: Slot, hold: Hold) {
        debug_assert!(self.find(slot).is_none(), "cluster held twice");
        self.held.push(ClusterLock {
            slot,
            hold,
            waiters: VecDeque::new(),
        });
    }

    /// The lock of a held cluster.
    pub(crate) fn find(&mut self, slot: Slot) -> Option<&mut ClusterLock> {
        self.held.iter_mut().find(|lock| lock.slot == slot)
    }

    /// Ends the lock; whoever waited for it is in what comes back.
    pub(crate) fn release(&mut self, slot: Slot) -> Option<ClusterLock> {
        let index = self.held.iter().position(|lock| lock.slot == slot)?;
        Some(self.held.remove(index))
    }

    /// All held clusters, in the order of taking.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ClusterLock> {
        self.held.iter()
    }
}
