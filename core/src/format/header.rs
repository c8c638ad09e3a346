//! The 64-byte header. `parse` and `to_bytes` are inverse: what is not understood is kept as it was.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Field, Problem, Rule, Value};
use crate::format::geometry::{Layout, MAX_CLUSTER, MAX_ENTRIES, Version};
use crate::units::{Sector, Sectors};

const MAGIC_V1: [u8; 16] = *b"WithoutFreeSpace";
const MAGIC_V2: [u8; 16] = *b"WithouFreSpacExt";
/// `m_Type` of every image: "compressed".
const TYPE: u32 = 2;
const IN_USE: u32 = 0x746F_6E59;
const CLOSED_V21: u32 = 0x312E_3276;
/// `m_Flags` bit 1: a conversion between versions is running.
const FLAG_CONVERT: u32 = 2;

/// The header as it stands on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 16],
    kind: U32,
    heads: U32,
    cylinders: U32,
    cluster: U32,
    entries: U32,
    size_low: U32,
    size_high: U32,
    in_use: U32,
    data_off: U32,
    flags: U32,
    ext_off: U64,
}

/// `m_DiskInUse`: how the image was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUse {
    /// 0: closed; nobody vouches for the format extension.
    Closed0,
    /// "v2.1": closed; the format extension is valid.
    ClosedV21,
    /// Opened for writing and not closed since.
    InUse,
    /// Other software's mark. Means closed.
    Other(u32),
}

impl InUse {
    /// From the header's field.
    #[must_use]
    pub fn from_raw(raw: u32) -> InUse {
        match raw {
            0 => InUse::Closed0,
            CLOSED_V21 => InUse::ClosedV21,
            IN_USE => InUse::InUse,
            other => InUse::Other(other),
        }
    }

    /// The header's field.
    #[must_use]
    pub fn raw(self) -> u32 {
        match self {
            InUse::Closed0 => 0,
            InUse::ClosedV21 => CLOSED_V21,
            InUse::InUse => IN_USE,
            InUse::Other(other) => other,
        }
    }
}

/// The header, understood. Fields that only other software reads are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which form of the format (`m_Sig`).
    pub version: Version,
    /// `m_Heads`; informational.
    pub heads: u32,
    /// `m_Cylinders`; informational.
    pub cylinders: u32,
    /// `m_Sectors`: cluster size, 1 to [`MAX_CLUSTER`].
    pub cluster: Sectors,
    /// `m_Size`: BAT entries, at most [`MAX_ENTRIES`].
    pub entries: u32,
    /// `m_SizeInSectors`: virtual size, as the image claims it.
    pub size: Sectors,
    /// Version 1 does not use the high half of `m_SizeInSectors`; whatever stands there. 0 in version 2.
    pub size_high_unused: u32,
    /// `m_DiskInUse`.
    pub in_use: InUse,
    /// `m_FirstBlockOffset` in sectors, as the image claims it; 0 in version 1 = right behind the BAT.
    pub data_off: u32,
    /// `m_Flags`. Bit 0 ("empty") is never to be trusted: other software leaves it set when it writes.
    pub flags: u32,
    /// `m_FormatExtensionOffset` in sectors; 0 = no extension.
    pub ext_off: Sector,
}

impl Header {
    /// Reads a header. Checks what can be checked without the file: magic, type, and that cluster size and BAT length
    /// are within what any reader takes.
    pub fn parse(bytes: &[u8; 64]) -> Result<Header, Problem> {
        let raw: RawHeader = zerocopy::transmute!(*bytes);
        let version = version_of(raw.magic).ok_or(Problem {
            field: Field::Magic,
            value: Value::Bytes(raw.magic),
            rule: Rule::Magic,
        })?;
        if raw.kind.get() != TYPE {
            return Err(Problem::new(Field::Type, raw.kind.get(), Rule::Type));
        }
        let (low, high) = (raw.size_low.get(), raw.size_high.get());
        let header = Header {
            version,
            heads: raw.heads.get(),
            cylinders: raw.cylinders.get(),
            cluster: Sectors(u64::from(raw.cluster.get())),
            entries: raw.entries.get(),
            size: match version {
                Version::V1 => Sectors(u64::from(low)),
                Version::V2 => Sectors(u64::from(high) << 32 | u64::from(low)),
            },
            size_high_unused: if version == Version::V1 { high } else { 0 },
            in_use: InUse::from_raw(raw.in_use.get()),
            data_off: raw.data_off.get(),
            flags: raw.flags.get(),
            ext_off: Sector(raw.ext_off.get()),
        };
        header.check_limits()?;
        Ok(header)
    }

    /// The header as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        let (magic, size_high) = match self.version {
            Version::V1 => (MAGIC_V1, self.size_high_unused),
            Version::V2 => (MAGIC_V2, (self.size.0 >> 32) as u32),
        };
        let raw = RawHeader {
            magic,
            kind: TYPE.into(),
            heads: self.heads.into(),
            cylinders: self.cylinders.into(),
            cluster: (self.cluster.0 as u32).into(),
            entries: self.entries.into(),
            size_low: (self.size.0 as u32).into(),
            size_high: size_high.into(),
            in_use: self.in_use.raw().into(),
            data_off: self.data_off.into(),
            flags: self.flags.into(),
            ext_off: self.ext_off.0.into(),
        };
        zerocopy::transmute!(raw)
    }

    /// The header of a fresh image: what `qemu-img create` writes. Data starts at a whole cluster in both versions.
    pub fn create(version: Version, cluster: Sectors, size: Sectors) -> Result<Header, Problem> {
        const HEADS: u32 = 16;
        const TRACK: u64 = 32;
        if version == Version::V1 && size.0 > u64::from(u32::MAX) {
            return Err(Problem::new(Field::VirtualSize, size.0, Rule::SizeLimit));
        }
        let clusters = if cluster.0 == 0 {
            0
        } else {
            size.0.div_ceil(cluster.0)
        };
        let entries = u32::try_from(clusters)
            .map_err(|_| Problem::new(Field::Entries, clusters, Rule::EntriesLimit))?;
        let mut header = Header {
            version,
            heads: HEADS,
            cylinders: (size.0 / u64::from(HEADS) / TRACK) as u32,
            cluster,
            entries,
            size,
            size_high_unused: 0,
            in_use: InUse::Closed0,
            data_off: 0,
            flags: 0,
            ext_off: Sector(0),
        };
        header.check_limits()?;
        // Within the limits this is less than 2^32: at most 2^22 sectors of BAT, rounded up to less than 2^22 more.
        header.data_off = Layout::lowest_data_start(Version::V2, cluster, entries).0 as u32;
        Layout::check_reach(
            version,
            cluster,
            entries,
            Sector(u64::from(header.data_off)),
        )?;
        Ok(header)
    }

    /// True if the image was not closed after it was last opened for writing.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.in_use == InUse::InUse
    }

    /// True if a conversion between versions has not ended: entries of both versions may be mixed. The mark does not
    /// matter: software that knows nothing of conversions (QEMU) opens such an image, closes it, and leaves the flag.
    #[must_use]
    pub fn is_converting(&self) -> bool {
        self.flags & FLAG_CONVERT != 0
    }

    fn check_limits(&self) -> Result<(), Problem> {
        if self.cluster.0 == 0 {
            return Err(Problem::new(Field::ClusterSize, 0u32, Rule::ClusterNotZero));
        }
        if self.cluster > MAX_CLUSTER {
            return Err(Problem::new(
                Field::ClusterSize,
                self.cluster.0,
                Rule::ClusterLimit,
            ));
        }
        if self.entries > MAX_ENTRIES {
            return Err(Problem::new(
                Field::Entries,
                self.entries,
                Rule::EntriesLimit,
            ));
        }
        Ok(())
    }
}

/// The version that a magic announces.
#[must_use]
pub fn version_of(magic: [u8; 16]) -> Option<Version> {
    match magic {
        MAGIC_V1 => Some(Version::V1),
        MAGIC_V2 => Some(Version::V2),
        _ => None,
    }
}
