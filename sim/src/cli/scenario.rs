//! `sim scenario`.

use super::USAGE;
use super::args::ScenarioArguments;
use crate::campaign::catch;
use crate::face::{Place, play_at};
use crate::report::Failure;
use crate::scenario::{Scenario, ScenarioError, run_file};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Plays scenario files, one after the other. The exit code is the first failure's.
pub(super) fn play(arguments: &ScenarioArguments, out: &mut dyn Write) -> io::Result<u8> {
    let mut overwrite = arguments.overwrite;
    for path in &arguments.files {
        let shown = path.display();
        let played = match &arguments.on {
            None => catch(|| on_simulator(path)),
            Some(place) => catch(|| on_device(path, place, overwrite)),
        };
        match played {
            Ok(Ok(passed)) => writeln!(out, "{shown}: passed, {passed}")?,
            Ok(Err(error)) => {
                eprintln!("sim: {shown}: {error}");
                return Ok(code(error.failure()));
            }
            Err(panicked) => {
                eprintln!("sim: {shown}: {panicked}");
                return Ok(code(Some(&panicked)));
            }
        }
        // From now on it holds what we have written.
        overwrite = true;
    }
    Ok(0)
}

fn code(failure: Option<&Failure>) -> u8 {
    failure.map_or(USAGE, |failure| failure.class.exit_code())
}

fn on_simulator(path: &Path) -> Result<String, ScenarioError> {
    let stats = run_file(path)?;
    Ok(format!(
        "{} operations, {} crash images, trace {:016x}",
        stats.ops, stats.crash_images, stats.trace
    ))
}

fn on_device(path: &Path, place: &Place, overwrite: bool) -> Result<String, ScenarioError> {
    let text = fs::read_to_string(path).map_err(ScenarioError::Io)?;
    let played = play_at(place, &Scenario::parse(&text)?, overwrite)?;
    Ok(format!("{place}, {played}"))
}
