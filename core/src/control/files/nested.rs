//! What lies behind the end of the disk in its last cluster, and would come to light.
//!
//! A chain is opened although a lower delta reaches further than the top, inside the last cluster. In two ways that becomes
//! wrong data: the disk grows, and what was behind its end is seen; or the delta takes in the one above it, and the disk ends
//! where the delta does.

use super::error::{ControlError, Refusal};
use crate::delta::LoadedDelta;
use crate::units::Sectors;

/// Checks the deltas of a valid chain that stand below a disk of `end` sectors which is going to grow, or the lower of two that
/// are going to be merged into one of `end` sectors.
///
/// # Errors
/// If one of them goes on behind that: [`ControlError::Padded`] for a raw file, which can be cut; else
/// [`ControlError::Refused`]. Both sizes are named.
pub fn check_nested<'a>(
    lower: impl IntoIterator<Item = &'a LoadedDelta>,
    end: Sectors,
) -> Result<(), ControlError> {
    for delta in lower {
        if delta.size() <= end {
            continue;
        }
        return Err(match delta.expanded() {
            None => ControlError::Padded {
                file: delta.name.clone(),
                len: delta.file_len,
                end: end.bytes(),
            },
            Some(image) => Refusal::LowerIsLarger {
                size: image.layout.size,
                end,
            }
            .of(&delta.name),
        });
    }
    Ok(())
}
