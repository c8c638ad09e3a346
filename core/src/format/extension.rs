//! The format extension's cluster, as bytes: a checksummed list of features, of which we know the dirty bitmap.
//!
//! ```text
//! |magic 8|MD5 16|feature|feature|...|24 zero bytes|zeros to the end of the cluster|
//! feature: |magic 8|flags 8|data size 4|unused 4|data, padded to 8|
//! dirty bitmap data: |size 8|id 16|granularity 4|L1 entries 4|L1 entries * 8|
//! ```
//! The MD5 covers the cluster from byte 24 to its end. Positions and sizes of the bitmap are in sectors.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First eight bytes of an extension's cluster.
pub const MAGIC: u64 = 0xAB23_4CEF_23DC_EA87;
/// Magic of the dirty bitmap feature.
pub const DIRTY_BITMAP: u64 = 0x2038_5FAE_252C_B34A;
/// Feature flag: an image with this feature must not be changed by software that does not know it.
pub const NECESSARY: u64 = 1;

/// Start of the cluster.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtensionHead {
    /// [`MAGIC`].
    pub magic: U64,
    /// Checksum of everything behind this struct.
    pub md5: [u8; 16],
}

/// Start of a feature.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FeatureHead {
    /// Which feature; 0 ends the list.
    pub magic: U64,
    /// See [`NECESSARY`].
    pub flags: U64,
    /// Bytes of data that follow.
    pub data_size: U32,
    /// Nothing.
    pub unused: U32,
}

/// Start of a dirty bitmap's data; its L1 table follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BitmapHead {
    /// Sectors that the bitmap covers.
    pub size: U64,
    /// UUID.
    pub id: [u8; 16],
    /// Sectors that a bit covers; a power of two.
    pub granularity: U32,
    /// Entries of the L1 table.
    pub l1_size: U32,
}

/// Number of L1 entries that a bitmap of `size` sectors needs: clusters of one bit per `granularity` sectors.
/// `granularity` must not be 0.
#[must_use]
pub fn l1_entries(size: u64, granularity: u32, cluster_bytes: u64) -> u64 {
    size.div_ceil(u64::from(granularity))
        .div_ceil(cluster_bytes * 8)
}
