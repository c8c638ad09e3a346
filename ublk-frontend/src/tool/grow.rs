//! `grow`: a larger disk in the same file.

use std::io::Write;

use ploop_core::control::files::grow;
use serde::Serialize;

use super::load::name_of;
use super::output::{Output, complain};
use super::{ToolError, change, progress};
use crate::bundle::{folder_of, resize};
use crate::cli::Grow;
use crate::commands::add::refuse_lower;

/// The JSON form. Sizes are in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    size_before: u64,
    size: u64,
    clusters_moved: u64,
}

/// Grows an image or a bundle.
pub fn run(asked: &Grow, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let grown = if folder_of(&asked.image).is_some() {
        let (folder, _lock) = change::bundle(&asked.image)?;
        resize::grow(&folder, asked.size.0)?
    } else {
        let file = change::image(&asked.image)?;
        // Larger than what was put on top of it, it could not be its base any more.
        refuse_lower(std::slice::from_ref(&asked.image))?;
        let name = name_of(&asked.image);
        progress::watched(&file, |file| grow(file, &name, asked.size.0))?
    };
    if let Some(at) = grown.extension_dropped {
        complain(
            "note",
            format_args!(
                "the format extension at sector {} could not go along: its dirty bitmaps are gone",
                at.0
            ),
        );
    }
    if !asked.json {
        return Ok(());
    }
    out.json(&Report {
        size_before: grown.from.bytes(),
        size: grown.to.bytes(),
        clusters_moved: u64::from(grown.moved),
    })
}
