//! For the explorer: what the adapter does is announced before it happens, as the locks of the core are.
//!
//! * Guest sectors: a request is submitted, a request ended. The model judges by the order of the two, so any two such
//!   events conflict where they overlap; a flush is about all sectors.
//! * Bytes of the top file: an I/O is handed out, an I/O ended. Two conflict where they overlap unless both only read; a
//!   sync and a new length are about the whole file.
//! * Durability, beside them: what becomes durable makes crash images fewer, so it conflicts with what makes them more (a
//!   change is handed out) and with what is promised about them (a request ended), wherever these are. Otherwise the
//!   moment between the two could be missed.
//! * Kept slots, one a guest cluster.

use super::disk::Reach;
use explore_sync::{Access, Object};

/// Bytes of the smallest piece of a file that is told apart.
const PIECE: u64 = 16;
/// Guest sectors stand behind all pieces of the file.
const GUEST: u32 = 1 << 31;

/// See the module.
#[derive(Debug)]
pub(crate) struct Events {
    disk: Object,
    slots: Object,
}

impl Events {
    /// Of a rig that is new in this execution.
    pub(crate) fn new() -> Events {
        Events {
            disk: Object::new(),
            slots: Object::new(),
        }
    }

    /// A request on guest sectors `from..to` is about to go in.
    pub(crate) fn submit(&self, from: u64, to: u64) {
        self.guest(from, to, None);
    }

    /// A request on guest sectors `from..to` is about to end.
    pub(crate) fn finish(&self, from: u64, to: u64) {
        self.guest(from, to, Some(Access::Read));
    }

    fn guest(&self, from: u64, to: u64, aside: Option<Access>) {
        let place = |at: u64| GUEST.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        self.disk
            .touch_with(Access::Write, place(from), place(to), aside);
    }

    /// An I/O is about to be handed out, or to end.
    pub(crate) fn file(&self, reach: Reach) {
        let place = |at: u64| u32::try_from(at).map_or(GUEST, |at| at.min(GUEST));
        let (from, to) = (place(reach.from / PIECE), place(reach.to.div_ceil(PIECE)));
        let aside = match (reach.durable, reach.begins && reach.changes) {
            (true, _) => Some(Access::Write),
            (false, true) => Some(Access::Read),
            (false, false) => None,
        };
        self.disk.touch_with(access(reach.changes), from, to, aside);
    }

    /// Kept slots `from..to` are about to be read or set.
    pub(crate) fn slots(&self, from: u64, to: u64, changes: bool) {
        self.slots.touch(access(changes), from as u32, to as u32);
    }
}

fn access(changes: bool) -> Access {
    if changes { Access::Write } else { Access::Read }
}
