//! `sim scenario`.

use super::USAGE;
use crate::campaign::catch;
use crate::scenario::{ScenarioError, run_file};
use std::io::{self, Write};
use std::path::PathBuf;

/// Plays scenario files, one after the other. The exit code is the first failure's.
pub(super) fn play(files: &[PathBuf], out: &mut dyn Write) -> io::Result<u8> {
    for path in files {
        let shown = path.display();
        let code = match catch(|| run_file(path)) {
            Ok(Ok(stats)) => {
                writeln!(
                    out,
                    "{shown}: passed, {} operations, {} crash images, trace {:016x}",
                    stats.ops, stats.crash_images, stats.trace
                )?;
                continue;
            }
            Ok(Err(error)) => {
                eprintln!("sim: {shown}: {error}");
                match &error {
                    ScenarioError::Failed { failure, .. } => failure.class.exit_code(),
                    ScenarioError::Io(_) | ScenarioError::Syntax { .. } => USAGE,
                }
            }
            Err(panicked) => {
                eprintln!("sim: {shown}: {panicked}");
                panicked.class.exit_code()
            }
        };
        return Ok(code);
    }
    Ok(0)
}
