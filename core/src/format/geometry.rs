//! Where things lie in an image file: the only place that knows what a raw BAT entry means.
//!
//! * BAT slots are kept everywhere as they stand on disk: version 1 holds a *sector*, version 2 a *cluster number*;
//!   0 = not mapped.
//! * The file's cluster grid is `phase + h * cluster` sectors, `h` being the [`DstClu`]. Version 2: `phase` is 0.
//!   Version 1 packs data right behind the BAT, so `phase` is whatever remains; **host cluster 0 may then be data**.
//! * Between `bat_end` and `data_start` lies slack that belongs to nobody.
//!
//! ```text
//! |header 64 B|BAT 4*entries|slack|  data: clusters on the grid  |tail (less than a cluster)|
//! 0           64            bat_end data_start                                       file end
//! ```

use std::ops::Range;

use crate::error::{Field, Problem, Rule};
use crate::units::{Clu, DstClu, SECTOR_BYTES, Sector, Sectors};

/// Bytes of the header; the BAT follows directly.
pub const HEADER_BYTES: u64 = 64;
/// Largest cluster that any reader takes, in sectors.
pub const MAX_CLUSTER: Sectors = Sectors(4_185_922);
/// Most BAT entries that any reader takes.
pub const MAX_ENTRIES: u32 = i32::MAX as u32 / 4;
/// An entry that software used as "none" in memory. Never valid on disk.
pub const ENTRY_RESERVED: u32 = u32::MAX;

/// The two forms of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `WithoutFreeSpace`: a BAT entry is a sector.
    V1,
    /// `WithouFreSpacExt`: a BAT entry is a cluster number.
    V2,
}

/// The geometry of one image file. Built from a checked header; `cluster` is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Which form of the format.
    pub version: Version,
    /// Cluster size; any number of sectors from 1 to [`MAX_CLUSTER`].
    pub cluster: Sectors,
    /// Number of BAT entries: guest clusters.
    pub entries: u32,
    /// Virtual size; at most `entries` clusters, and may end inside one.
    pub size: Sectors,
    /// First sector of the data area.
    pub data_start: Sector,
    /// File sector of host cluster 0; less than `cluster`.
    pub phase: Sectors,
}

impl Layout {
    /// First sector at which data may start: behind the BAT (version 1), or at the next cluster (version 2).
    #[must_use]
    pub fn lowest_data_start(version: Version, cluster: Sectors, entries: u32) -> Sector {
        let sectors = Sectors::covering(HEADER_BYTES + 4 * u64::from(entries)).0;
        match version {
            Version::V1 => Sector(sectors),
            Version::V2 => Sector(sectors.div_ceil(cluster.0) * cluster.0),
        }
    }

    /// The least length of a file: all of the format's own, and never less than one cluster, as far as which QEMU looks for
    /// the cluster of an entry that is 0, too (version 1 data may start before that).
    #[must_use]
    pub fn least_end(&self) -> Sector {
        self.data_start.max(Sector(self.cluster.0))
    }

    /// Checks that an image whose data starts there has room for all its clusters where entries can name them: in version 1
    /// they are sectors.
    pub fn check_reach(
        version: Version,
        cluster: Sectors,
        entries: u32,
        data_start: Sector,
    ) -> Result<(), Problem> {
        let clusters = u64::from(entries);
        let last = data_start.0 + clusters.saturating_sub(1) * cluster.0;
        if version == Version::V1 && last >= u64::from(ENTRY_RESERVED) {
            let size = clusters * cluster.0;
            return Err(Problem::new(Field::VirtualSize, size, Rule::SizeLimit));
        }
        Ok(())
    }

    /// Bytes in a cluster.
    #[must_use]
    pub fn cluster_bytes(&self) -> u64 {
        self.cluster.bytes()
    }

    /// The byte behind the last BAT slot.
    #[must_use]
    pub fn bat_end(&self) -> u64 {
        HEADER_BYTES + 4 * u64::from(self.entries)
    }

    /// Byte position of a BAT slot.
    #[must_use]
    pub fn slot_at(&self, clu: Clu) -> u64 {
        HEADER_BYTES + 4 * u64::from(clu.0)
    }

    /// Number of guest clusters that the virtual size needs.
    #[must_use]
    pub fn clusters_of_size(&self) -> u64 {
        self.size.0.div_ceil(self.cluster.0)
    }

    /// Number of virtual sectors in a guest cluster: less than `cluster` in the last one, 0 behind it.
    #[must_use]
    pub fn guest_len(&self, clu: Clu) -> Sectors {
        let start = u64::from(clu.0) * self.cluster.0;
        Sectors(self.size.0.saturating_sub(start).min(self.cluster.0))
    }

    /// Where a mapped (non-zero) raw entry points.
    #[must_use]
    pub fn entry_sector(&self, entry: u32) -> Sector {
        match self.version {
            Version::V1 => Sector(u64::from(entry)),
            Version::V2 => Sector(u64::from(entry) * self.cluster.0),
        }
    }

    /// The host cluster of a raw entry; `None` if it is not mapped or off the grid.
    #[must_use]
    pub fn host_of(&self, entry: u32) -> Option<DstClu> {
        match (entry, self.version) {
            (0, _) => None,
            (_, Version::V1) => self.host_at(Sector(u64::from(entry))),
            (_, Version::V2) => Some(DstClu(entry)),
        }
    }

    /// The raw entry that maps `host`; `None` if the format cannot express it.
    #[must_use]
    pub fn entry_of(&self, host: DstClu) -> Option<u32> {
        let entry = match self.version {
            Version::V1 => u32::try_from(self.host_sector(host).0).ok()?,
            Version::V2 => host.0,
        };
        (entry != 0 && entry != ENTRY_RESERVED).then_some(entry)
    }

    /// First sector of a host cluster.
    #[must_use]
    pub fn host_sector(&self, host: DstClu) -> Sector {
        Sector(self.phase.0 + u64::from(host.0) * self.cluster.0)
    }

    /// The host cluster that starts at exactly this sector.
    #[must_use]
    pub fn host_at(&self, at: Sector) -> Option<DstClu> {
        let inside = at.0.checked_sub(self.phase.0)?;
        if inside % self.cluster.0 != 0 {
            return None;
        }
        u32::try_from(inside / self.cluster.0).ok().map(DstClu)
    }

    /// The first grid cluster that lies wholly at or behind `data_start`.
    #[must_use]
    pub fn first_host(&self) -> DstClu {
        let inside = self.data_start.0.saturating_sub(self.phase.0);
        DstClu(saturate(inside.div_ceil(self.cluster.0)))
    }

    /// Number of grid clusters that lie wholly inside a file of this length: the index of the first that does not.
    #[must_use]
    pub fn hosts_in(&self, file_len_bytes: u64) -> u32 {
        let inside = (file_len_bytes / SECTOR_BYTES).saturating_sub(self.phase.0);
        saturate(inside / self.cluster.0)
    }

    /// The grid clusters that share a sector with `len` sectors at `at`.
    #[must_use]
    pub fn hosts_touching(&self, at: Sector, len: Sectors) -> Range<u32> {
        let start = at.0.saturating_sub(self.phase.0) / self.cluster.0;
        let end = at.after(len).0.saturating_sub(self.phase.0);
        saturate(start)..saturate(end.div_ceil(self.cluster.0))
    }
}

fn saturate(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
