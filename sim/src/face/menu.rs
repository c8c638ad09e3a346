//! A command line for devices: `PROGRAM [DEVICE] [SEED | A..B | FILE.tape | SCENARIO.txt]`.
//!
//! Exit codes: 0 nothing found, 1 usage, 2 found.

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use crate::campaign::quoted;
use crate::face::{OnFiles, Played, Replayed, Report, play, replay, run};
use crate::scenario::{Scenario, ScenarioError};
use crate::tape::TapeFile;

/// Seeds of a command line that names none.
const SEEDS: Range<u64> = 0..2000;

/// A device of the menu.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    name: &'static str,
    run: fn(Range<u64>) -> Report,
    replay: fn(&TapeFile) -> Replayed,
    play: fn(&Scenario) -> Result<Played, ScenarioError>,
}

/// The entry of a device.
#[must_use]
pub fn entry<D: OnFiles>() -> Entry {
    Entry {
        name: D::NAME,
        run: run::<D>,
        replay: replay::<D>,
        play: play::<D>,
    }
}

/// What is to be run.
enum Task {
    Seeds(Range<u64>),
    Tape(TapeFile),
    Scenario(Scenario),
}

/// The whole program.
#[must_use]
pub fn main(devices: &[Entry]) -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let mut rest: Vec<String> = arguments.collect();
    let named = rest.first().and_then(|name| {
        let is = |entry: &&Entry| entry.name == name;
        devices.iter().find(is).copied()
    });
    let chosen = match named {
        Some(entry) => {
            rest.remove(0);
            vec![entry]
        }
        None => devices.to_vec(),
    };
    let task = match &rest[..] {
        [] => Ok(Task::Seeds(SEEDS)),
        [what] => task(what),
        [_, more, ..] => Err(format!("{more:?} must not stand here")),
    };
    let task = match task {
        Ok(task) => task,
        Err(problem) => {
            let names: Vec<&str> = devices.iter().map(|entry| entry.name).collect();
            eprintln!("{program}: {problem}");
            eprintln!("usage: {program} [DEVICE] [SEED | A..B | FILE.tape | SCENARIO.txt]");
            eprintln!("devices: {}", names.join(", "));
            return ExitCode::from(1);
        }
    };
    let found = chosen
        .iter()
        .filter(|entry| !entry.carry_out(&task, &program));
    if found.count() > 0 {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

impl Entry {
    /// True if nothing was found.
    fn carry_out(&self, task: &Task, program: &str) -> bool {
        match task {
            Task::Seeds(seeds) => {
                let report = (self.run)(seeds.clone());
                print!("{report}");
                if let Some(case) = &report.case {
                    let program = quoted(Path::new(program));
                    println!("  again: {program} {} {}", self.name, case.seed);
                    match case.save(Path::new("target/face"), self.name) {
                        Ok(path) => println!("     or: {program} {} {}", self.name, quoted(&path)),
                        Err(error) => eprintln!("{program}: the tape cannot be saved: {error}"),
                    }
                }
                report.is_good()
            }
            Task::Tape(tape) => {
                let (result, story) = (self.replay)(tape);
                story.iter().for_each(|line| println!("{line}"));
                match result {
                    Ok(stats) => {
                        println!("{}: passed, trace {:016x}", self.name, stats.trace);
                        true
                    }
                    Err(failure) => {
                        println!("{}: {failure}, trace {:016x}", self.name, failure.trace);
                        false
                    }
                }
            }
            Task::Scenario(scenario) => match (self.play)(scenario) {
                Ok(played) => {
                    println!("{}: passed, {played}", self.name);
                    true
                }
                Err(error) => {
                    println!("{}: {error}", self.name);
                    false
                }
            },
        }
    }
}

fn task(what: &str) -> Result<Task, String> {
    if let Ok(seed) = what.parse() {
        return match u64::checked_add(seed, 1) {
            Some(end) => Ok(Task::Seeds(seed..end)),
            None => Err("that seed is too large".to_owned()),
        };
    }
    if let Some((first, end)) = what.split_once("..")
        && let (Ok(first), Ok(end)) = (first.parse(), end.parse())
    {
        if first >= end {
            return Err(format!("no seed in {what}"));
        }
        return Ok(Task::Seeds(first..end));
    }
    let text = std::fs::read_to_string(what).map_err(|error| format!("{what}: {error}"))?;
    if what.ends_with(".tape") {
        let tape = TapeFile::load(text.as_bytes());
        return tape.map(Task::Tape).map_err(|error| error.to_string());
    }
    let scenario = Scenario::parse(&text);
    scenario
        .map(Task::Scenario)
        .map_err(|error| error.to_string())
}
