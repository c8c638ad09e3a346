//! What a descriptor says and its files do not: refused where a write would do harm, told where the files are believed.

use std::path::{Path, PathBuf};

use ploop_core::drive::DeltaFile;
use ploop_core::drive::file::read_padded;
use ploop_core::format::Header;
use ploop_core::format::geometry::HEADER_BYTES;
use ploop_core::units::Sectors;

use super::store::{Bundle, DESCRIPTOR};
use crate::files::{RealFile, id_of};
use crate::tool::ToolError;
use crate::tool::output::complain;

/// Refuses one file under two names: written through one, it would change under the other. One that is missing is found by
/// whoever opens it.
pub fn must_differ(folder: &Path, images: &[PathBuf]) -> Result<(), ToolError> {
    let mut seen = Vec::new();
    for image in images {
        let Some(id) = id_of(image) else { continue };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == id) {
            let first: &&PathBuf = first;
            return Err(ToolError::Refused(format!(
                "{}: {} is the same file as {}: it stands there under two names",
                folder.join(DESCRIPTOR).display(),
                image.display(),
                first.display()
            )));
        }
        seen.push((id, image));
    }
    Ok(())
}

/// Tells, a line each, where the descriptor contradicts the file that is written. The file counts: a growth that was cut
/// leaves an old number, and the next one mends it.
pub fn tell_contradictions(folder: &Path, bundle: &Bundle) {
    let tree = &bundle.tree;
    let Some(node) = tree.get(tree.top()) else {
        return;
    };
    let image = folder.join(&node.file);
    let raw = node.parent.is_none() && tree.raw_base();
    // What cannot be read is told by whoever reads it in earnest.
    let Some((size, cluster)) = said_by(&image, raw) else {
        return;
    };
    let descriptor = &bundle.descriptor;
    for (field, said, is) in [
        ("Disk_size", descriptor.size(), Some(size)),
        ("End", descriptor.end(), Some(size)),
        ("Blocksize", descriptor.block(), cluster),
    ] {
        if let (Some(said), Some(is)) = (said, is)
            && said != is
        {
            let (file, image) = (folder.join(DESCRIPTOR), image.display());
            complain(
                "warning",
                format_args!(
                    "{}: {field} = {}: but {image} has {}, which counts",
                    file.display(),
                    said.0,
                    is.0
                ),
            );
        }
    }
}

/// Size of the disk that a file shows, and its cluster size.
fn said_by(image: &Path, raw: bool) -> Option<(Sectors, Option<Sectors>)> {
    let file = RealFile::open_look(image).ok()?;
    let mut bytes = [0; HEADER_BYTES as usize];
    read_padded(&file, 0, &mut bytes).ok()?;
    match Header::parse(&bytes) {
        Ok(header) if !raw => Some((header.size, Some(header.cluster))),
        _ if raw => Some((Sectors::covering(file.len().ok()?), None)),
        _ => None,
    }
}
