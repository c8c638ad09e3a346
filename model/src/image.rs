//! A second, naive reader of the image format, written from the description of the format and not from the core.
//!
//! * Bytes beyond the end of a file read as zeros: a cluster that the end of the file cuts shows what is left of it.
//! * [`Image::open`] demands no more than is needed to read; what is wrong beyond that is for `fsck` to say.
//! * All places are 64-bit sector numbers: a 32-bit entry times a 32-bit cluster size fits.
//! * v1 (`WithoutFreeSpace`): an entry is a sector number, data may start right behind the BAT. v2 (`WithouFreSpacExt`): an
//!   entry is a cluster number, counted from the beginning of the file.

use std::fmt;

/// Bytes of a file.
pub trait ImageBytes {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Fills `buf` with the bytes at `at`; zeros beyond the end.
    fn read(&self, at: u64, buf: &mut [u8]);
    /// Is the file empty?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ImageBytes for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&self, at: u64, buf: &mut [u8]) {
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        buf[n..].fill(0);
    }
}

impl ImageBytes for Vec<u8> {
    fn len(&self) -> u64 {
        ImageBytes::len(self.as_slice())
    }

    fn read(&self, at: u64, buf: &mut [u8]) {
        ImageBytes::read(self.as_slice(), at, buf);
    }
}

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
/// Bytes of the header; the BAT follows.
pub const HEADER: u64 = 64;

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// `WithoutFreeSpace`.
    V1,
    /// `WithouFreSpacExt`.
    V2,
}

/// The in-use mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InUse {
    /// Open for writing, or not closed cleanly.
    Dirty,
    /// Closed by software that knows nothing of the extension (0).
    Closed,
    /// Closed; the extension is valid ("v2.1").
    Closed21,
    /// Something else: closed, too.
    Other(u32),
}

/// The header, as far as it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Format.
    pub version: Version,
    /// Cluster size in sectors; not 0.
    pub cluster_sectors: u64,
    /// Number of BAT entries.
    pub bat_entries: u64,
    /// Virtual size in sectors.
    pub size_sectors: u64,
    /// In-use mark.
    pub in_use: InUse,
    /// First data sector as it stands in the header; 0 in v1 means right behind the BAT.
    pub data_off: u64,
    /// m_Flags.
    pub flags: u32,
    /// Sector of the format extension, or 0.
    pub ext_off: u64,
}

/// Why a header cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadHeader {
    /// Shorter than a header.
    TooShort,
    /// Neither magic.
    Magic,
    /// m_Type is not 2.
    Type(u32),
    /// Cluster size 0.
    ClusterSize,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadHeader::TooShort => write!(f, "shorter than a header"),
            BadHeader::Magic => write!(f, "unknown magic"),
            BadHeader::Type(found) => write!(f, "m_Type is {found}, must be 2"),
            BadHeader::ClusterSize => write!(f, "m_Sectors is 0"),
        }
    }
}

impl std::error::Error for BadHeader {}

impl Header {
    /// Reads the header.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn read<B: ImageBytes + ?Sized>(bytes: &B) -> Result<Header, BadHeader> {
        if bytes.len() < HEADER {
            return Err(BadHeader::TooShort);
        }
        let mut raw = [0; HEADER as usize];
        bytes.read(0, &mut raw);
        let version = match &raw[..16] {
            b"WithoutFreeSpace" => Version::V1,
            b"WithouFreSpacExt" => Version::V2,
            _ => return Err(BadHeader::Magic),
        };
        if le32(&raw, 16) != 2 {
            return Err(BadHeader::Type(le32(&raw, 16)));
        }
        let cluster_sectors = u64::from(le32(&raw, 28));
        if cluster_sectors == 0 {
            return Err(BadHeader::ClusterSize);
        }
        let low = u64::from(le32(&raw, 36));
        let high = u64::from(le32(&raw, 40));
        Ok(Header {
            version,
            cluster_sectors,
            bat_entries: u64::from(le32(&raw, 32)),
            size_sectors: if version == Version::V2 {
                low | high << 32
            } else {
                low
            },
            in_use: match le32(&raw, 44) {
                0x746F_6E59 => InUse::Dirty,
                0 => InUse::Closed,
                0x312E_3276 => InUse::Closed21,
                other => InUse::Other(other),
            },
            data_off: u64::from(le32(&raw, 48)),
            flags: le32(&raw, 52),
            ext_off: u64::from(le32(&raw, 56)) | u64::from(le32(&raw, 60)) << 32,
        })
    }

    /// End of the BAT in bytes.
    #[must_use]
    pub fn bat_end(&self) -> u64 {
        HEADER + 4 * self.bat_entries
    }

    /// First data sector.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        if self.data_off == 0 {
            self.bat_end().div_ceil(SECTOR)
        } else {
            self.data_off
        }
    }

    /// The file sector where the cluster of BAT entry `entry` starts; `None` for 0.
    #[must_use]
    pub fn place(&self, entry: u32) -> Option<u64> {
        let unit = if self.version == Version::V1 {
            1
        } else {
            self.cluster_sectors
        };
        (entry != 0).then(|| u64::from(entry) * unit)
    }
}

/// An image that can be read.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    bytes: &'a dyn ImageBytes,
    header: Header,
}

impl<'a> Image<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn open(bytes: &'a dyn ImageBytes) -> Result<Image<'a>, BadHeader> {
        Ok(Image {
            bytes,
            header: Header::read(bytes)?,
        })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The file sector that holds `guest_sector`; `None` if this image has it not. It may lie beyond the end of a damaged
    /// file: zeros then.
    #[must_use]
    pub fn lookup(&self, guest_sector: u64) -> Option<u64> {
        self.place_of(guest_sector)
            .filter(|_| guest_sector < self.header.size_sectors)
    }

    /// The same, wherever the image's disk ends: where a sector of this cluster would be.
    fn place_of(&self, guest_sector: u64) -> Option<u64> {
        let cluster = guest_sector / self.header.cluster_sectors;
        if cluster >= self.header.bat_entries {
            return None;
        }
        let mut entry = [0; 4];
        self.bytes.read(HEADER + 4 * cluster, &mut entry);
        let start = self.header.place(u32::from_le_bytes(entry))?;
        Some(start + guest_sector % self.header.cluster_sectors)
    }
}

/// One file of a stack.
#[derive(Clone, Copy)]
pub enum Level<'a> {
    /// A raw base: guest sector i is file sector i, up to its end.
    Raw(&'a dyn ImageBytes),
    /// An image.
    Image(Image<'a>),
}

/// Where a guest sector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the file of level `level` (0 is the bottom), at file sector `sector`.
    At {
        /// Index in the stack.
        level: usize,
        /// File sector.
        sector: u64,
    },
    /// Nowhere: zeros.
    Hole,
}

/// Finds a guest sector in a stack, bottom to top: in the newest level that has its *cluster*. Levels are merged by cluster:
/// one that has the cluster hides those below in all of it, and behind the end of its own disk it has zeros. So has every
/// level below: what a level's disk does not reach is not to be seen through it.
#[must_use]
pub fn find_sector(levels: &[Level<'_>], guest_sector: u64) -> Place {
    let mut end = u64::MAX;
    for (level, file) in levels.iter().enumerate().rev() {
        let (sector, own_end) = match file {
            // The lowest: whatever it has not is nowhere.
            Level::Raw(bytes) => (Some(guest_sector), bytes.len().div_ceil(SECTOR)),
            Level::Image(image) => (image.place_of(guest_sector), image.header.size_sectors),
        };
        end = end.min(own_end);
        if let Some(sector) = sector {
            return if guest_sector < end {
                Place::At { level, sector }
            } else {
                Place::Hole
            };
        }
    }
    Place::Hole
}

/// Reads a guest sector of a stack, bottom to top.
pub fn read_sector(levels: &[Level<'_>], guest_sector: u64, buf: &mut [u8; SECTOR as usize]) {
    match find_sector(levels, guest_sector) {
        Place::Hole => buf.fill(0),
        Place::At { level, sector } => {
            let bytes = match &levels[level] {
                Level::Raw(bytes) => *bytes,
                Level::Image(image) => image.bytes,
            };
            match sector.checked_mul(SECTOR) {
                Some(at) => bytes.read(at, buf),
                None => buf.fill(0),
            }
        }
    }
}

pub(crate) fn le32(raw: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&raw[at..at + 4]);
    u32::from_le_bytes(word)
}

#[cfg(test)]
pub(crate) mod tests;
