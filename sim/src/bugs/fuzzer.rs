//! libFuzzer before a patched core: `cargo fuzz run`, from the stored inputs on.
//!
//! * A fuzzer ends with the first crash. If that is not the named checker's, it starts again with another seed.
//! * Built with debug assertions and without the address sanitizer: the core has no `unsafe`, and so a patched one is built in
//!   seconds.

use super::patch::Expected;
use super::simulator::first_line;
use super::tree::{Tree, build};
use super::{Engine, Options, Trouble, Verdict, process};
use std::fs;
use std::time::{Duration, Instant};

/// `cargo fuzz` with these, before the target.
const BUILD: [&str; 3] = ["--dev", "--sanitizer", "none"];
/// Seeds: so many times a bug is looked for, if it is found.
const SEEDS: usize = 3;

pub(super) fn run(
    tree: &Tree,
    engine: Engine,
    expected: Option<&Expected>,
    options: &Options,
) -> Result<Verdict, Trouble> {
    let mut cargo = tree.cargo();
    // The sanitizer flags are unstable; cargo-fuzz alone needs them.
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "build"])
        .args(BUILD)
        .arg(engine.name());
    build(&mut cargo)?;
    let started = Instant::now();
    let mut verdict = Verdict::default();
    let (mut runs, mut found_at) = (0, 0);
    for seed in 1.. {
        let left = options.budget.saturating_sub(started.elapsed());
        if left < Duration::from_secs(1) {
            break;
        }
        let corpus = tree.scratch().join(engine.name());
        let _ = fs::remove_dir_all(&corpus);
        fs::create_dir_all(&corpus).map_err(|error| Trouble::Engine(error.to_string()))?;
        let mut cargo = tree.cargo();
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run"])
            .args(BUILD)
            .arg(engine.name())
            .arg(&corpus);
        let stored = tree.folder().join("fuzz/corpus").join(engine.name());
        if stored.is_dir() {
            cargo.arg(stored);
        }
        cargo.args([
            "--",
            &format!("-max_total_time={}", left.as_secs()),
            &format!("-seed={seed}"),
            // A patched core may never come to an end.
            "-timeout=10",
        ]);
        // Inputs of the first minutes are short; a run of them takes microseconds.
        let ended = process::run(&mut cargo, Some(left + Duration::from_secs(60)))
            .map_err(|error| Trouble::Engine(format!("cargo fuzz cannot be run: {error}")))?;
        verdict.cpu_seconds += ended.cpu.as_secs_f64();
        let ran = executions(&ended.output).unwrap_or(0);
        runs += ran;
        let Some(message) = panic_message(&ended.output) else {
            if !ended.ok && !ended.timed_out {
                return Err(Trouble::Engine(process::tail(&ended.output, 5)));
            }
            break;
        };
        if expected.is_some_and(|expected| expected.is_in(message)) {
            verdict.found.get_or_insert(first_line(message));
            if expected.is_some_and(Expected::is_any) {
                verdict.by.get_or_insert(checker_in(message));
            }
            // Since the last time it was found.
            verdict.schedules.push(runs - found_at);
            found_at = runs;
            if verdict.schedules.len() == SEEDS {
                break;
            }
            continue;
        }
        verdict.other(&checker_in(message), first_line(message));
        if expected.is_none() {
            break;
        }
    }
    verdict.runs = Some(runs);
    // Of one search, as the schedules are.
    verdict.cpu_seconds /= (verdict.schedules.len() as f64).max(1.0);
    Ok(verdict)
}

/// The checker that a message begins with, in brackets; of an assertion it is `panic`.
pub(super) fn checker_in(message: &str) -> String {
    let named = message
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let is_name = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b' ' || byte == b'-')
    };
    let name = named.map(|(name, _)| name).filter(is_name);
    name.filter(|name| !name.is_empty())
        .unwrap_or("panic")
        .to_owned()
}

/// What libFuzzer says of an input that takes too long.
const HANG: &str = "ERROR: libFuzzer: timeout";

/// What the panic said; or that there was no end.
pub(super) fn panic_message(output: &str) -> Option<&str> {
    if output.contains(HANG) {
        return Some(HANG);
    }
    let at = output.find("panicked at ")?;
    let message = &output[at..];
    let begin = message.find('\n')? + 1;
    let end = message
        .find("\nnote: ")
        .or_else(|| message.find("\n=="))
        .unwrap_or(message.len());
    message.get(begin..end.max(begin))
}

/// Number of inputs that libFuzzer has run: the last `#N` at the start of a line.
pub(super) fn executions(output: &str) -> Option<u64> {
    let numbers = output.lines().filter_map(|line| line.strip_prefix('#'));
    numbers
        .filter_map(|line| {
            line.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .max()
}
