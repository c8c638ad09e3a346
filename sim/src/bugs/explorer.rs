//! Engines that are tests: loom, shuttle, drills, rules, before a patched core. Run one after another, their output read.

use super::patch::Expected;
use super::tree::{Tree, build};
use super::{Engine, Options, Trouble, Verdict, process};
use std::path::PathBuf;
use std::process::Command;

pub(super) fn run(
    tree: &Tree,
    engine: Engine,
    filters: &[String],
    expected: Option<&Expected>,
    options: &Options,
) -> Result<Verdict, Trouble> {
    let program = build_tests(tree, engine)?;
    let mut command = Command::new(program);
    tree.environment(&mut command);
    // In order and not captured, so that the output of a process that aborts is there too.
    command
        .args(filters)
        .args(["--test-threads=1", "--nocapture"])
        .current_dir(tree.folder().join(house(engine).1));
    let ended = process::run(&mut command, Some(options.budget))
        .map_err(|error| Trouble::Engine(format!("the tests cannot be run: {error}")))?;
    let is_any = expected.is_some_and(Expected::is_any);
    let failures = failures(&ended.output);
    let aborted = failures.is_empty() && !ended.ok && !ended.timed_out;
    if aborted && !is_any {
        return Err(Trouble::Engine(process::tail(&ended.output, 5)));
    }
    if ended.ok && ended.output.contains("running 0 tests") {
        return Err(Trouble::Engine(format!(
            "no test of {engine} is called {filters:?}"
        )));
    }
    let mut verdict = Verdict {
        cpu_seconds: ended.cpu.as_secs_f64(),
        // Without a word: a stack that overflowed, say.
        found: aborted.then(|| process::tail(&ended.output, 1)),
        by: aborted.then(|| "aborted".to_owned()),
        ..Verdict::default()
    };
    for failure in failures {
        let named = expected.is_some_and(|expected| expected.is_in(failure.output));
        match (named, &verdict.found) {
            (false, _) => verdict.other(failure.name, failure.message()),
            (true, Some(_)) => {}
            (true, None) => {
                verdict.schedules.extend(failure.schedules());
                verdict.found = Some(failure.name.to_owned());
                verdict.by = is_any.then(|| failure.name.to_owned());
            }
        }
    }
    Ok(verdict)
}

/// Package, folder and test target.
fn house(engine: Engine) -> (&'static str, &'static str, &'static str) {
    match engine {
        Engine::Core => ("ploop-core", "core", "ploop_core"),
        Engine::Bundle => ("ublk-frontend", "ublk-frontend", "ublk_frontend"),
        engine => ("sim", "sim", engine.name()),
    }
}

/// Builds an explorer's tests. Returns the program.
fn build_tests(tree: &Tree, engine: Engine) -> Result<PathBuf, Trouble> {
    let mut cargo = tree.cargo();
    let (package, _, target) = house(engine);
    cargo.args(["test", "-p", package]);
    match package {
        "sim" => cargo.args(["--test", target]),
        _ => cargo.arg("--lib"),
    };
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let output = build(&mut cargo)?;
    let program = output
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| {
        Trouble::Build(format!(
            "cargo does not say where the tests of {engine} are"
        ))
    })
}

/// A test that failed, and all it printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed<'a> {
    pub(super) name: &'a str,
    pub(super) output: &'a str,
}

impl Failed<'_> {
    /// Number of the execution or schedule that failed, if the test tells.
    pub(super) fn schedules(&self) -> Option<u64> {
        let mut words = self.output.split_ascii_whitespace();
        let mut found = None;
        while let Some(word) = words.next() {
            if word == "execution" || word == "schedule" {
                let number = words.clone().next().and_then(|number| number.parse().ok());
                found = number.or(found);
            }
        }
        found
    }

    /// The line behind "panicked at".
    fn message(&self) -> String {
        let mut lines = self
            .output
            .lines()
            .skip_while(|line| !line.contains("panicked at"));
        lines.nth(1).unwrap_or("").to_owned()
    }
}

/// The failed tests in the output of a test program that ran them one by one. A test that never ended, since the process
/// was aborted, counts as failed if it panicked.
pub(super) fn failures(output: &str) -> Vec<Failed<'_>> {
    let starts: Vec<usize> = output
        .match_indices("test ")
        .map(|(at, _)| at)
        .filter(|&at| (at == 0 || output.as_bytes()[at - 1] == b'\n') && is_start(&output[at..]))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([output.len()]);
    let mut failed = Vec::new();
    for (start, end) in starts.iter().copied().zip(ends) {
        let block = &output[start + 5..end];
        let name = block.split(" ... ").next().unwrap_or("");
        let panicked = block.contains("panicked at");
        let passed = block
            .lines()
            .any(|line| line == "ok" || line.ends_with(" ... ok"));
        if panicked && !passed {
            failed.push(Failed {
                name,
                output: block,
            });
        }
    }
    failed
}

fn is_start(text: &str) -> bool {
    let line = text.lines().next().unwrap_or("");
    line.contains(" ... ") && !line.starts_with("test result")
}
