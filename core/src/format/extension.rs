//! The format extension's cluster, as bytes: a checksummed list of features, of which we know the dirty bitmap.
//!
//! ```text
//! |magic 8|MD5 16|feature|feature|...|24 zero bytes|zeros to the end of the cluster|
//! feature: |magic 8|flags 8|data size 4|unused 4|data, padded to 8|
//! dirty bitmap data: |size 8|id 16|granularity 4|L1 entries 4|L1 entries * 8|
//! ```
//! The MD5 covers the cluster from byte 24 to its end. Positions and sizes of the bitmap are in sectors.
//!
//! Written, it is a run of clusters behind everything else ([`Plan`]): those of the bitmaps that need one, then the
//! extension's own. So ploop wants it, which looks for no bitmap before the last data or behind the extension.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::DirtyBitmap;
use crate::units::Sector;

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

/// Most bitmaps of an image that are kept, and most bits of all of them: what a file may cost in memory.
pub const MAX_BITMAPS: usize = 64;

/// Bytes written at a time.
const PIECE: u64 = 256 << 10;

/// Bitmaps as they are going to stand in a file.
#[derive(Debug)]
pub struct Plan<'a> {
    bitmaps: &'a [DirtyBitmap],
    cluster_bytes: u64,
    /// A table a bitmap.
    tables: Vec<Vec<Entry>>,
    mixed: u32,
}

/// An entry of an L1 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Clean,
    Dirty,
    /// In this cluster of the run.
    Mixed(u32),
}

impl<'a> Plan<'a> {
    /// Whether the run may begin there: a table's entry of 0 or 1 is no place, but "clean" or "dirty".
    #[must_use]
    pub fn may_begin_at(at: Sector) -> bool {
        at.0 > 1
    }

    /// `None`: their tables do not fit into a cluster, or there are none or too many of them.
    #[must_use]
    pub fn new(bitmaps: &'a [DirtyBitmap], cluster_bytes: u64) -> Option<Plan<'a>> {
        let tables = bitmaps
            .iter()
            .map(|bitmap| l1_entries(bitmap.size().0, bitmap.granularity(), cluster_bytes));
        let features = tables.map(|entries| {
            let heads = size_of::<FeatureHead>() + size_of::<BitmapHead>();
            heads as u64 + entries * size_of::<u64>() as u64
        });
        let ends = size_of::<ExtensionHead>() + size_of::<FeatureHead>();
        if bitmaps.is_empty()
            || bitmaps.len() > MAX_BITMAPS
            || features.sum::<u64>() + ends as u64 > cluster_bytes
        {
            return None;
        }
        let mut plan = Plan {
            bitmaps,
            cluster_bytes,
            tables: Vec::new(),
            mixed: 0,
        };
        for bitmap in bitmaps {
            let table = plan.table(bitmap);
            plan.tables.push(table);
        }
        Some(plan)
    }

    fn table(&mut self, bitmap: &DirtyBitmap) -> Vec<Entry> {
        let (bits, step) = (bitmap.bits(), self.cluster_bytes * 8);
        let mut table = Vec::new();
        let mut first = 0;
        while first < bits {
            let end = (first + step).min(bits);
            table.push(match bitmap.alike(first, end) {
                Some(false) => Entry::Clean,
                Some(true) => Entry::Dirty,
                None => {
                    self.mixed += 1;
                    Entry::Mixed(self.mixed - 1)
                }
            });
            first = end;
        }
        table
    }

    /// How many clusters it takes, the extension's own included.
    #[must_use]
    pub fn clusters(&self) -> u32 {
        self.mixed + 1
    }

    /// Hands out everything that is to be written, at sectors of the file, whole clusters in ascending pieces. `first`: where
    /// the run begins. Returns where the extension's own cluster is, the last one.
    ///
    /// # Errors
    /// The first one of `put`.
    pub fn write<E>(
        &self,
        first: Sector,
        mut put: impl FnMut(Sector, &[u8]) -> Result<(), E>,
    ) -> Result<Sector, E> {
        let place = |cluster: u32| Sector(first.0 + u64::from(cluster) * self.cluster_bytes / 512);
        for (bitmap, table) in self.bitmaps.iter().zip(&self.tables) {
            for (index, entry) in (0u64..).zip(table) {
                if let Entry::Mixed(cluster) = *entry {
                    let from = index * self.cluster_bytes;
                    self.pieces(place(cluster), &mut put, |at, piece| {
                        bitmap.bytes(from + at, piece);
                    })?;
                }
            }
        }
        let head = self.head(&place);
        let at = place(self.mixed);
        self.pieces(at, &mut put, |at, piece| {
            let rest = head.get(at as usize..).unwrap_or(&[]);
            let there = rest.len().min(piece.len());
            piece[..there].copy_from_slice(&rest[..there]);
            piece[there..].fill(0);
        })?;
        Ok(at)
    }

    fn pieces<E>(
        &self,
        start: Sector,
        put: &mut impl FnMut(Sector, &[u8]) -> Result<(), E>,
        fill: impl Fn(u64, &mut [u8]),
    ) -> Result<(), E> {
        let mut buf = vec![0; self.cluster_bytes.min(PIECE) as usize];
        let mut at = 0;
        while at < self.cluster_bytes {
            let len = (self.cluster_bytes - at).min(PIECE);
            let piece = &mut buf[..len as usize];
            fill(at, piece);
            put(Sector(start.0 + at / 512), piece)?;
            at += len;
        }
        Ok(())
    }

    /// The beginning of the extension's cluster, with its checksum; the rest is zeros.
    fn head(&self, place: &impl Fn(u32) -> Sector) -> Vec<u8> {
        let mut list = Vec::new();
        for (bitmap, table) in self.bitmaps.iter().zip(&self.tables) {
            let size = size_of::<BitmapHead>() + table.len() * size_of::<u64>();
            let feature = FeatureHead {
                magic: DIRTY_BITMAP.into(),
                flags: 0.into(),
                data_size: (size as u32).into(),
                unused: 0.into(),
            };
            let head = BitmapHead {
                size: bitmap.size().0.into(),
                id: bitmap.id(),
                granularity: bitmap.granularity().into(),
                l1_size: (table.len() as u32).into(),
            };
            list.extend_from_slice(feature.as_bytes());
            list.extend_from_slice(head.as_bytes());
            for entry in table {
                let value = match *entry {
                    Entry::Clean => 0,
                    Entry::Dirty => 1,
                    Entry::Mixed(cluster) => place(cluster).0,
                };
                list.extend_from_slice(&value.to_le_bytes());
            }
        }
        let mut sum = md5::Context::new();
        sum.consume(&list);
        let mut zeros = self.cluster_bytes - (size_of::<ExtensionHead>() + list.len()) as u64;
        while zeros > 0 {
            let len = zeros.min(4096);
            sum.consume(&[0; 4096][..len as usize]);
            zeros -= len;
        }
        let head = ExtensionHead {
            magic: MAGIC.into(),
            md5: sum.finalize().0,
        };
        [head.as_bytes(), &list].concat()
    }
}
