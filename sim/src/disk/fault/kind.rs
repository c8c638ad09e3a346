//! Kinds of I/O, kinds of fault, and the table of both.

/// The kinds of I/O that can fail, each counted for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IoKind {
    /// Read.
    Read,
    /// Data write.
    Write,
    /// Zero range.
    Zero,
    /// Copy of a cluster.
    Copy,
    /// Extension.
    SetLen,
    /// Write of a metadata page.
    Index,
    /// Punch hole.
    Punch,
    /// Sync.
    Sync,
}

/// Kinds of I/O.
pub const IO_KINDS: usize = 8;

impl IoKind {
    /// All kinds.
    pub const ALL: [IoKind; IO_KINDS] = [
        IoKind::Read,
        IoKind::Write,
        IoKind::Zero,
        IoKind::Copy,
        IoKind::SetLen,
        IoKind::Index,
        IoKind::Punch,
        IoKind::Sync,
    ];

    /// A name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IoKind::Read => "read",
            IoKind::Write => "write",
            IoKind::Zero => "zero",
            IoKind::Copy => "copy",
            IoKind::SetLen => "set-len",
            IoKind::Index => "index",
            IoKind::Punch => "punch",
            IoKind::Sync => "sync",
        }
    }

    pub(super) fn can_be_short(self) -> bool {
        matches!(
            self,
            IoKind::Read | IoKind::Write | IoKind::Zero | IoKind::Copy | IoKind::Index
        )
    }

    pub(super) fn takes_space(self) -> bool {
        matches!(
            self,
            IoKind::Write | IoKind::Zero | IoKind::Copy | IoKind::SetLen | IoKind::Index
        )
    }

    pub(super) fn may_be_unsupported(self) -> bool {
        matches!(self, IoKind::Zero | IoKind::Punch)
    }
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FaultKind {
    /// I/O error.
    Io,
    /// Only a part is done.
    Short,
    /// Nothing is done, without an error.
    Nothing,
    /// No space.
    NoSpace,
    /// Not supported.
    Unsupported,
}

/// Kinds of fault.
pub const FAULT_KINDS: usize = 5;

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; FAULT_KINDS] = [
        FaultKind::Io,
        FaultKind::Short,
        FaultKind::Nothing,
        FaultKind::NoSpace,
        FaultKind::Unsupported,
    ];

    /// A name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Io => "EIO",
            FaultKind::Short => "short",
            FaultKind::Nothing => "zero-length",
            FaultKind::NoSpace => "ENOSPC",
            FaultKind::Unsupported => "unsupported",
        }
    }

    /// True if this fault can befall that kind of I/O.
    #[must_use]
    pub fn can_hit(self, io: IoKind) -> bool {
        match self {
            FaultKind::Io => true,
            FaultKind::Short | FaultKind::Nothing => io.can_be_short(),
            FaultKind::NoSpace => io.takes_space(),
            FaultKind::Unsupported => io.may_be_unsupported(),
        }
    }
}

/// How many faults of each kind befell each kind of I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FaultCounts([[u64; FAULT_KINDS]; IO_KINDS]);

impl FaultCounts {
    /// Adds those of `other`.
    pub fn add(&mut self, other: &FaultCounts) {
        for (row, others) in self.0.iter_mut().zip(&other.0) {
            row.iter_mut()
                .zip(others)
                .for_each(|(count, other)| *count += other);
        }
    }

    /// How many of one sort.
    #[must_use]
    pub fn get(&self, io: IoKind, fault: FaultKind) -> u64 {
        self.0[io as usize][fault as usize]
    }

    /// All sorts that can be, with their number.
    pub fn iter(&self) -> impl Iterator<Item = (IoKind, FaultKind, u64)> + '_ {
        let pairs = IoKind::ALL
            .into_iter()
            .flat_map(|io| FaultKind::ALL.into_iter().map(move |fault| (io, fault)));
        pairs
            .filter(|(io, fault)| fault.can_hit(*io))
            .map(|(io, fault)| (io, fault, self.get(io, fault)))
    }

    pub(super) fn count(&mut self, io: IoKind, fault: FaultKind) {
        self.0[io as usize][fault as usize] += 1;
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }
}
