//! Bundles: a folder with the files of a disk and a `DiskDescriptor.xml` that says which stands on which, as ploop and
//! Parallels write it.
//!
//! `xml` (a document that is kept as it is) < `descriptor` (what it says) < `tree` (what stands on what) < `store` (how it
//! changes on disk) on `folder` (the steps of that).
//!
//! Two ways in: [`images_of`] for whoever only wants the files of a disk, and [`Change`] for whoever changes the bundle.

pub mod delete;
pub mod descriptor;
mod doubts;
pub mod folder;
pub mod fuzzing;
pub mod guid;
pub mod held;
pub mod live;
pub mod merge;
pub mod refusal;
pub mod resize;
pub mod snapshots;
pub mod store;
pub mod tree;
pub mod xml;

use std::path::{Path, PathBuf};

pub use descriptor::Descriptor;
pub use doubts::{must_differ, tell_contradictions};
pub use folder::{Folder, RealFolder};
pub use guid::Guid;
pub use refusal::{BundleError, Refusal, Rule};
pub use store::{Bundle, Change, DESCRIPTOR};
pub use tree::Tree;

use crate::files::id_of;
use crate::tool::ToolError;

/// The files of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Oldest first; the last one is written.
    pub images: Vec<PathBuf>,
    /// The first file is a raw disk, whatever it looks like.
    pub raw_base: bool,
}

/// The folder of a bundle: `path` if it is a folder with a descriptor, or its folder if it is a descriptor. `None` for
/// anything else.
#[must_use]
pub fn folder_of(path: &Path) -> Option<PathBuf> {
    if path.is_dir() && path.join(DESCRIPTOR).symlink_metadata().is_ok() {
        return Some(path.to_owned());
    }
    let is_descriptor = path.file_name().is_some_and(|name| name == DESCRIPTOR);
    is_descriptor.then(|| crate::files::folder_of(path).to_owned())
}

/// The files of the disk at `path`: those of a bundle, oldest first, or the file itself.
pub fn images_of(path: &Path) -> Result<Vec<PathBuf>, ToolError> {
    Ok(files_of(path, None)?.images)
}

/// The files of the disk at `path`, or of a snapshot of the bundle there.
///
/// Refused: a snapshot of something that is no bundle; a snapshot that is to go, whose content may be gone already; two names
/// of one file. A missing file is found by whoever opens it.
pub fn files_of(path: &Path, snapshot: Option<Guid>) -> Result<Files, ToolError> {
    let Some(folder) = folder_of(path) else {
        return match snapshot {
            None => Ok(Files {
                images: vec![path.to_owned()],
                raw_base: false,
            }),
            Some(guid) => Err(ToolError::Refused(format!(
                "{}: not a bundle: it has no snapshot {guid}",
                path.display()
            ))),
        };
    };
    let bundle = Bundle::read(&RealFolder::new(&folder))?;
    let guid = snapshot.unwrap_or(bundle.tree.top());
    files_in(&folder, &bundle, guid)
}

/// Refuses a file of a bundle that is not the one that is written: to be asked before a single image is written or resized.
/// What stands on it would show the change, or not fit any more.
pub fn must_not_be_lower(image: &Path) -> Result<(), ToolError> {
    // Where the file is, not where a link to it is.
    let Ok(real) = image.canonicalize() else {
        return Ok(());
    };
    let Some(folder) = folder_of(crate::files::folder_of(&real)) else {
        return Ok(());
    };
    let bundle = Bundle::read(&RealFolder::new(&folder))?;
    let id = id_of(&real);
    let tree = &bundle.tree;
    let is_it = |node: &&&tree::Node| id.is_some() && id_of(&folder.join(&node.file)) == id;
    match tree.nodes().iter().find(is_it) {
        Some(node) if node.guid != tree.top() => Err(ToolError::Refused(format!(
            "{}: is the file of the snapshot {} of a bundle, and not to be written; give the folder instead",
            image.display(),
            node.guid
        ))),
        _ => Ok(()),
    }
}

/// The files of one snapshot of a bundle.
pub fn files_in(folder: &Path, bundle: &Bundle, guid: Guid) -> Result<Files, ToolError> {
    let node = bundle
        .tree
        .get(guid)
        .ok_or_else(|| ToolError::Refused(format!("{}: no snapshot {guid}", folder.display())))?;
    if node.temporary.is_some() {
        return Err(ToolError::Refused(format!(
            "{}: the snapshot {guid} is being deleted: what it held may be gone",
            folder.display()
        )));
    }
    let chain = bundle.tree.chain(guid);
    let images: Vec<PathBuf> = chain.iter().map(|node| folder.join(&node.file)).collect();
    must_differ(folder, &images)?;
    Ok(Files {
        images,
        raw_base: bundle.tree.raw_base(),
    })
}

#[cfg(test)]
mod tests;
