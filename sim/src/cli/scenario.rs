//! `sim scenario`.

use super::USAGE;
use super::args::{On, ScenarioArguments};
use crate::campaign::catch;
use crate::check::failure;
use crate::explorer::explore_scenario;
use crate::face::{Place, play_at};
use crate::report::Failure;
use crate::scenario::phases::phases;
use crate::scenario::{FolderFiles, Scenario, ScenarioError, run_file, run_on_files};
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
            Some(On::Explorer) => catch(|| on_explorer(path)),
            Some(On::Drive(folder)) => catch(|| on_driver(path, folder, overwrite)),
            Some(On::Place(place)) => catch(|| on_device(path, place, overwrite)),
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

/// Executions of a phase at the most.
const LIMIT: u64 = 200_000;

fn on_explorer(path: &Path) -> Result<String, ScenarioError> {
    let text = fs::read_to_string(path).map_err(ScenarioError::Io)?;
    let scenario = Scenario::parse(&text)?;
    let phases = phases(&scenario).map_err(|reason| {
        ScenarioError::Unusable(format!("the explorer does not play it: {reason}"))
    })?;
    let raced = explore_scenario(&phases, LIMIT);
    let mut said = Vec::new();
    for receipt in &raced.receipts {
        if let Some(found) = &receipt.failure {
            return Err(ScenarioError::Failed {
                line: None,
                failure: failure("explorer", format!("{}\n{}", found.message, found.story)),
            });
        }
        said.push(receipt.to_string());
    }
    if phases.races().is_empty() {
        said = vec!["nothing races".to_owned()];
    }
    said.push(format!("{} crash images judged", raced.crashes.visited));
    if !phases.left_out.is_empty() {
        said.push(phases.left_out.to_string());
    }
    Ok(said.join("; "))
}

fn on_driver(path: &Path, folder: &Path, overwrite: bool) -> Result<String, ScenarioError> {
    let text = fs::read_to_string(path).map_err(ScenarioError::Io)?;
    let scenario = Scenario::parse(&text)?;
    let unusable =
        |problem: String| ScenarioError::Unusable(format!("drive:{}: {problem}", folder.display()));
    let mut found = fs::read_dir(folder).map_err(|error| unusable(error.to_string()))?;
    if !overwrite && found.next().is_some() {
        return Err(unusable(
            "not empty: files in it might be destroyed; to allow that, add --overwrite".to_owned(),
        ));
    }
    let mut files = FolderFiles::new(folder.to_owned(), overwrite);
    match run_on_files(&scenario, &mut files) {
        Ok(report) => Ok(format!(
            "drive:{}, {} operations, {} sectors compared; {}",
            folder.display(),
            report.ops,
            report.sectors_compared,
            match report.left_out.is_empty() {
                true => "nothing left out".to_owned(),
                false => report.left_out.to_string(),
            }
        )),
        Err(failure) => Err(ScenarioError::Failed {
            line: None,
            failure,
        }),
    }
}

fn on_device(path: &Path, place: &Place, overwrite: bool) -> Result<String, ScenarioError> {
    let text = fs::read_to_string(path).map_err(ScenarioError::Io)?;
    let played = play_at(place, &Scenario::parse(&text)?, overwrite)?;
    Ok(format!("{place}, {played}"))
}
