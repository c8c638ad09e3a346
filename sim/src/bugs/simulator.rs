//! The simulator before a patched core: campaigns of the small profiles in turn, until the named checker fires.
//!
//! A campaign ends with its first failure. If that is not the named checker's, the next one starts behind it.
//!
//! Before that, the tapes that are kept of a bug (`corpus/tapes/NNN-*.tape`) are replayed: with the bug put in they must still
//! fail, or they show nothing any more.

use super::patch::Expected;
use super::tree::Tree;
use super::{Options, Small, Trouble, Verdict, process};
use crate::search::Engine;
use serde::Deserialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Profiles, and how many runs of the first round each gets. Each round has twice as many as the one before.
const PROFILES: [(&str, u64); 3] = [("tiny", 4000), ("default", 500), ("faults", 500)];
/// Bases of seeds: so many times a bug is looked for, if it is found.
const BASES: u64 = 3;

/// What we read of the line that `sim run --json` ends with.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) runs: u64,
    pub(super) cpu_seconds: f64,
    pub(super) failure: Option<Failed>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Failed {
    pub(super) checker: String,
    pub(super) message: String,
    pub(super) seed: u64,
    tape: Option<PathBuf>,
}

pub(super) fn run(
    tree: &Tree,
    number: &str,
    expected: Option<&Expected>,
    options: &Options,
) -> Result<Verdict, Trouble> {
    let simulator = tree.build_simulator()?;
    if let Some(expected) = expected.filter(|expected| !expected.is_any()) {
        replay_kept(tree, &simulator, number, expected)?;
    }
    let started = Instant::now();
    let mut verdict = Verdict::default();
    let mut search = Search {
        tree,
        simulator: &simulator,
        expected,
        until: started + options.budget,
        verdict: &mut verdict,
        runs: 0,
    };
    let mut runs = 0;
    for base in 0..BASES {
        let tape = match search.from(base << 40)? {
            Some(tape) => tape,
            None => break,
        };
        let found = search.runs - runs;
        search.verdict.schedules.push(found);
        runs = search.runs;
        if base == 0 {
            search.verdict.small = tape.and_then(|tape| shrink(tree, &simulator, &tape));
        }
    }
    let all = search.runs;
    verdict.runs = Some(all);
    // Of one search, as the schedules are.
    verdict.cpu_seconds /= (verdict.schedules.len() as f64).max(1.0);
    Ok(verdict)
}

/// Looks for a bug.
struct Search<'a> {
    tree: &'a Tree,
    simulator: &'a Path,
    expected: Option<&'a Expected>,
    until: Instant,
    verdict: &'a mut Verdict,
    runs: u64,
}

impl Search<'_> {
    /// From this seed on. `None`: it was not found in time; else the tape, if there is one. The runs are a function of the
    /// seed alone.
    fn from(&mut self, base: u64) -> Result<Option<Option<PathBuf>>, Trouble> {
        let mut next = [base; PROFILES.len()];
        let mut round = 1;
        loop {
            for (at, (profile, share)) in PROFILES.iter().enumerate() {
                let end = next[at] + share * round;
                while next[at] < end {
                    let left = self.until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    let seeds = next[at]..end;
                    let (tree, simulator) = (self.tree, self.simulator);
                    let line = campaign(tree, simulator, profile, Engine::Swarm, seeds, left)?;
                    self.verdict.cpu_seconds += line.cpu_seconds;
                    let Some(failed) = line.failure else {
                        self.runs += line.runs;
                        next[at] += line.runs.max(1);
                        continue;
                    };
                    self.runs += failed.seed + 1 - next[at];
                    next[at] = failed.seed + 1;
                    let message = first_line(&failed.message);
                    let expected = self.expected;
                    if expected.is_some_and(|named| named.is(&failed.checker, &failed.message)) {
                        self.verdict.found.get_or_insert(message);
                        if expected.is_some_and(Expected::is_any) {
                            self.verdict.by.get_or_insert(failed.checker);
                        }
                        return Ok(Some(failed.tape));
                    }
                    self.verdict.other(&failed.checker, message);
                    if expected.is_none() {
                        return Ok(None);
                    }
                }
            }
            round *= 2;
        }
    }
}

/// Runs of these seeds until one fails or the time is up, by one thread: the first failing seed is the lowest.
pub(super) fn campaign(
    tree: &Tree,
    simulator: &Path,
    profile: &str,
    engine: Engine,
    seeds: Range<u64>,
    time: Duration,
) -> Result<Line, Trouble> {
    let mut command = Command::new(simulator);
    command
        .args(["run", "--json", "--profile", profile])
        .args(["--engine", engine.name()])
        .args(["--seeds", &format!("{}..{}", seeds.start, seeds.end)])
        .args(["--time", &format!("{}ms", time.as_millis().max(1))])
        .args(["--jobs", "1"])
        .arg("--out")
        .arg(tree.scratch())
        .current_dir(tree.folder());
    // A hang is the simulator's own to find: it is given time for that.
    let limit = time + Duration::from_secs(120);
    let ended = process::run(&mut command, Some(limit))
        .map_err(|error| Trouble::Engine(format!("the simulator cannot be run: {error}")))?;
    let line = ended
        .output
        .lines()
        .rev()
        .find(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| {
            Trouble::Engine(format!(
                "the simulator says nothing: {}",
                process::tail(&ended.output, 5)
            ))
        })
}

/// The kept tapes of a bug must fail, by a checker that its patch names.
fn replay_kept(
    tree: &Tree,
    simulator: &Path,
    number: &str,
    expected: &Expected,
) -> Result<(), Trouble> {
    let prefix = format!("corpus/tapes/{number}-");
    for tape in tree.names().filter(|name| name.starts_with(&prefix)) {
        let mut command = Command::new(simulator);
        command.arg("replay").arg(&tape).current_dir(tree.folder());
        let ended = process::run(&mut command, Some(Duration::from_secs(120)))
            .map_err(|error| Trouble::Engine(format!("the simulator cannot be run: {error}")))?;
        if ended.ok || !expected.is_in(&ended.output) {
            let said = process::tail(&ended.output, 5);
            return Err(Trouble::Engine(format!(
                "{tape} does not show this bug any more ({expected}): {said}"
            )));
        }
    }
    Ok(())
}

/// Makes the tape small, beside it. `None` if that did not work: what was found stays found.
fn shrink(tree: &Tree, simulator: &Path, tape: &Path) -> Option<Small> {
    let mut command = Command::new(simulator);
    command
        .args(["shrink", "--json", "--time", "5s"])
        .arg(tape)
        .current_dir(tree.folder());
    let ended = process::run(&mut command, Some(Duration::from_secs(120))).ok()?;
    let mut lines = ended.output.lines().rev();
    serde_json::from_str(lines.find(|line| line.starts_with('{'))?).ok()
}

pub(super) fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("").to_owned()
}
