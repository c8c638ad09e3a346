//! For the explorer: what the adapter does is announced before it happens, as the locks of the core are.
//!
//! * Guest sectors: a request is submitted, a request ended. The model judges by the order of the two, so any two such
//!   events conflict where they overlap; a flush is about all sectors.
//! * Bytes of the top file: an I/O is handed out, an I/O ended. Two conflict where they overlap unless both only read; a
//!   sync and a new length are about the whole file.
//! * Kept slots, one a guest cluster.

use explore_sync::{Access, Object};

/// Bytes of the smallest piece of a file that is told apart.
const PIECE: u64 = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Events {
    guest: Object,
    file: Object,
    slots: Object,
}

impl Events {
    /// Guest sectors `from..to` are about to be judged or promised something.
    pub(crate) fn guest(&self, from: u64, to: u64) {
        touch(&self.guest, from, to, true);
    }

    /// Bytes `from..to` of the top are about to be read, or to change: in flight, or in the end.
    pub(crate) fn file(&self, from: u64, to: u64, changes: bool) {
        touch(&self.file, from / PIECE, to.div_ceil(PIECE), changes);
    }

    /// Kept slots `from..to` are about to be read or set.
    pub(crate) fn slots(&self, from: u64, to: u64, changes: bool) {
        touch(&self.slots, from, to, changes);
    }
}

fn touch(object: &Object, from: u64, to: u64, changes: bool) {
    let access = if changes { Access::Write } else { Access::Read };
    let place = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    object.touch(access, place(from), place(to));
}
