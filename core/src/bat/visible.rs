//! What a killed server must not lose: the visible slots.
//!
//! With delayed write-back a write is acknowledged while the slot that leads to it stands in memory only. A power cut may
//! take both, and the writers with them. A *killed server* takes the slot alone: the writers live on, and what they
//! wrote and never flushed is still theirs. So a device that is to be recovered keeps its visible slots where they outlive
//! the process (but need not outlive the kernel: shared memory is enough).
//!
//! * V1 `set` is called in the critical section of the page that changes the slot: before anybody can see the change, and
//!   so before anything about it is acknowledged, by whatever queue.
//! * V2 A recovered slot that differs from the file is visible at once, and is disk-safe when a slot changed at that moment
//!   would be: a mapping after a sync, an un-map immediately, with the host that the file names condemned. An image that is
//!   not marked in use owes nothing: slots that differ from it are older than it, and refused.
//! * V3 A poisoned file stays poisoned: pages that a failed sync may have dropped do not come back with a new process. Known
//!   hole: a sync that fails in the kernel while the server is killed, so that nobody reads its error.

use std::fmt;

use crate::units::Clu;

/// The visible slots of a device, kept outside of it. Calls must neither block nor call the device.
pub trait VisibleMap: fmt::Debug + Send + Sync {
    /// From now on the top maps `clu` with this raw BAT entry; 0: not at all.
    fn set(&self, clu: Clu, entry: u32);
    /// The raw entry that was set last.
    fn get(&self, clu: Clu) -> u32;
    /// A sync of the file has failed.
    fn set_poisoned(&self);
    /// True if a sync has failed.
    fn is_poisoned(&self) -> bool;
}

/// Whether and where a device keeps its visible slots.
#[derive(Debug, Default)]
pub enum Kept {
    /// Nowhere: the device ends with its process.
    #[default]
    Nowhere,
    /// Here. What stands there is of no interest: all of it is set.
    From(Box<dyn VisibleMap>),
    /// Here, and a device that was killed has left its slots there. Everything that it had in flight has ended.
    Recovered(Box<dyn VisibleMap>),
}

/// Keeps nothing.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl VisibleMap for Nowhere {
    fn set(&self, _clu: Clu, _entry: u32) {}
    fn get(&self, _clu: Clu) -> u32 {
        0
    }
    fn set_poisoned(&self) {}
    fn is_poisoned(&self) -> bool {
        false
    }
}
