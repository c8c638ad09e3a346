//! The units of the mapping core, and the only conversions between them. All arithmetic is 64-bit.
//!
//! A *sector* is 512 bytes. A *guest cluster* (`Clu`) is an index into the virtual disk; a *host cluster* (`DstClu`)
//! is an index into one image file, counted on that file's cluster grid. They are different types on purpose: freeing
//! a guest index instead of a host one destroyed disks (catalogue D1).

/// Bytes in a sector.
pub const SECTOR_BYTES: u64 = 512;

/// A position in sectors of 512 bytes (guest disk or file, as the context says).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sector(pub u64);

/// A number of sectors of 512 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sectors(pub u64);

/// A guest cluster: index of a cluster of the virtual disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clu(pub u32);

/// A host cluster: index of a cluster on the grid of one image file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DstClu(pub u32);

/// A metadata page: one unit of the BAT that is locked and written on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// A BAT slot inside its metadata page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// A delta of the chain: 0 is the oldest (the base), the highest is the top, the only one written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

/// A queue of the frontend; an action names the queue that has to carry it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u16);

/// A request of a queue: at most one request is in flight for a (queue, tag).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u16);

/// Milliseconds of a clock that the caller owns. The core has no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Sector {
    /// The position `len` sectors further on. Saturates, so that a hostile sum is out of range and never wraps.
    #[must_use]
    pub fn after(self, len: Sectors) -> Sector {
        Sector(self.0.saturating_add(len.0))
    }

    /// Byte offset. Positions come from validated geometry, so the product fits.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0.saturating_mul(SECTOR_BYTES)
    }

    /// Sectors from `earlier` to here (0 if `earlier` is later).
    #[must_use]
    pub fn since(self, earlier: Sector) -> Sectors {
        Sectors(self.0.saturating_sub(earlier.0))
    }
}

impl Sectors {
    /// Nothing.
    pub const ZERO: Sectors = Sectors(0);

    /// Number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0.saturating_mul(SECTOR_BYTES)
    }

    /// Whole sectors in `bytes` (rounded down).
    #[must_use]
    pub fn whole_in(bytes: u64) -> Sectors {
        Sectors(bytes / SECTOR_BYTES)
    }

    /// Sectors that hold `bytes` (rounded up).
    #[must_use]
    pub fn covering(bytes: u64) -> Sectors {
        Sectors(bytes.div_ceil(SECTOR_BYTES))
    }

    /// Difference, 0 if `other` is larger.
    #[must_use]
    pub fn minus(self, other: Sectors) -> Sectors {
        Sectors(self.0.saturating_sub(other.0))
    }
}
