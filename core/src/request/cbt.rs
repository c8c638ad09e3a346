//! Changed block tracking: the dirty bitmaps of the top image, kept right while it is written.
//!
//! ```text
//!   open, extension valid ──▶ bitmaps in memory ──a part of a write, of zeros or of a discard ends──▶ its granules are marked
//!        │                            └─ nothing was ever changed: close leaves the file as it is
//!        └ not valid, or the image was not closed: none                  close ──▶ saved: control::save
//! ```
//! * A superset (I32): marked before the request can be acknowledged, failed parts too. Nothing is ever unmarked here.
//! * On disk nobody vouches for the old bitmaps from the moment the in-use mark is durable: before the first change.
//! * Without bitmaps it costs one comparison a part.

use crate::format::DirtyBitmap;
use crate::sync::{Mutex, Rank};
use crate::units::{DstClu, Sector, Sectors};

/// See the module.
#[derive(Debug)]
pub(crate) struct Cbt {
    on: bool,
    bitmaps: Mutex<Vec<DirtyBitmap>>,
    /// Clusters of the extension as it was found, sorted.
    pub(crate) found: Vec<DstClu>,
}

impl Cbt {
    /// For a top with these bitmaps, in these clusters.
    pub(crate) fn new(bitmaps: Vec<DirtyBitmap>, found: Vec<DstClu>) -> Cbt {
        Cbt {
            on: !bitmaps.is_empty(),
            bitmaps: Mutex::new(Rank::Table, "dirty bitmaps", bitmaps),
            found,
        }
    }

    /// There are bitmaps.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Sectors may have changed.
    #[inline]
    pub(crate) fn mark(&self, start: Sector, len: Sectors) {
        if self.on {
            for bitmap in self.bitmaps.lock().iter_mut() {
                bitmap.mark(start, len);
            }
        }
    }

    /// The bitmaps as they are now.
    pub(crate) fn bitmaps(&self) -> Vec<DirtyBitmap> {
        if self.on {
            self.bitmaps.lock().clone()
        } else {
            Vec::new()
        }
    }
}
