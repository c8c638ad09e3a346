//! The exhaustive explorer before a patched core: the models that loom runs, too, and the small configurations with all
//! their crash images.
//!
//! A filter that is the name of a configuration selects this configuration, any other one selects models; without a filter
//! it is all of both. Configurations are looked at after the models, and only if those have not found the bug.

use super::patch::Expected;
use super::simulator::first_line;
use super::tree::Tree;
use super::{Engine, Options, Trouble, Verdict, explorer, process};
use crate::explorer::configurations;
use serde::Deserialize;
use std::process::Command;
use std::time::Instant;

/// More executions than any configuration here has; a patch may make one endless.
const LIMIT: &str = "300000";

/// What we read of the lines of `sim explore --json`.
#[derive(Debug, Deserialize)]
struct Line {
    configuration: String,
    executions: u64,
    cpu_seconds: f64,
    failure: Option<Failed>,
}

#[derive(Debug, Deserialize)]
struct Failed {
    message: String,
    execution: u64,
}

pub(super) fn run(
    tree: &Tree,
    filters: &[String],
    expected: Option<&Expected>,
    options: &Options,
) -> Result<Verdict, Trouble> {
    let (chosen, tests) = split(filters);
    let mut verdict = match (filters, tests.as_slice()) {
        ([_, ..], []) => Verdict::default(),
        (_, tests) => explorer::run(tree, Engine::Explore, tests, expected, options)?,
    };
    if chosen.is_empty() || verdict.found.is_some() {
        return Ok(verdict);
    }
    let simulator = tree.build_simulator()?;
    let started = Instant::now();
    for name in chosen {
        let left = options.budget.saturating_sub(started.elapsed());
        let mut command = Command::new(&simulator);
        command
            .args(["explore", "--json", "--limit", LIMIT, name])
            .current_dir(tree.folder());
        let ended = process::run(&mut command, Some(left))
            .map_err(|error| Trouble::Engine(format!("the simulator cannot be run: {error}")))?;
        if ended.timed_out {
            verdict.cpu_seconds += ended.cpu.as_secs_f64();
            break;
        }
        let line = ended.output.lines().find_map(line).ok_or_else(|| {
            let said = process::tail(&ended.output, 5);
            Trouble::Engine(format!("{name}: the explorer says nothing: {said}"))
        })?;
        if verdict.take(line, expected) {
            break;
        }
    }
    Ok(verdict)
}

impl Verdict {
    /// Adds what came of a configuration. True: the bug is found.
    fn take(&mut self, line: Line, expected: Option<&Expected>) -> bool {
        self.cpu_seconds += line.cpu_seconds;
        *self.runs.get_or_insert(0) += line.executions;
        let Some(failed) = line.failure else {
            return false;
        };
        let named = expected.is_some_and(|expected| expected.is_in(&failed.message));
        if named {
            self.schedules.push(failed.execution);
            let is_any = expected.is_some_and(Expected::is_any);
            self.by = is_any.then(|| line.configuration.clone());
            self.found = Some(line.configuration);
        } else {
            self.other(&line.configuration, first_line(&failed.message));
        }
        named
    }
}

/// The configurations that filters select, and the filters of models.
fn split(filters: &[String]) -> (Vec<&'static str>, Vec<String>) {
    let named = |name: &&str| filters.is_empty() || filters.iter().any(|filter| filter == name);
    let chosen = configurations().map(|known| known.name).filter(named);
    let model = |filter: &&String| configurations().all(|known| known.name != filter.as_str());
    (
        chosen.collect(),
        filters.iter().filter(model).cloned().collect(),
    )
}

fn line(text: &str) -> Option<Line> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::super::patch::Patch;
    use super::*;

    #[test]
    fn a_filter_is_a_configuration_or_selects_models() {
        let (all, none) = split(&[]);
        assert_eq!((all.len(), none.len()), (configurations().count(), 0));
        let filters = ["waiters::".to_owned(), "discard_against_read".to_owned()];
        let (chosen, tests) = split(&filters);
        assert_eq!(chosen, ["discard_against_read"]);
        assert_eq!(tests, ["waiters::"]);
    }

    #[test]
    fn only_the_named_checker_counts() {
        let header = "Id: S1\nOrigin: o\nMistake: m\nSteps: s\nViolates: I1\n\
            Checker: explore durable \"after a power cut\"\n\ndiff --git a/x b/x\n";
        let patch = Patch::parse("001-a.patch", header).expect("a patch");
        let expected = patch.checker(Engine::Explore);
        let failed = |message: &str| {
            let text = format!(
                r#"{{"configuration":"c","executions":7,"cpu_seconds":0.5,"complete":false,
                "failure":{{"message":"{message}","execution":3,"schedule":"01"}}}}"#
            );
            line(&text.replace('\n', "")).expect("a line")
        };
        let mut verdict = Verdict::default();
        assert!(!verdict.take(failed("cluster held twice"), expected.as_ref()));
        assert_eq!((&verdict.found, verdict.others.len()), (&None, 1));
        assert!(verdict.take(failed("after a power cut: lost"), expected.as_ref()));
        assert_eq!((verdict.median(), verdict.runs), (Some(3), Some(14)));
        assert_eq!(verdict.found.as_deref(), Some("c"));
        assert_eq!(verdict.others.len(), 1, "the first one stays told");
        assert_eq!(verdict.by, None);
        let any = Patch::parse("001-a.patch", &header.replace("explore", "sim")).expect("a patch");
        let mut verdict = Verdict::default();
        let any = any.checker(Engine::Explore);
        assert!(verdict.take(failed("cluster held twice"), any.as_ref()));
        assert_eq!(verdict.by.as_deref(), Some("c"));
    }
}
