//! What came of many runs of a device: a table, or the run that failed, shrunk and told.

use std::fmt;
use std::fs::{self, File as RealFile};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::campaign::{self, Found, Mix, Plan, Seeds, Shard, Subject, Summary, catch};
use crate::face::OnFiles;
use crate::face::harness::{Harness, make};
use crate::profile::Profile;
use crate::report::{Failure, RunStats};
use crate::search::Engine;
use crate::shrink::{Counts, Effort, shrink};
use crate::tape::{Tape, TapeFile};

/// A run of a device that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much is spent on making a failing run small.
const EFFORT: Effort = Effort {
    runs: 6000,
    time: Duration::from_secs(20),
};

/// What came of the runs.
#[derive(Clone, Debug)]
pub struct Report {
    /// The device.
    pub name: &'static str,
    /// Sums, time, and the canary.
    pub summary: Summary,
    /// The run that failed.
    pub case: Option<Case>,
}

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its seed.
    pub seed: u64,
    /// How it failed, as it was found.
    pub found: Failure,
    /// How the small run fails.
    pub failure: Failure,
    /// The small run. As it was found, if it cannot be made small.
    pub tape: TapeFile,
    /// Its size as it was found, and now.
    pub size: Option<(Counts, Counts)>,
    /// What happens in it, a line each.
    pub story: Vec<String>,
}

/// Runs a device on all cores, one run a seed, until one fails.
///
/// # Panics
/// If `seeds` is empty.
#[must_use]
pub fn run<D: OnFiles>(seeds: Range<u64>) -> Report {
    assert!(!seeds.is_empty(), "no seeds");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan {
        seeds: Seeds::Range {
            first: seeds.start,
            last: seeds.end - 1,
        },
        shard: Shard::WHOLE,
        mix: Mix::Only(Profile::Tiny),
        engine: Engine::Swarm,
        time: None,
        until_unseen: None,
        failures: 1,
        lies: false,
        jobs: cores,
        patience: PATIENCE,
        make: make::<D>,
    };
    let summary = campaign::run(&plan, |_| {});
    let case = summary.found.first().map(|found| case::<D>(found));
    Report {
        name: D::NAME,
        summary,
        case,
    }
}

/// How a tape's run ended, and what happened in it, a line each.
pub type Replayed = (Result<RunStats, Failure>, Vec<String>);

/// Runs a tape.
pub fn replay<D: OnFiles>(tape: &TapeFile) -> Replayed {
    let mut harness = Harness::<D>::new();
    harness.bench.borrow_mut().story = Some(Vec::new());
    let mut choices = Tape::replay_spans(&tape.choices, &tape.spans);
    let result = catch(|| harness.run(&mut choices)).flatten();
    let story = harness.bench.borrow_mut().story.take();
    (result, story.unwrap_or_default())
}

fn case<D: OnFiles>(found: &Found) -> Case {
    let whole = TapeFile {
        profile: found.profile.to_string(),
        seed: Some(found.seed),
        trace: Some(found.failure.trace),
        lies: false,
        failure: found.failure.checker.to_owned(),
        choices: found.choices.as_deref().unwrap_or_default().to_vec(),
        spans: found.spans.to_vec(),
    };
    let mut case = Case {
        seed: found.seed,
        found: found.failure.clone(),
        failure: found.failure.clone(),
        tape: whole,
        size: None,
        story: Vec::new(),
    };
    if found.choices.is_none() {
        // It hangs.
        return case;
    }
    if let Ok(shrunk) = shrink(&case.tape, found.profile, make::<D>, EFFORT) {
        case.size = Some((shrunk.before, shrunk.after));
        (case.failure, case.tape) = (shrunk.failure, shrunk.file);
    }
    case.story = replay::<D>(&case.tape).1;
    case
}

impl Report {
    /// True if no run failed, and the canary was noticed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.case.is_none() && self.summary.canary.is_flagged()
    }
}

impl Case {
    /// Saves the tape in a folder, which is made if need be. Returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, folder: &Path, name: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{name}-{:016x}.tape", self.seed));
        let mut file = BufWriter::new(RealFile::create(&path)?);
        self.tape.save(&mut file)?;
        file.flush()?;
        Ok(path)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.summary.totals.sum();
        writeln!(
            f,
            "{}: {} runs, {} operations, {} file I/Os, {} power cuts ({} with all their images, {} in a recovery), \
             {} crash images, {} faults",
            self.name,
            self.summary.totals.runs(),
            sum.ops,
            sum.steps,
            sum.crashes,
            sum.complete_cuts,
            sum.recovery_crashes,
            sum.crash_images,
            sum.faults.total()
        )?;
        if !self.summary.canary.is_flagged() {
            writeln!(f, "  RED: syncs that do nothing were not noticed")?;
        }
        match &self.case {
            None => writeln!(f, "  nothing found"),
            Some(case) => write!(f, "{case}"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  FOUND with seed {}: {}",
            self.seed,
            first_line(&self.found)
        )?;
        if let Some((before, after)) = &self.size {
            writeln!(
                f,
                "  made small: {} operations of {}, {} faults of {}: {}",
                after.operations,
                before.operations,
                after.faults,
                before.faults,
                first_line(&self.failure)
            )?;
        }
        self.story
            .iter()
            .try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// Without the backtrace of a panic.
fn first_line(failure: &Failure) -> String {
    let all = failure.to_string();
    all.lines().next().unwrap_or_default().to_owned()
}
