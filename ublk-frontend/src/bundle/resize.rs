//! A larger disk: the delta that is written grows, then the descriptor says so. What stands below stays as small as it is, and
//! must not be larger: what it has behind the old end would be seen.
//!
//! A crash in between leaves a larger disk and a descriptor with the old number, which nobody believes; the same call ends it.

use ploop_core::control::files::{Grown, check_nested, grow as grow_image};
use ploop_core::units::Sectors;

use super::folder::Folder;
use super::held::hold;
use super::snapshots::{refused, settle, sound};
use super::store::Change;
use crate::tool::ToolError;
use crate::tool::progress::watched;

/// Grows the disk of a bundle. The caller holds the bundle's lock.
pub fn grow(folder: &dyn Folder, size: Sectors) -> Result<Grown, ToolError> {
    let mut change = Change::begin(folder)?;
    let bundle = change.bundle();
    let top = bundle.tree.top();
    let held = hold(folder, bundle, top, &[top])?;
    let Some(image) = held.last().filter(|held| held.delta.expanded().is_some()) else {
        return Err(refused(
            &change,
            "what is written is a raw disk, which is not changed here",
        ));
    };
    let end = image.delta.size();
    if size > end {
        check_nested(held.iter().map(|held| &held.delta), end)?;
    }
    let next = bundle
        .descriptor
        .with_top(top)
        .and_then(|next| next.resized(size));
    let next = sound(&change, next)?;
    let grown = watched(&*image.file, |file| grow_image(file, &image.name, size))?;
    drop(held);
    let done = change.commit(next);
    settle(&change, done)?;
    Ok(grown)
}
