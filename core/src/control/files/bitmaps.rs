//! Dirty bitmaps of an image that nobody has open: started, stopped, cleared.
//!
//! ```text
//!   new list made ──▶ mark, and the header forgets the extension (one sector) ──▶ bitmaps, extension ─sync▶
//!        header: pointer and "v2.1" (one sector) ─sync▶ closed          └─ none left: what they took is free
//! ```
//! * Cut anywhere in between, the image has no bitmap that counts: whoever relies on one finds none, and starts over. It
//!   never has one that misses a change.

use super::edit::Edit;
use super::error::{ControlError, Refusal};
use crate::delta::ExtensionState;
use crate::drive::file::DeltaFile;
use crate::format::DirtyBitmap;
use crate::format::bitmap::MAX_BITS;
use crate::format::extension::Plan;
use crate::units::Sectors;

/// What is done to the dirty bitmaps of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new one, in which nothing is dirty.
    Start {
        /// Its name.
        id: [u8; 16],
        /// Sectors that a bit covers: a power of two.
        granularity: u32,
    },
    /// It is removed.
    Stop {
        /// Its name.
        id: [u8; 16],
    },
    /// From now on nothing is dirty.
    Clear {
        /// Its name.
        id: [u8; 16],
    },
}

/// Changes the dirty bitmaps of an image. The others are kept as they are. Bitmaps of an image that was not closed do not
/// count, and are not there any more afterwards.
///
/// # Errors
/// [`ControlError::Refused`] if there is no such bitmap, if there is one already, or if there cannot be one; or if the
/// extension holds what would be lost. An image that is refused was not written to.
pub fn change_bitmaps(
    file: &dyn DeltaFile,
    name: &str,
    change: Change,
) -> Result<(), ControlError> {
    let mut edit = Edit::open(file, name)?;
    if let ExtensionState::Foreign { feature } = edit.extension {
        return Err(Refusal::ForeignExtension { feature }.of(name));
    }
    let mut bitmaps = std::mem::take(&mut edit.bitmaps);
    apply(&mut bitmaps, change, edit.layout.size).map_err(|refusal| refusal.of(name))?;
    if !bitmaps.is_empty() && Plan::new(&bitmaps, edit.layout.cluster_bytes()).is_none() {
        let (Change::Start { id, .. } | Change::Stop { id } | Change::Clear { id }) = change;
        let rule = "its table does not fit into the extension's cluster with the others";
        return Err(Refusal::Bitmap { id, rule }.of(name));
    }
    let old = edit.forget_extension();
    edit.mark()?;
    let kept = edit.put_bitmaps(&bitmaps)?;
    edit.free(&old)?;
    edit.close(kept)
}

fn apply(bitmaps: &mut Vec<DirtyBitmap>, change: Change, size: Sectors) -> Result<(), Refusal> {
    let (Change::Start { id, .. } | Change::Stop { id } | Change::Clear { id }) = change;
    let refused = |rule| Err(Refusal::Bitmap { id, rule });
    let found = bitmaps.iter().position(|bitmap| bitmap.id() == id);
    match (change, found) {
        (Change::Start { .. }, Some(_)) => refused("there is one already"),
        (Change::Start { granularity, .. }, None) => {
            match DirtyBitmap::new(id, size, granularity) {
                Some(bitmap) => bitmaps.push(bitmap),
                None => {
                    return refused(
                        "its granularity must be a power of two that makes at most 2^32 bits",
                    );
                }
            }
            match bitmaps.iter().map(DirtyBitmap::bits).sum::<u64>() <= MAX_BITS {
                true => Ok(()),
                false => refused("it would be more than 2^32 bits with the others"),
            }
        }
        (_, None) => refused("there is none, or none that counts"),
        (Change::Stop { .. }, Some(at)) => {
            bitmaps.remove(at);
            Ok(())
        }
        (Change::Clear { .. }, Some(at)) => {
            bitmaps[at].clear();
            Ok(())
        }
    }
}
