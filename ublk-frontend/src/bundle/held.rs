//! The files of a chain, open, locked, loaded and checked, before a bundle is changed.
//!
//! The one that is written is locked for nobody else, the others for readers: a file that is served is refused here.

use std::path::Path;

use ploop_core::delta::{Expanded, LoadedDelta, chain};
use ploop_core::drive::DeltaFile;
use ploop_core::format::Version;
use ploop_core::load::{load, load_raw, sniff};
use ploop_core::units::Sectors;

use super::folder::Folder;
use super::guid::Guid;
use super::store::Bundle;
use crate::tool::ToolError;

/// Cluster size of an image above a raw disk, if the descriptor does not say one that makes sense.
const USUAL_CLUSTER: Sectors = Sectors(2048);

/// A file of a chain.
pub struct HeldFile {
    /// Whose file.
    pub guid: Guid,
    /// The file.
    pub file: Box<dyn DeltaFile>,
    /// How it is called in messages.
    pub name: String,
    /// What is in it.
    pub delta: LoadedDelta,
}

impl std::fmt::Debug for HeldFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What an image above a chain must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likeness {
    /// Version of the format.
    pub version: Version,
    /// Cluster size.
    pub cluster: Sectors,
    /// Size of the disk.
    pub size: Sectors,
}

/// Opens the chain of a snapshot, oldest first; those of `write` exclusively. The chain must be sound.
pub fn hold(
    folder: &dyn Folder,
    bundle: &Bundle,
    guid: Guid,
    write: &[Guid],
) -> Result<Vec<HeldFile>, ToolError> {
    let (mut files, mut deltas) = (Vec::new(), Vec::new());
    for node in bundle.tree.chain(guid) {
        let is_base = node.parent.is_none();
        let raw_base = is_base && bundle.tree.raw_base();
        let writing = write.contains(&node.guid);
        let (file, delta) = hold_one(folder, &node.file, raw_base, writing)?;
        files.push((node.guid, file));
        deltas.push(delta);
    }
    chain::validate(&deltas, false)?;
    let held = files
        .into_iter()
        .zip(deltas)
        .map(|((guid, file), delta)| HeldFile {
            guid,
            file,
            name: delta.name.clone(),
            delta,
        });
    Ok(held.collect())
}

fn hold_one(
    folder: &dyn Folder,
    path: &Path,
    raw_base: bool,
    write: bool,
) -> Result<(Box<dyn DeltaFile>, LoadedDelta), ToolError> {
    let file = folder.open(path, write)?;
    let path = folder.path().join(path);
    let name = path.display().to_string();
    let is_image = sniff(&*file).map_err(ToolError::io(&path, "read"))?;
    let delta = if is_image && !raw_base {
        load(&*file, &name)?
    } else {
        load_raw(&*file, &name)?
    };
    Ok((file, delta))
}

/// What an image above this chain must be like.
#[must_use]
pub fn likeness(bundle: &Bundle, top: &LoadedDelta) -> Likeness {
    match top.expanded() {
        Some(image) => Likeness {
            version: image.layout.version,
            cluster: image.layout.cluster,
            size: image.layout.size,
        },
        None => {
            let usual = |block: &Sectors| (64..=131_072).contains(&block.0);
            Likeness {
                version: Version::V2,
                cluster: bundle
                    .descriptor
                    .block()
                    .filter(usual)
                    .unwrap_or(USUAL_CLUSTER),
                size: Sectors::covering(top.file_len),
            }
        }
    }
}

/// The top must have been closed: what it shows is what its writer meant.
pub fn must_be_closed(held: &HeldFile) -> Result<(), ToolError> {
    if held.delta.expanded().is_some_and(is_dirty) {
        return Err(ToolError::Refused(format!(
            "{0}: was not closed properly; see what `ploop-ublk check {0}` says, and repair it first",
            held.name
        )));
    }
    Ok(())
}

fn is_dirty(image: &Expanded) -> bool {
    image.header.is_dirty()
}
