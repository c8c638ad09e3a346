//! The chain as the data plane sees it: per level, how a slot's raw entry becomes a position in that level's file.
//! Immutable while the device runs.

use crate::delta::{Body, LoadedDelta};
use crate::format::Version;
use crate::units::{Clu, Level, Sector, Sectors};

/// The level number of a slot that no delta maps.
pub(crate) const NO_LEVEL: u8 = u8::MAX;

/// Where a guest cluster's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// No delta has it: reads as zeros.
    Unmapped,
    /// In the top delta, at this sector of its file.
    Top(Sector),
    /// In a lower delta, at this sector of its file.
    Lower(Level, Sector),
}

/// One file of the chain.
#[derive(Clone, Debug)]
struct LevelInfo {
    /// Sectors per unit of a raw entry: 1 (version 1) or the cluster size (version 2, raw).
    unit: u64,
    /// Sectors of the file, rounded up; what lies behind reads as zeros. The top of an image is not cut: it grows.
    file: u64,
    /// Virtual sectors of this delta, as far as the disk goes; what lies behind reads as zeros where this delta maps the
    /// cluster.
    size: u64,
}

/// All levels, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    list: Vec<LevelInfo>,
}

impl Levels {
    /// From the loaded chain; `cluster` is common to all.
    pub(crate) fn new(chain: &[LoadedDelta], cluster: Sectors) -> Levels {
        let last = chain.len().saturating_sub(1);
        let info = |(level, delta): (usize, &LoadedDelta)| {
            let file = Sectors::covering(delta.file_len).0;
            match &delta.body {
                Body::Raw => LevelInfo {
                    unit: cluster.0,
                    file,
                    size: file,
                },
                Body::Expanded(e) => LevelInfo {
                    unit: if e.layout.version == Version::V1 {
                        1
                    } else {
                        cluster.0
                    },
                    file: if level == last { u64::MAX } else { file },
                    size: e.layout.size.0,
                },
            }
        };
        let mut list: Vec<_> = chain.iter().enumerate().map(info).collect();
        let end = list.last().map_or(0, |top| top.size);
        for level in &mut list {
            level.size = level.size.min(end);
        }
        Levels { list }
    }

    /// The top level.
    pub(crate) fn top(&self) -> Level {
        Level((self.list.len() - 1) as u8)
    }

    /// Number of levels.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// The sector that a raw entry of a level points to.
    pub(crate) fn sector(&self, level: Level, entry: u32) -> Sector {
        Sector(u64::from(entry) * self.list[usize::from(level.0)].unit)
    }

    /// How many of the `len` sectors at `at` in that level's file hold data of the guest range at `guest`: the rest lies
    /// behind the end of the file or of that delta's virtual disk, and reads as zeros.
    pub(crate) fn inside(&self, level: Level, guest: Sector, at: Sector, len: Sectors) -> Sectors {
        let info = &self.list[usize::from(level.0)];
        let file = info.file.saturating_sub(at.0);
        let size = info.size.saturating_sub(guest.0);
        Sectors(len.0.min(file).min(size))
    }
}

/// The raw entry to which a delta maps a guest cluster, if it does.
pub(crate) fn mapped(delta: &LoadedDelta, clu: Clu, cluster: Sectors) -> Option<u32> {
    match &delta.body {
        Body::Raw => (u64::from(clu.0) * cluster.bytes() < delta.file_len).then_some(clu.0),
        Body::Expanded(e) => e
            .bat
            .get(clu.0 as usize)
            .copied()
            .filter(|&entry| entry != 0),
    }
}
