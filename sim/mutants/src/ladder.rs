//! The test command: a ladder of programs that all were built once, the cheapest and sharpest first. A mutant is caught by
//! the first that fails.

use crate::tree::Tree;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program has so many times the time that the unchanged core takes, and this on top.
const PATIENCE: u32 = 6;
const GRACE: Duration = Duration::from_secs(8);
/// Kilobytes of address space: a mutant may never stop to allocate.
const MEMORY: &str = "8000000";

/// A rung.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// What the core as it is takes.
    pub(crate) takes: Duration,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Badly,
    OutOfTime,
}

/// What a mutant came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// By this rung.
    Caught(String),
    /// On this rung the time was up.
    Timeout(String),
    Missed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ladder {
    pub(crate) steps: Vec<Step>,
    folder: PathBuf,
    scratch: PathBuf,
}

impl Ladder {
    /// Builds all programs.
    pub(crate) fn build(tree: &Tree) -> io::Result<Ladder> {
        let mut ladder = Ladder {
            steps: Vec::new(),
            folder: tree.folder(),
            scratch: tree.folder().join("scratch"),
        };
        let sim = tree
            .build(&["build", "-p", "sim", "--bin", "sim"])?
            .pop()
            .ok_or_else(|| io::Error::other("no program sim was built"))?;
        let core = tree.build(&["test", "-p", "ploop-core", "--lib", "--no-run"])?;
        let tests = ["corpus", "control", "rules"];
        let mut arguments = vec!["test", "-p", "sim", "--no-run"];
        arguments.extend(tests.iter().flat_map(|name| ["--test", name]));
        let built = tree.build(&arguments)?;
        let scenarios = corpus(&tree.folder(), "scenarios")?;
        ladder.add("scenarios", &sim, &["scenario"], &scenarios);
        let seeds = |profile: &str, range: &str, ladder: &mut Ladder| {
            let out = ladder.scratch.to_string_lossy().into_owned();
            let arguments = [
                "run",
                "--json",
                "--jobs",
                "1",
                "--profile",
                profile,
                "--seeds",
                range,
                "--out",
                &out,
            ];
            ladder.add(&format!("{profile} {range}"), &sim, &arguments, &[]);
        };
        seeds("tiny", "0..300", &mut ladder);
        for program in &core {
            ladder.add("unit tests", program, &[], &[]);
        }
        for name in tests {
            let found = built.iter().find(|program| {
                let file = program
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned());
                file.is_some_and(|file| file.starts_with(&format!("{name}-")))
            });
            let program = found.ok_or_else(|| io::Error::other(format!("no test {name}")))?;
            ladder.add(name, program, &[], &[]);
        }
        seeds("tiny", "300..4000", &mut ladder);
        seeds("default", "0..200", &mut ladder);
        seeds("faults", "0..300", &mut ladder);
        seeds("big", "0..60", &mut ladder);
        Ok(ladder)
    }

    fn add(&mut self, name: &str, program: &Path, arguments: &[&str], more: &[String]) {
        self.steps.push(Step {
            name: name.to_owned(),
            program: program.to_path_buf(),
            arguments: arguments
                .iter()
                .map(|text| (*text).to_owned())
                .chain(more.iter().cloned())
                .collect(),
            takes: Duration::from_secs(60),
        });
    }

    /// Runs the core as it is: nothing may fail. From now on it is known how long that takes.
    pub(crate) fn baseline(&mut self) -> io::Result<()> {
        for at in 0..self.steps.len() {
            let started = Instant::now();
            let ended = self.run(&self.steps[at], 0)?;
            self.steps[at].takes = started.elapsed();
            let Step { name, takes, .. } = &self.steps[at];
            eprintln!("  {name}: {:.1} s, {ended:?}", takes.as_secs_f64());
            if ended != Ended::Well {
                return Err(io::Error::other(format!(
                    "{name} fails on the core as it is"
                )));
            }
        }
        Ok(())
    }

    /// Programs built anew take what the others took.
    pub(crate) fn times_of(&mut self, other: &Ladder) {
        for (step, known) in self.steps.iter_mut().zip(&other.steps) {
            step.takes = known.takes;
        }
    }

    /// Climbs.
    pub(crate) fn climb(&self, id: u32) -> io::Result<Outcome> {
        for step in &self.steps {
            match self.run(step, id)? {
                Ended::Well => {}
                Ended::Badly => return Ok(Outcome::Caught(step.name.clone())),
                Ended::OutOfTime => return Ok(Outcome::Timeout(step.name.clone())),
            }
        }
        Ok(Outcome::Missed)
    }

    fn run(&self, step: &Step, id: u32) -> io::Result<Ended> {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -v \"$0\" && ulimit -c 0 && exec \"$@\"",
                MEMORY,
            ])
            .arg(&step.program)
            .args(&step.arguments)
            .current_dir(&self.folder)
            .env("PLOOP_MUTANT", id.to_string())
            .env("INSTA_UPDATE", "no")
            .env("INSTA_WORKSPACE_ROOT", &self.folder)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = command.spawn()?;
        let limit = step.takes * PATIENCE + GRACE;
        let started = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(if status.success() {
                    Ended::Well
                } else {
                    Ended::Badly
                });
            }
            if started.elapsed() >= limit {
                end(&mut child)?;
                return Ok(Ended::OutOfTime);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Ends a program. The shell has become it, so there is one process.
fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// The files of a folder of the corpus.
fn corpus(tree: &Path, folder: &str) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(tree.join("corpus").join(folder))? {
        files.push(entry?.path().to_string_lossy().into_owned());
    }
    files.sort();
    Ok(files)
}
