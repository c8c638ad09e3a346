//! `init`: an empty bundle.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use ploop_core::error::CreateError;
use ploop_core::format::Header;
use ploop_core::load::new_image;
use serde::Serialize;

use super::ToolError;
use super::output::Output;
use crate::bundle::descriptor::NewDisk;
use crate::bundle::store::{self, DESCRIPTOR, LOCK, PENDING};
use crate::bundle::{Descriptor, Folder, RealFolder};
use crate::cli::Init;
use crate::files::sync_folder_of;

/// The image, as ploop calls it.
const IMAGE: &str = "root.hds";

/// The JSON form.
#[derive(Debug, Serialize)]
struct Report {
    bundle: String,
    image: String,
}

/// Makes the bundle. Without a descriptor, which comes last, the folder is none; an `init` that was killed can be repeated.
pub fn run(asked: &Init, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let refused = |problem: &dyn std::fmt::Display| {
        ToolError::Refused(format!(
            "{}: cannot create: {problem}",
            asked.folder.display()
        ))
    };
    let (version, cluster, size) = (
        asked.shape.version.into(),
        asked.shape.cluster.0,
        asked.size.0,
    );
    // A wrong geometry is refused before anything is made.
    let header = Header::create(version, cluster, size).map_err(|e| refused(&e))?;
    let descriptor = Descriptor::new(&NewDisk {
        size,
        cluster,
        file: IMAGE,
        heads: header.heads,
        cylinders: header.cylinders,
    })
    .map_err(|e| refused(&e))?;
    make_folder(&asked.folder)?;
    let folder = RealFolder::new(&asked.folder);
    // Before the lock leaves its file in somebody's folder, and behind it, as two may begin at once.
    must_be_empty(&folder)?;
    let _lock = folder.lock(LOCK)?;
    must_be_empty(&folder)?;
    let image = asked.folder.join(IMAGE);
    store::make(&folder, IMAGE, &descriptor, |file| {
        new_image(file, version, cluster, size)
            .map(|_| ())
            .map_err(|error| match error {
                CreateError::Io(source) => ToolError::io(&image, "write")(source),
                other => refused(&other),
            })
    })?;
    sync_folder_of(&asked.folder).map_err(ToolError::io(&asked.folder, "sync"))?;
    if !asked.json {
        return Ok(());
    }
    out.json(&Report {
        bundle: asked.folder.display().to_string(),
        image: image.display().to_string(),
    })
}

fn make_folder(path: &Path) -> Result<(), ToolError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.map_err(ToolError::io(path, "create")),
    }
}

/// Nothing may be in the folder but what a killed `init` has left.
fn must_be_empty(folder: &RealFolder) -> Result<(), ToolError> {
    let names = folder
        .names()
        .map_err(ToolError::io(folder.path(), "read"))?;
    let is_begun = names.iter().any(|name| name == PENDING);
    let is_ours = |name: &str| {
        (name.starts_with(DESCRIPTOR) && name != DESCRIPTOR) || (name == IMAGE && is_begun)
    };
    match names.iter().find(|name| !is_ours(name)) {
        Some(name) => Err(ToolError::Refused(format!(
            "{}: already exists and is not empty: it holds {name:?}; nothing was changed",
            folder.path().display()
        ))),
        None => Ok(()),
    }
}
