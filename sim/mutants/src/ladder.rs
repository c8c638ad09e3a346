//! The test command: a ladder of programs that all were built once, the cheapest and sharpest first. A mutant is caught by
//! the first that fails.

use crate::tree::Tree;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program has so many times the processor time that the unchanged core takes, and this on top.
const PATIENCE: u32 = 6;
const GRACE: Duration = Duration::from_secs(2);
/// A program that waits for something that never comes takes no processor time.
const LONGEST: Duration = Duration::from_secs(180);
/// The signal for a program whose processor time is up.
const SIGXCPU: i32 = 24;
/// Kilobytes of address space: a mutant may never stop to allocate.
const MEMORY: &str = "8000000";

/// A rung.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// Processor time that the core as it is takes.
    pub(crate) takes: Duration,
}

impl Step {
    fn new<'a>(name: &str, program: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Step {
        Step {
            name: name.to_owned(),
            program: program.to_path_buf(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            takes: Duration::from_secs(10),
        }
    }
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
    /// Builds all programs; `units`: the core's unit tests too.
    pub(crate) fn build(tree: &Tree, units: bool) -> io::Result<Ladder> {
        let mut ladder = Ladder {
            steps: Vec::new(),
            folder: tree.folder(),
            scratch: tree.folder().join("scratch"),
        };
        let tests = ["corpus", "rules", "bill", "control"];
        let mut arguments = vec!["test", "-p", "sim", "--no-run"];
        arguments.extend(tests.iter().flat_map(|name| ["--test", name]));
        // The tests of `sim` have the program `sim` built, too.
        let mut built = tree.build(&arguments)?;
        if units {
            built.extend(tree.build(&["test", "-p", "ploop-core", "--lib", "--no-run"])?);
        }
        let program = |name: &str| {
            let found = built.iter().find(|program| {
                let file = program.file_name().and_then(|file| file.to_str());
                file.is_some_and(|file| file.split_once('-').map_or(file, |(name, _)| name) == name)
            });
            found.ok_or_else(|| io::Error::other(format!("no program {name} was built")))
        };
        let sim = program("sim")?;
        let out = ladder.scratch.to_string_lossy().into_owned();
        let seeds = |profile: &str, range: &str| {
            let name = format!("{profile} {range}");
            let line = [
                "run",
                "--json",
                "--jobs",
                "1",
                "--out",
                &out,
                "--profile",
                profile,
            ];
            Step::new(&name, sim, line.into_iter().chain(["--seeds", range]))
        };
        let scenarios = corpus(&tree.folder(), "scenarios")?;
        let scenarios = scenarios.iter().map(String::as_str);
        ladder.steps = vec![
            Step::new("scenarios", sim, ["scenario"].into_iter().chain(scenarios)),
            seeds("tiny", "0..300"),
            Step::new("corpus", program("corpus")?, []),
            Step::new("rules", program("rules")?, []),
            Step::new("bill", program("bill")?, []),
            seeds("tiny", "300..20000"),
            seeds("faults", "0..1000"),
            seeds("default", "0..500"),
            seeds("big", "0..20"),
        ];
        if units {
            let program = program("ploop_core")?;
            ladder.steps.push(Step::new("unit tests", program, []));
        }
        // As long as all others together.
        ladder
            .steps
            .push(Step::new("control", program("control")?, []));
        Ok(ladder)
    }

    /// Runs the core as it is: nothing may fail. From now on it is known how long that takes.
    pub(crate) fn baseline(&mut self) -> io::Result<()> {
        for at in 0..self.steps.len() {
            let before = children_cpu();
            let ended = self.run(&self.steps[at], 0)?;
            self.steps[at].takes = children_cpu().saturating_sub(before);
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
        let limit = (step.takes * PATIENCE + GRACE).as_secs().to_string();
        let limits =
            "ulimit -v \"$0\" && ulimit -c 0 && ulimit -S -t \"$1\" && shift && exec \"$@\"";
        command
            .args(["-c", limits, MEMORY, &limit])
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
        let started = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(match status.signal() {
                    Some(SIGXCPU) => Ended::OutOfTime,
                    _ if status.success() => Ended::Well,
                    _ => Ended::Badly,
                });
            }
            if started.elapsed() >= LONGEST {
                end(&mut child)?;
                return Ok(Ended::OutOfTime);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Processor time of all programs that have ended.
fn children_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the program's name, which is in brackets: field 3 is the state, 16 and 17 are the children's times in ticks.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let fields = fields.split_ascii_whitespace().skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
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
