//! Who is measured, and what is measured of each.
//!
//! ```text
//!   disk:  | mapped, 64 MiB | sparse, 192 MiB: 4 KiB of each MiB | in order, 32 MiB | never touched, to 512 MiB |
//! ```
//! Each round begins with a new image, so that every first touch is one. Each load uses a part of the disk of its own, and
//! half of it for each depth.

/// Bytes of every disk.
pub(crate) const DISK: u64 = 512 << 20;
/// Bytes of the part that is written first and measured mapped.
pub(crate) const MAPPED: u64 = 64 << 20;
/// Bytes at the end of the disk that nobody writes.
pub(crate) const NEVER: u64 = 192 << 20;
/// A MiB.
pub(crate) const MIB: u64 = 1 << 20;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// The file itself, past the page cache.
    File,
    /// The kernel's loop device on the file, past the page cache.
    KernelLoop,
    /// rublk, a device without a file.
    RublkNull,
    /// rublk on the file.
    RublkLoop,
    /// The same without a copy.
    RublkLoopZeroCopy,
    /// rublk on a qcow2 image.
    RublkQcow2,
    /// Ours on an image.
    Ploop,
    /// The same without a copy.
    PloopZeroCopy,
}

impl Row {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Row; 8] = [
        Row::File,
        Row::KernelLoop,
        Row::RublkNull,
        Row::RublkLoop,
        Row::RublkLoopZeroCopy,
        Row::RublkQcow2,
        Row::Ploop,
        Row::PloopZeroCopy,
    ];

    /// The row that the others are compared with.
    pub(crate) const BASE: Row = Row::RublkLoop;

    /// Its name, without blanks and commas.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Row::File => "file-direct",
            Row::KernelLoop => "kernel-loop",
            Row::RublkNull => "rublk-null",
            Row::RublkLoop => "rublk-loop",
            Row::RublkLoopZeroCopy => "rublk-loop-zc",
            Row::RublkQcow2 => "rublk-qcow2",
            Row::Ploop => "ploop-ublk",
            Row::PloopZeroCopy => "ploop-ublk-zc",
        }
    }

    /// True if the device of the row is rublk's.
    pub(crate) fn is_rublk(self) -> bool {
        self.name().starts_with("rublk")
    }

    /// True if what was written can be read again.
    pub(crate) fn keeps(self) -> bool {
        self != Row::RublkNull
    }
}

/// Where the I/Os of a load are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Anywhere in the mapped part.
    Random,
    /// The mapped part from its start, when nothing has been written yet.
    Fill,
    /// At the start of each MiB of a part of its own.
    Sparse,
    /// From the start of a part of its own.
    InOrder,
}

/// A column of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Its name, without blanks and commas.
    pub(crate) name: &'static str,
    /// Write; or read.
    pub(crate) write: bool,
    /// Bytes of an I/O.
    pub(crate) size: u64,
    /// Where they are.
    pub(crate) place: Where,
    /// I/Os of each depth.
    pub(crate) count: u64,
}

impl Load {
    /// True if every I/O is the first one there. A flush ends such a load and is counted: what is written later because of
    /// it, is written then.
    pub(crate) fn is_first_touch(&self) -> bool {
        self.place != Where::Random
    }

    /// Where on the disk the I/Os of the part number `half` (0 or 1) are, and where in the content of the mapped part is what
    /// they write. `random`: numbers that a seed decides.
    pub(crate) fn places(&self, half: u64, mut random: impl FnMut(u64) -> u64) -> Vec<(u64, u64)> {
        let first = half * self.count;
        let one = |i: u64| match self.place {
            Where::Random => {
                let at = random(MAPPED / self.size) * self.size;
                (at, at)
            }
            Where::Fill => (i * self.size, i * self.size),
            Where::Sparse => (MAPPED + i * MIB, i * self.size),
            Where::InOrder => (4 * MAPPED + i * self.size, i * self.size),
        };
        (first..first + self.count).map(one).collect()
    }
}

const fn load(name: &'static str, write: bool, size: u64, place: Where, count: u64) -> Load {
    Load {
        name,
        write,
        size,
        place,
        count,
    }
}

/// All columns, in the order in which they are measured.
pub(crate) const LOADS: [Load; 7] = [
    load("first-1M", true, MIB, Where::Fill, 32),
    load("first-4k", true, 4096, Where::Sparse, 96),
    load("first-64k", true, 65536, Where::InOrder, 256),
    load("read-4k", false, 4096, Where::Random, 600),
    load("write-4k", true, 4096, Where::Random, 600),
    load("read-1M", false, MIB, Where::Random, 40),
    load("write-1M", true, MIB, Where::Random, 40),
];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quantity {
    /// Instructions of the whole guest for each I/O.
    Instructions,
    /// I/Os a second.
    Iops,
}

impl Quantity {
    /// Both.
    pub(crate) const ALL: [Quantity; 2] = [Quantity::Instructions, Quantity::Iops];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::Instructions => "instructions",
            Quantity::Iops => "iops",
        }
    }

    /// I/Os under way at once.
    pub(crate) fn depths(self) -> &'static [u64] {
        match self {
            Quantity::Instructions => &[1, 16],
            Quantity::Iops => &[16],
        }
    }
}

/// The name of a figure, and of what is not one.
pub(crate) fn figure_name(row: Row, load: &str, depth: u64) -> String {
    format!("{}/{load}/{depth}", row.name())
}
