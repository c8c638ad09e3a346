//! One loaded delta: its geometry and its BAT, as checked by the loader. Nothing here refers to the file any more.

use crate::error::Problem;
use crate::format::{DirtyBitmap, Header, Layout};
use crate::units::{DstClu, SECTOR_BYTES, Sectors};

/// A delta file, loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedDelta {
    /// Name of the file, for messages.
    pub name: String,
    /// Length of the file in bytes when it was loaded.
    pub file_len: u64,
    /// What is in it.
    pub body: Body,
}

/// What a delta file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Guest sector `s` is file sector `s`. The cluster size is the chain's.
    Raw,
    /// An image with header and BAT.
    Expanded(Box<Expanded>),
}

/// An image with header and BAT. Every non-zero entry points into the data area and inside the file, and no two overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The header as it stands on disk.
    pub header: Header,
    /// The geometry that follows from it.
    pub layout: Layout,
    /// `layout.entries` raw entries as they stand on disk; 0 = not mapped.
    pub bat: Vec<u32>,
    /// False if entries do not share one cluster grid (version 1 only): readable, refused for writing.
    pub on_grid: bool,
    /// The file's bytes from the end of the BAT to `min(round_up(bat_end, 4096), data_start)`, to be kept when the last
    /// piece of the BAT is written. Zeros where the file ends earlier.
    pub bat_slack: Vec<u8>,
    /// Clusters of the format extension: in no BAT entry, and never free space. Sorted, without duplicates.
    pub reserved: Vec<DstClu>,
    /// What became of the format extension.
    pub extension: ExtensionState,
    /// A part of the extension is nobody's place: behind the end of the file (a crash while bitmaps were saved leaves that),
    /// or a guest's cluster. Whoever writes to the image would put data there, and other programs look for an extension in
    /// it: so the first write takes the pointer to it away. Also from one that is broken, if the image was not closed: a
    /// close that was cut while it saved bitmaps over the old ones leaves that, and QEMU does not open such an image.
    pub extension_astray: bool,
    /// What was read is durable: the image was closed, or was settled (`control::files::settle`). After a sync that failed
    /// it need not be: it may stand in the page cache alone, which nobody would write any more.
    pub settled: bool,
    /// Its dirty bitmaps, if they can be believed: it is vouched for, and nothing in it is broken.
    pub bitmaps: Vec<DirtyBitmap>,
}

/// What became of the format extension. Whatever it is, the data and the mapping are sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtensionState {
    /// The image has none.
    #[default]
    None,
    /// Sound, and vouched for by the one who closed the image.
    Valid,
    /// Not vouched for: the image was closed by software that does not keep it, or was not closed.
    Ignored {
        /// The mark that says so.
        why: Problem,
    },
    /// Broken.
    Damaged {
        /// The first thing that is broken.
        why: Problem,
    },
    /// Sound, with a feature that is unknown and can be done without: whoever writes to the image cannot keep it right, so
    /// that nothing in the extension counts afterwards.
    Foreign {
        /// Magic of the feature.
        feature: u64,
    },
    /// Sound, but with a feature that is unknown and marked as necessary: the image is read-only.
    ReadOnly {
        /// Magic of the feature.
        feature: u64,
    },
}

impl LoadedDelta {
    /// The image, unless the delta is raw.
    #[must_use]
    pub fn expanded(&self) -> Option<&Expanded> {
        match &self.body {
            Body::Raw => None,
            Body::Expanded(expanded) => Some(expanded),
        }
    }

    /// As [`LoadedDelta::expanded`].
    pub(crate) fn expanded_mut(&mut self) -> Option<&mut Expanded> {
        match &mut self.body {
            Body::Raw => None,
            Body::Expanded(expanded) => Some(expanded),
        }
    }

    /// The same, of which the caller knows that all of it is durable: no cache stands before the file.
    #[must_use]
    pub fn known_durable(mut self) -> LoadedDelta {
        if let Some(image) = self.expanded_mut() {
            image.settled = true;
        }
        self
    }

    /// Size of the disk that it holds.
    #[must_use]
    pub fn size(&self) -> Sectors {
        match &self.body {
            Body::Raw => Sectors::covering(self.file_len),
            Body::Expanded(expanded) => expanded.layout.size,
        }
    }

    /// Number of guest clusters that the delta can hold, for a chain of this cluster size.
    #[must_use]
    pub fn entries(&self, cluster: Sectors) -> u64 {
        match &self.body {
            Body::Raw => self.file_len.div_ceil(SECTOR_BYTES * cluster.0.max(1)),
            Body::Expanded(expanded) => u64::from(expanded.layout.entries),
        }
    }
}
