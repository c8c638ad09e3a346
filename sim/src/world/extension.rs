//! A format extension in the top image, as real bytes: one cluster with a dirty bitmap's table, and the bitmap's own
//! cluster. The core has to keep both as they are, wherever they stand, until a clean close writes them anew.

use ploop_core::format::extension::{BitmapHead, DIRTY_BITMAP, ExtensionHead, FeatureHead, MAGIC};
use ploop_core::units::{DstClu, Sector};
use zerocopy::IntoBytes;

use crate::check::extension::Kept;
use crate::disk::SimFile;
use crate::world::chain::{Owner, Plan};
use crate::world::shape::Shape;

/// Sectors that a bit of the bitmap covers.
const GRANULARITY: u32 = 1;

/// What the bitmap's table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bitmap {
    /// Nothing is dirty: no cluster.
    Clean,
    /// All is dirty: no cluster.
    Dirty,
    /// A cluster of bits.
    Mixed,
}

/// The extension of an image that is being built.
#[derive(Clone, Debug, Default)]
pub(super) struct Extension {
    /// Where its cluster stands, and its bytes.
    pub(super) cluster: Option<(Sector, Vec<u8>)>,
    /// Where the bitmap's own cluster stands, and its bits: every third sector is dirty.
    pub(super) bits: Option<(Sector, Vec<u8>)>,
    cluster_sectors: u64,
}

impl Extension {
    /// The extension that a plan asks for, if any of its host clusters is one.
    pub(super) fn of(shape: &Shape, plan: &Plan) -> Extension {
        let layout = shape.layout();
        let place = |owner| {
            let index = plan.hosts.iter().position(|&host| host == owner)?;
            Some(layout.host_sector(DstClu(layout.first_host().0 + index as u32)))
        };
        let Some(at) = place(Owner::Extension) else {
            return Extension::default();
        };
        let bitmap = place(Owner::Bitmap);
        let entry = match (plan.bitmap, bitmap) {
            (Bitmap::Clean, _) => 0,
            (Bitmap::Dirty, _) | (Bitmap::Mixed, None) => 1,
            (Bitmap::Mixed, Some(bitmap)) => bitmap.0,
        };
        Extension {
            cluster: Some((at, cluster(shape, entry))),
            bits: bitmap.map(|at| (at, bits(shape))),
            cluster_sectors: shape.cluster,
        }
    }

    /// The header's field.
    pub(super) fn offset(&self) -> Sector {
        self.cluster.as_ref().map_or(Sector(0), |&(at, _)| at)
    }

    /// Notes what has to stay.
    pub(super) fn keep(&self, top: &SimFile, kept: &mut Kept) {
        kept.ext_off = self.offset().0;
        kept.sectors.clear();
        (kept.astray, kept.loose) = (false, false);
        for start in self.cluster.iter().chain(&self.bits).map(|&(at, _)| at) {
            let sectors = start.0..start.0 + self.cluster_sectors;
            kept.sectors
                .extend(sectors.map(|sector| (sector, top.read_value(sector))));
        }
    }
}

/// A cluster of bits, one a sector.
fn bits(shape: &Shape) -> Vec<u8> {
    let mut bytes = vec![0; shape.layout().cluster_bytes() as usize];
    let there = shape.size.min(8 * bytes.len() as u64);
    for sector in (0..there).step_by(3) {
        bytes[(sector / 8) as usize] |= 1 << (sector % 8);
    }
    bytes
}

/// The extension's cluster: one dirty bitmap whose table is as long as this disk needs, each entry `entry` (of more than
/// one only the first; the others are clean).
fn cluster(shape: &Shape, entry: u64) -> Vec<u8> {
    let layout = shape.layout();
    let bytes = layout.cluster_bytes();
    let entries = ploop_core::format::extension::l1_entries(shape.size, GRANULARITY, bytes) as u32;
    let head = BitmapHead {
        size: shape.size.into(),
        id: [0xA5; 16],
        granularity: GRANULARITY.into(),
        l1_size: entries.into(),
    };
    let mut list = Vec::with_capacity(bytes as usize);
    let feature = FeatureHead {
        magic: DIRTY_BITMAP.into(),
        flags: 0.into(),
        data_size: (size_of::<BitmapHead>() as u32 + 8 * entries).into(),
        unused: 0.into(),
    };
    list.extend_from_slice(feature.as_bytes());
    list.extend_from_slice(head.as_bytes());
    list.extend_from_slice(&entry.to_le_bytes());
    list.resize(bytes as usize - size_of::<ExtensionHead>(), 0);
    let head = ExtensionHead {
        magic: MAGIC.into(),
        md5: md5::compute(&list).0,
    };
    let mut cluster = head.as_bytes().to_vec();
    cluster.extend(list);
    cluster
}
