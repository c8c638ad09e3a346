//! Snapshots of a disk that is a list of images, not a bundle.

use std::path::Path;

use ploop_core::control::files::{ControlError, Merge, Source};
use ploop_core::load::{load, new_image, sniff};

use super::refused;
use super::topology::Change;
use crate::files::{NewFile, RealFile, child, id_of, sync_folder_of};
use crate::tool::ToolError;
use crate::tool::change::must_be_free;
use crate::tool::load::name_of;
use crate::tool::output::complain;

/// Puts a new, empty file on top. The old top is marked before anything can be written to the new one.
pub fn plain(change: &mut Change<'_>, new: &Path) -> Result<(), ToolError> {
    let top = RealFile::open_write(change.top()?)?;
    empty_on(&top, new)?;
    // Whoever may not read the old file may not read the new one.
    let mode = std::fs::metadata(top.path()).map(|old| old.permissions());
    let mode = mode.and_then(|mode| std::fs::set_permissions(new, mode));
    let mode = mode.map_err(ToolError::io(new, "set the mode of"));
    let marked =
        mode.and_then(|()| child::mark(&top, new).map_err(ToolError::io(top.path(), "mark")));
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

/// Clusters between two looks at whether it is to go on.
const STEP: u32 = 64;

/// Copies the top into the image below, and takes it away. As long as that is not done the chain has both, and shows the
/// same.
pub fn merge(change: &mut Change<'_>) -> Result<(), ToolError> {
    let mut images = change.images().to_vec();
    let (Some(upper), Some(lower)) = (images.pop(), images.last()) else {
        return Err(refused("there is no snapshot to merge"));
    };
    let (upper, lower) = (RealFile::open_write(&upper)?, RealFile::open_write(lower)?);
    let is_image = sniff(&lower).map_err(ToolError::io(lower.path(), "read"))?;
    if !is_image || (change.raw_base() && images.len() == 1) {
        return Err(refused(format!(
            "{}: a raw disk cannot be the only one: it is not written",
            name_of(lower.path())
        )));
    }
    // Nobody else may stand on what is about to be written.
    must_be_free(lower.path(), &[lower.id()], Some(change.id()))?;
    let child =
        child::of(lower.path()).map_err(ToolError::io(lower.path(), "read the attributes of"))?;
    // Of this disk: what a merge that was killed has left.
    let of_us = |child: &Path| {
        let id = id_of(child);
        id.is_some() && change.images().iter().any(|image| id_of(image) == id)
    };
    if let Some(child) = child.filter(|child| !of_us(child)) {
        return Err(refused(format!(
            "{}: {} stands on it, too",
            lower.path().display(),
            child.display()
        )));
    }
    copy_down(change, &lower, &upper)?;
    if child::can_be_marked(upper.path()) {
        // Should it outlive the merge, nobody takes it for the disk. The server of a chain that has it as its top removes that.
        child::mark(&upper, lower.path()).map_err(ToolError::io(upper.path(), "mark"))?;
    }
    let (upper_path, lower_path) = (upper.path().to_owned(), lower.path().to_owned());
    drop((upper, lower));
    let below = images.iter().rev().nth(1).cloned();
    change.commit(images)?;
    // The mark goes before the file that it names, and before anything else is written.
    let lower = RealFile::open_write(&lower_path)?;
    child::forget(&lower).map_err(ToolError::io(&lower_path, "remove the mark of"))?;
    if let Some(base) = below {
        stands_on(&base, &upper_path, &lower_path)?;
    }
    let failed = ToolError::io(&upper_path, "remove");
    let removed = std::fs::remove_file(&upper_path).and_then(|()| sync_folder_of(&upper_path));
    if let Err(error) = removed.map_err(&failed) {
        complain(
            "note",
            format_args!("merged, but it is still there: {error}: remove it"),
        );
    }
    Ok(())
}

/// If `base` is marked as the lower file of `from`, it is that of `to` now.
pub(super) fn stands_on(base: &Path, from: &Path, to: &Path) -> Result<(), ToolError> {
    let failed = |action| ToolError::io(base, action);
    let marked = child::of(base).map_err(failed("read the attributes of"))?;
    let Some(marked) = marked else {
        return Ok(());
    };
    if marked != from && (id_of(&marked).is_none() || id_of(&marked) != id_of(from)) {
        return Ok(());
    }
    // Others may stand on it, too.
    let file = RealFile::open_read(base)?;
    child::mark(&file, to).map_err(failed("mark"))
}

fn copy_down(change: &Change<'_>, lower: &RealFile, upper: &RealFile) -> Result<(), ToolError> {
    let (lower_name, upper_name) = (name_of(lower.path()), name_of(upper.path()));
    let source = |file, name| Source {
        file,
        name,
        raw: false,
    };
    let failed = |error: ControlError| refused(error.to_string());
    let mut merge =
        Merge::backward(source(lower, &lower_name), source(upper, &upper_name)).map_err(failed)?;
    while !merge.step(STEP).map_err(failed)?.finished {
        if change.is_interrupted() {
            merge.cancel().map_err(failed)?;
            return Err(refused("interrupted: nothing is merged"));
        }
    }
    Ok(())
}
