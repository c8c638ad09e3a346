//! `compact`: an image becomes as short as it can be.

use std::io::Write;
use std::path::{Path, PathBuf};

use ploop_core::control::files::Compact;
use ploop_core::drive::DeltaFile;
use serde::Serialize;

use super::load::{is_raw, name_of};
use super::output::Output;
use super::{ToolError, change, progress};
use crate::bundle::{Bundle, Folder, folder_of};
use crate::cli;
use crate::files::RealFile;

/// Clusters between two reports.
const STEP: u32 = 64;

/// The JSON form. Lengths are in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    filename: String,
    file_length_before: u64,
    file_length: u64,
}

/// Compacts an image, or all of a bundle.
pub fn run(asked: &cli::Compact, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    if folder_of(&asked.image).is_none() {
        let report = compact(&asked.image)?;
        return if asked.json {
            out.json(&report)
        } else {
            Ok(())
        };
    }
    let (folder, _lock) = change::bundle(&asked.image)?;
    let bundle = Bundle::read(&folder)?;
    let mut reports = Vec::new();
    for path in images(folder.path(), &bundle)? {
        reports.push(compact(&path)?);
    }
    if asked.json {
        out.json(&reports)?;
    }
    Ok(())
}

/// All images of a bundle that are not raw.
fn images(folder: &Path, bundle: &Bundle) -> Result<Vec<PathBuf>, ToolError> {
    let mut images = Vec::new();
    for node in bundle.tree.nodes() {
        let path = folder.join(&node.file);
        let is_raw_base = node.parent.is_none() && bundle.tree.raw_base();
        if !is_raw_base && !is_raw(&RealFile::open_read(&path)?)? {
            images.push(path);
        }
    }
    Ok(images)
}

fn compact(path: &Path) -> Result<Report, ToolError> {
    let file = change::image(path)?;
    let name = name_of(path);
    let failed = ToolError::io(path, "read");
    let before = file.len().map_err(&failed)?;
    let bar = progress::clusters();
    let mut work = Compact::new(&file, &name)?;
    loop {
        let done = work.step(STEP)?;
        progress::show(&bar, done);
        if done.finished {
            break;
        }
    }
    Ok(Report {
        file_length_before: before,
        file_length: file.len().map_err(&failed)?,
        filename: name,
    })
}
