//! The vocabulary that scenarios, the world, every engine and this model share. Nothing here knows the core.

/// The content of one sector, abstracted to a number: 0 is all zeros; anything else was written by exactly one write
/// to exactly one guest sector, so that foreign data is told from old data at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

impl Value {
    /// All zeros.
    pub const ZERO: Value = Value(0);

    /// What write number `write` (1, 2, …) puts into guest sector `sector`.
    #[must_use]
    pub fn of(write: u32, sector: u64) -> Value {
        Value(u64::from(write) << 32 | (sector & 0xffff_ffff))
    }

    /// The write that made this value (0 for zeros).
    #[must_use]
    pub fn write(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// An operation of a client. `start` and `len` in 512-byte guest sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// What.
    pub kind: Kind,
    /// First sector.
    pub start: u64,
    /// Number of sectors (0 for a flush).
    pub len: u64,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Read.
    Read,
    /// Write.
    Write {
        /// Flush before.
        preflush: bool,
        /// Durable when acknowledged.
        fua: bool,
    },
    /// Write zeros.
    WriteZeroes {
        /// Durable when acknowledged.
        fua: bool,
        /// Space may be given back.
        unmap: bool,
    },
    /// Discard: old data or zeros afterwards.
    Discard,
    /// Make durable all that was acknowledged before it was submitted.
    Flush,
    /// Copy what lower deltas show into the top. Nothing that a client can see.
    Promote {
        /// The lowest delta that is copied from; 0 is the oldest.
        lowest: u8,
    },
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Acknowledged.
    Ok,
    /// Failed with an I/O error.
    Io,
    /// Failed: no space.
    NoSpace,
}
