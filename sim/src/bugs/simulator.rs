//! The simulator before a patched core: campaigns of the small profiles in turn, until the named checker fires.
//!
//! A campaign ends with its first failure. If that is not the named checker's, the next one starts behind it.

use super::patch::Expected;
use super::tree::Tree;
use super::{Options, Small, Trouble, Verdict, process};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Profiles, and how much of a round each gets.
const PROFILES: [(&str, u32); 3] = [("tiny", 1), ("default", 1), ("faults", 1)];
/// Of the whole budget, a slice is at most one part in so many.
const SLICES: u32 = 12;

/// What we read of the line that `sim run --json` ends with.
#[derive(Debug, Deserialize)]
struct Line {
    runs: u64,
    cpu_seconds: f64,
    failure: Option<Failed>,
}

#[derive(Debug, Deserialize)]
struct Failed {
    checker: String,
    message: String,
    seed: u64,
    tape: Option<PathBuf>,
}

pub(super) fn run(
    tree: &Tree,
    expected: Option<&Expected>,
    options: &Options,
) -> Result<Verdict, Trouble> {
    let simulator = tree.build_simulator()?;
    let started = Instant::now();
    let mut verdict = Verdict::default();
    let mut runs = 0;
    let mut next = [0u64; PROFILES.len()];
    'rounds: loop {
        for (at, (profile, share)) in PROFILES.iter().enumerate() {
            let left = options.budget.saturating_sub(started.elapsed());
            if left.is_zero() {
                break 'rounds;
            }
            let slice = (options.budget / SLICES * *share).clamp(
                Duration::from_millis(200),
                left.max(Duration::from_millis(200)),
            );
            let line = campaign(tree, &simulator, profile, next[at], slice, options.jobs)?;
            runs += line.runs;
            verdict.cpu_seconds += line.cpu_seconds;
            next[at] += line.runs + 1;
            let Some(failed) = line.failure else { continue };
            // The summary counts the runs before it.
            runs += 1;
            next[at] = next[at].max(failed.seed + 1);
            let message = first_line(&failed.message);
            let named =
                expected.is_some_and(|expected| expected.is(&failed.checker, &failed.message));
            if named {
                verdict.found = Some(message);
                verdict.small = failed.tape.and_then(|tape| shrink(tree, &simulator, &tape));
                break 'rounds;
            }
            verdict.other(&failed.checker, message);
            if expected.is_none() {
                break 'rounds;
            }
        }
    }
    verdict.runs = Some(runs);
    Ok(verdict)
}

fn campaign(
    tree: &Tree,
    simulator: &Path,
    profile: &str,
    from: u64,
    time: Duration,
    jobs: usize,
) -> Result<Line, Trouble> {
    let mut command = Command::new(simulator);
    command
        .args(["run", "--json", "--profile", profile])
        .args(["--seeds", &format!("{from}..{}", from + (1 << 40))])
        .args(["--time", &format!("{}ms", time.as_millis())])
        .args(["--jobs", &jobs.to_string()])
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
