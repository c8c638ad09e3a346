//! `sim bugs`: the catalogue of historic bugs before the harness.

use super::args::BugsArguments;
use crate::bugs;
use std::io::{self, Write};

/// The command. 2 if a bug was not found, a patch is out of date, or the unpatched core is not clean.
pub(super) fn run(arguments: &BugsArguments, out: &mut dyn Write) -> io::Result<u8> {
    let all_well = bugs::run(&arguments.options().map_err(io::Error::other)?, out)?;
    Ok(if all_well { 0 } else { 2 })
}
