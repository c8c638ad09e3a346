//! A snapshot of a disk that is a list of images, not a bundle.

use std::path::Path;

use ploop_core::load::{load, new_image};

use super::refused;
use super::topology::Change;
use crate::files::{NewFile, RealFile, child};
use crate::tool::ToolError;
use crate::tool::load::name_of;

/// Puts a new, empty file on top. The old top is marked before anything can be written to the new one.
pub fn plain(change: &mut Change<'_>, new: &Path) -> Result<(), ToolError> {
    let top = RealFile::open_write(change.top()?)?;
    empty_on(&top, new)?;
    let marked = child::mark(&top, new).map_err(ToolError::io(top.path(), "mark"));
    // The next server takes it.
    drop(top);
    let mut images = change.images().to_vec();
    images.push(new.to_owned());
    let committed = marked.and_then(|()| change.commit(images));
    if committed.is_err() && !change.is_recorded(new) {
        // It is empty, and nobody knows of it. The mark goes with the next server.
        let _ = std::fs::remove_file(new);
    }
    committed
}

/// An empty image for the disk that `top` is an image of, durable.
fn empty_on(top: &RealFile, new: &Path) -> Result<(), ToolError> {
    let delta = load(top, &name_of(top.path()))?;
    let Some(image) = delta.expanded() else {
        return Err(refused(format!(
            "{}: a raw disk is not written, so it needs no snapshot",
            name_of(top.path())
        )));
    };
    let layout = &image.layout;
    let file = NewFile::create(new)?;
    new_image(file.file(), layout.version, layout.cluster, layout.size)
        .map_err(|error| refused(format!("{}: {error}", new.display())))?;
    Ok(file.publish()?)
}
