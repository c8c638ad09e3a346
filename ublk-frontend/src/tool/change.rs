//! Opening what a command is going to change: an image, or a bundle. Nobody else may be at it.
//!
//! A served image is locked by its server. A device whose server was killed, or has made way for another, has no lock on its
//! images, and still needs them: so the records of the devices are asked, too.

use std::path::{Path, PathBuf};

use super::ToolError;
use crate::bundle::folder::Lock;
use crate::bundle::store::LOCK;
use crate::bundle::{Bundle, Folder, RealFolder, folder_of, must_differ, tell_contradictions};
use crate::commands::existing_folder;
use crate::files::{FileId, RealFile, id_of};

/// Opens an image for changes.
pub fn image(path: &Path) -> Result<RealFile, ToolError> {
    let file = RealFile::open_write(path)?;
    must_be_free(path, &[file.id()], None)?;
    Ok(file)
}

/// A bundle that nobody else changes as long as the lock lives, and that no device uses.
pub fn bundle(path: &Path) -> Result<(RealFolder, Lock), ToolError> {
    bundle_of(path, None)
}

/// The same for the bundle of a device whose server stands aside.
pub fn bundle_of(path: &Path, device: Option<u32>) -> Result<(RealFolder, Lock), ToolError> {
    let folder = bundle_at(path)?;
    // Before the lock: a folder that is no bundle gets no file.
    Bundle::read(&folder)?;
    let lock = folder.lock(LOCK)?;
    let bundle = Bundle::read(&folder)?;
    let images = files_named(folder.path(), &bundle);
    must_differ(folder.path(), &images)?;
    if device.is_none() {
        tell_contradictions(folder.path(), &bundle);
    }
    let ids: Vec<_> = images.iter().filter_map(|image| id_of(image)).collect();
    must_be_free(folder.path(), &ids, device)?;
    Ok((folder, lock))
}

/// All files of a bundle.
pub fn files_named(folder: &Path, bundle: &Bundle) -> Vec<PathBuf> {
    let nodes = bundle.tree.nodes();
    nodes.iter().map(|node| folder.join(&node.file)).collect()
}

/// The folder of a bundle.
pub fn bundle_at(path: &Path) -> Result<RealFolder, ToolError> {
    match folder_of(path) {
        Some(folder) => Ok(RealFolder::new(&folder)),
        None => Err(ToolError::Refused(format!(
            "{}: not a bundle: give the folder of a DiskDescriptor.xml",
            path.display()
        ))),
    }
}

/// No device but `device` may need one of these files.
pub(crate) fn must_be_free(
    name: &Path,
    files: &[FileId],
    device: Option<u32>,
) -> Result<(), ToolError> {
    let Some(records) = existing_folder()? else {
        return Ok(());
    };
    for id in records.ids()? {
        if Some(id) == device {
            continue;
        }
        let Some(record) = records.load(id)? else {
            continue;
        };
        let ours = |image: &PathBuf| id_of(image).is_some_and(|id| files.contains(&id));
        if record.images.iter().any(ours) {
            return Err(ToolError::Refused(format!(
                "{}: in use by device {id} (`ploop-ublk del {id}` takes it away)",
                name.display()
            )));
        }
    }
    Ok(())
}
