//! The loader: an image file becomes a [`LoadedDelta`], or an error that names file, field, value and rule.
//!
//! * Nothing is written, ever. * Nothing is believed: each number is checked against the file's length before it is
//!   used, and no more memory is taken than the file's own BAT (or bitmap table) takes.
//! * One reader serves both uses. Strict ([`load`]): the first problem is the error. Lenient ([`inspect`]): problems
//!   are collected and what they spoil is left out, as long as the geometry can be trusted.
//! * Damage of the format extension is never an error: it costs the extension.
//!
//! ```text
//! length -> header -> length of the BAT -> start of data -> BAT -> entries in range -> grid -> no two overlap -> extension
//! ```

mod bat;
pub mod create;
mod entries;
mod extension;
mod image;
mod inspect;
mod report;
mod used;

use std::io;

pub use crate::delta::{Body, Expanded, ExtensionState, LoadedDelta};
pub use create::new_image;
pub use inspect::{Inspection, inspect};

use crate::drive::file::{DeltaFile, read_padded};
use crate::error::LoadError;
use crate::format::header;
use report::{Report, reading};

/// Loads an image. The first problem is the error; trouble with the format extension is none.
pub fn load(file: &dyn DeltaFile, name: &str) -> Result<LoadedDelta, LoadError> {
    let read = image::read(file, &mut Report::Strict).map_err(|stop| stop.in_file(name))?;
    Ok(LoadedDelta {
        name: name.to_owned(),
        file_len: read.file_len,
        body: Body::Expanded(Box::new(read.image)),
    })
}

/// Loads a raw file: guest sector `s` is file sector `s`. Any file is a raw file; see [`sniff`].
pub fn load_raw(file: &dyn DeltaFile, name: &str) -> Result<LoadedDelta, LoadError> {
    let file_len = file
        .len()
        .map_err(|source| reading("the file's length", source).in_file(name))?;
    Ok(LoadedDelta {
        name: name.to_owned(),
        file_len,
        body: Body::Raw,
    })
}

/// True if the file starts with one of the format's magics.
pub fn sniff(file: &dyn DeltaFile) -> io::Result<bool> {
    let mut magic = [0; 16];
    read_padded(file, 0, &mut magic)?;
    Ok(header::version_of(magic).is_some())
}

#[cfg(test)]
pub(crate) mod tests;
