//! Which scenario runs where: every one of the corpus, on every player that this package has, and what came of it. What
//! does not run says why. The columns are held against `corpus/scenarios.md`; that of `/dev/ublkbN` there is held against it by the
//! real-kernel test of `ublk-frontend`.

use std::path::Path;

use super::{corpus, load};
use crate::shuttle_engine::{self, SCHEDULES};
use sim::explorer::explore_scenario;
use sim::face::{Place, play_at};
use sim::scenario::phases::phases;
use sim::scenario::table::{Column, check};
use sim::scenario::{FolderFiles, LeftOut, Scenario, run, run_on_files};

/// Executions of a race at the most.
const LIMIT: u64 = 200_000;

/// A cell, and what it does not speak of.
fn and(cell: String, left_out: &LeftOut) -> String {
    match left_out.is_empty() {
        true => cell,
        false => format!("{cell}; {left_out}"),
    }
}

fn simulator(scenario: &Scenario) -> String {
    match run(scenario) {
        Ok(stats) if stats.crashes == 0 => "passed".to_owned(),
        Ok(stats) => format!("passed, {} cuts", stats.crashes),
        Err(error) => format!("FAILED: {error}"),
    }
}

fn driver(scenario: &Scenario, folder: &Path) -> String {
    match run_on_files(scenario, &mut FolderFiles::new(folder.to_owned(), true)) {
        Ok(report) => and("passed".to_owned(), &report.left_out),
        Err(failure) => format!("FAILED: {failure}"),
    }
}

fn file(scenario: &Scenario, folder: &Path) -> String {
    match play_at(&Place::File(folder.join("disk.raw")), scenario, true) {
        Ok(played) => match played.to_string().split_once("; ") {
            Some((_, left_out)) => format!("passed; {left_out}"),
            None => "passed".to_owned(),
        },
        Err(error) => format!("FAILED: {error}"),
    }
}

fn explorer(scenario: &Scenario) -> String {
    let phases = match phases(scenario) {
        Ok(phases) => phases,
        Err(reason) => return format!("no: {reason}"),
    };
    let raced = explore_scenario(&phases, LIMIT);
    if let Some(failure) = raced.receipts.iter().find_map(|one| one.failure.as_ref()) {
        return format!("FAILED: {}", failure.message);
    }
    let races = phases.races().len();
    let complete = raced.receipts.iter().filter(|one| one.complete).count();
    let executions: u64 = raced.receipts.iter().map(|one| one.executions).sum();
    let done = match races {
        0 => "nothing races: 1 execution".to_owned(),
        _ if complete == races => format!("complete, {races} races, {executions} executions"),
        _ => format!("{complete} of {races} races complete, {executions} executions"),
    };
    and(done, &phases.left_out)
}

fn shuttle(scenario: &Scenario) -> String {
    let phases = match phases(scenario) {
        Ok(phases) => phases,
        Err(reason) => return format!("no: {reason}"),
    };
    match shuttle_engine::play(&phases) {
        Ok(schedules) if schedules == 2 * SCHEDULES => {
            let done = match phases.races().len() {
                0 => "nothing races: passed".to_owned(),
                _ => format!("passed, {schedules} schedules"),
            };
            and(done, &phases.left_out)
        }
        Ok(schedules) => format!("FAILED: cut at {schedules} schedules"),
        Err(message) => format!("FAILED: {message}"),
    }
}

#[test]
fn which_scenario_ran_where() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenarios");
    std::fs::create_dir_all(&folder).expect("a folder");
    let players = ["simulator", "driver", "file", "explorer", "shuttle"];
    let mut seen = players.map(|player| (player, Column::new()));
    for path in corpus() {
        let scenario = load(&path);
        let name = path.file_stem().expect("a name").to_string_lossy();
        let cells = [
            simulator(&scenario),
            driver(&scenario, &folder),
            file(&scenario, &folder),
            explorer(&scenario),
            shuttle(&scenario),
        ];
        for ((player, column), cell) in seen.iter_mut().zip(cells) {
            assert!(!cell.contains("FAILED"), "{name} on {player}: {cell}");
            column.insert(name.clone().into_owned(), cell);
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/scenarios.md");
    if let Err(why) = check(&file, &seen) {
        panic!("{why}");
    }
}
