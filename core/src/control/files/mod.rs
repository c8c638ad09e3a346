//! The file operations of the control plane: they change the files of a chain that no device has open.
//!
//! | operation | what changes | what a guest sees of the chain |
//! |---|---|---|
//! | [`grow`] | one image becomes larger | the same, and zeros behind it |
//! | [`Merge`] | one of two adjacent deltas takes in the other | the same |
//! | [`Compact`] | clusters move into holes, the file becomes shorter | the same |
//! | [`update_index`] | slots point to copies that somebody made | the same |
//! | [`repair`] | what is broken is mended | the same, where it could be read at all |
//! | [`change_bitmaps`] | dirty bitmaps of the format extension | the same |
//!
//! What all of them promise
//! 1. *Refused before anything is written*: what does not make sense is told with file, field and value.
//! 2. *Crash-safe*: whatever subset of the unsynced changes survives a power cut, at any call, the file is a sound image
//!    with the same content. It may be marked as in use, and may hold clusters that belong to nobody.
//! 3. *Retryable*: after a crash or an error the same call, made again, goes on to the same end. An object that has
//!    returned an error is over: make a new one, which reads the file anew.
//! 4. *In-use*: the mark is durable before the first change and is cleared when everything else is durable (I31).
//!    An image that is found in use has its table written anew before anything is built on it: if a sync failed, what
//!    is read may not be what is durable.
//! 5. *Dirty bitmaps* (I32) stay, and count afterwards, if what a guest sees of *this file* is the same; [`grow`] takes them
//!    along. What else there is in an extension cannot be kept right: then nothing in it counts afterwards.
//! 6. Unknown bytes of the header stay. All arithmetic is 64-bit. Memory follows the BAT, not the file.
//!
//! They need to be alone with the files that they write; the file of a chain that is only read may be read by others.

mod bitmaps;
mod compact;
mod copy;
mod edit;
mod error;
mod fix;
mod grow;
mod index;
mod io;
mod merge;
mod nested;
mod repair;
mod space;
mod steps;
#[cfg(test)]
mod tests;

pub use bitmaps::{Change, change_bitmaps};
pub use compact::Compact;
pub use error::{ControlError, Refusal};
pub use fix::{Fix, Repaired};
pub use grow::{Grown, grow};
pub use index::{SlotMove, update_index};
pub use merge::{Merge, Source};
pub use nested::check_nested;
pub use repair::repair;
pub use steps::Progress;

use crate::delta::LoadedDelta;
use crate::drive::file::DeltaFile;
use crate::load;

/// Makes a top that was not closed what it looks like: after a sync that failed, what is read of its table may stand in the
/// page cache alone, and nobody would write it again. All of the table is written anew, durably, and the free tail is cut;
/// then it is loaded anew. [`Device::open_kept`](crate::Device::open_kept) opens no other image for writing, unless it goes
/// on with the slots that a killed device has kept: they may name clusters that the table does not name yet, and that
/// device was opened on a settled image. False: nothing was written, for it was closed, or is raw. To be called when
/// [`Device::check`](crate::Device::check) has found nothing.
///
/// Guest data is not written again: what was not flushed may be lost, as in a power cut.
///
/// # Errors
/// As all operations here; an image that is refused was not written to.
pub fn settle(file: &dyn DeltaFile, top: &mut LoadedDelta) -> Result<bool, ControlError> {
    if top.expanded().is_none_or(|image| image.settled) {
        return Ok(false);
    }
    let mut edit = edit::Edit::open(file, &top.name)?;
    if edit.header.is_dirty() {
        edit.mark()?;
    }
    *top = load::load(file, &top.name)?.known_durable();
    Ok(true)
}
