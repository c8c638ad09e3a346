//! What can be said on the command line.

use super::chooser::Chooser;
use super::libfuzzer::Hunt;
use crate::bugs;
use crate::campaign::{Mix, Plan, Seeds, Shard, world_on};
use crate::face::Place;
use crate::profile::Profile;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time of a campaign that names neither a time nor seeds.
const TIME: Duration = Duration::from_secs(30);
/// A run that takes longer hangs. The longest of a healthy core takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The deterministic simulator of the ploop mapping core.
///
/// Without a command: a campaign of 30 seconds on all cores.
/// Exit codes: 0 fine, 1 usage, 2 wrong answer or broken invariant, 3 hang, 4 panic.
#[derive(Debug, Parser)]
#[command(name = "sim", version, disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs worlds until one fails, the time is up or the seeds are used up
    Run(RunArguments),
    /// Puts the reports of all shards of a campaign together
    Merge {
        /// Folders with what `run --report` wrote
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
        /// One line of JSON instead of tables
        #[arg(long)]
        json: bool,
    },
    /// Runs a recorded tape again
    Replay(ReplayArguments),
    /// Makes a failing tape small: fewer operations, crashes, faults and switches, the same failure
    Shrink(ShrinkArguments),
    /// Tells the story of a tape, as text or as a page with a picture
    Explain(ExplainArguments),
    /// Explores small configurations: every inequivalent interleaving, every distinct crash image
    Explore(ExploreArguments),
    /// Plays runs written as texts (see corpus/scenarios)
    Scenario(ScenarioArguments),
    /// Puts historic bugs into a copy of the core, one by one, and sees whether each is found
    Bugs(BugsArguments),
    /// Measures the simulator and the mapping core
    Bench {
        /// One line of JSON instead of tables
        #[arg(long)]
        json: bool,
        /// Processor time spent on each figure
        #[arg(long = "time", value_parser = duration, default_value = "1s")]
        seconds: Duration,
    },
}

impl Default for Command {
    fn default() -> Command {
        Command::Run(RunArguments::default())
    }
}

#[derive(Args, Clone, Debug, Default)]
#[command(group = clap::ArgGroup::new("which").args(["seed", "seeds"]).multiple(false))]
pub(super) struct RunArguments {
    /// Base of the seeds: run i has the seed that base and i mix to [default: by the clock]
    #[arg(long, value_name = "S", value_parser = number, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// One run for each seed from A to B - 1 (A..=B: to B)
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Seeds>,
    /// When to stop: 60s, 10m, 500ms [default: 30s, or when the seeds are used up, or --until-unseen]
    #[arg(long, value_parser = duration)]
    time: Option<Duration>,
    /// tiny, default, big or faults [default: a mix of all]
    #[arg(long)]
    profile: Option<Profile>,
    /// swarm, urw, pct, fuzz, portfolio or libfuzzer: how the next schedule is chosen
    #[arg(long, value_name = "E", default_value_t)]
    engine: Chooser,
    /// Stops when a run brings no more than so many new patterns of events (0.01: one run in a hundred brings one)
    #[arg(long, value_name = "P", value_parser = unseen)]
    until_unseen: Option<f64>,
    /// Stops when failures of so many sorts were found (class, checker, complaint)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    failures: u32,
    /// The disk acknowledges syncs that it did not do: to see what failures look like, and what is made of them
    #[arg(long)]
    lying_disk: bool,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// One line of JSON instead of tables
    #[arg(long)]
    pub(super) json: bool,
    /// Folder for the tape of a run that fails [default: target/sim]
    #[arg(long, value_name = "DIR", conflicts_with = "report")]
    out: Option<PathBuf>,
    /// Only every N-th run, from run I on (0 to N - 1): N processes with all else the same take each run once
    #[arg(long, value_name = "I/N", requires_all = ["report", "which"])]
    shard: Option<Shard>,
    /// Folder for the report of a shard, and its tape: see `sim merge`
    #[arg(long, value_name = "DIR", requires = "shard")]
    pub(super) report: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ScenarioArguments {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Plays them elsewhere than on the simulator: explorer (what races, in every interleaving). Their operations alone: drive:FOLDER (the core's blocking driver on
    /// files of this folder), file:PATH (a file or a block device as it is), nbd:SOCKET or nbd:HOST:PORT (a server)
    #[arg(long, value_name = "WHERE")]
    pub(super) on: Option<On>,
    /// What stands there may be destroyed
    #[arg(long, requires = "on")]
    pub(super) overwrite: bool,
}

/// Where a scenario is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// The explorer: every inequivalent interleaving of what races, with all crash images.
    Explorer,
    /// The core's blocking driver on files of a folder.
    Drive(PathBuf),
    /// Something that is no disk of ours.
    Place(Place),
}

impl FromStr for On {
    type Err = String;

    fn from_str(text: &str) -> Result<On, String> {
        match text.strip_prefix("drive:") {
            None if text == "explorer" => Ok(On::Explorer),
            Some("") => Err("must be drive:FOLDER".to_owned()),
            Some(folder) => Ok(On::Drive(folder.into())),
            None => text.parse().map(On::Place),
        }
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct ReplayArguments {
    /// The file that a failed run left
    pub(super) tape: PathBuf,
    /// Shows what happened, event by event (for the backtrace of a panic, set RUST_BACKTRACE=1)
    #[arg(long)]
    pub(super) trace: bool,
    /// Writes today's trace hash and verdict into the file; the choices stay
    #[arg(long)]
    pub(super) record: bool,
    /// When a run that has not ended is a hang
    #[arg(long, value_parser = duration, default_value = "60s")]
    pub(super) patience: Duration,
    /// Ends with 2 unless everything is as recorded, to the last step
    #[arg(long)]
    pub(super) strict: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ShrinkArguments {
    /// The file that a failed run left
    pub(super) tape: PathBuf,
    /// Where the small tape goes [default: beside the tape, as NAME.min.tape]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// When to stop at the latest
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub(super) time: Duration,
    /// When to stop, in runs: the result depends on the tape and on this number alone, as long as the time is enough
    #[arg(long, value_name = "N", default_value_t = crate::shrink::Effort::default().runs)]
    pub(super) runs: u64,
    /// One line of JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ExplainArguments {
    /// The file that a failed run left; better: a shrunk one
    pub(super) tape: PathBuf,
    /// Writes a page with the picture, which loads nothing from elsewhere
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// How often each prefix of the tape is continued by chance, to see when the failure was inevitable: 50 or more; 0: not at all
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = samples)]
    pub(super) samples: u32,
    /// JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ExploreArguments {
    /// Name of a configuration, or `all` [default: lists them]
    pub(super) config: Option<String>,
    /// Interleavings only, no crash images
    #[arg(long)]
    pub(super) bare: bool,
    /// Stops after so many executions, and says that it is cut
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
    /// Only this schedule, as a failure tells it: the number of a task for each event
    #[arg(long, value_name = "DIGITS", value_parser = schedule, requires = "config")]
    pub(super) schedule: Option<Schedule>,
    /// One line of JSON a configuration
    #[arg(long)]
    pub(super) json: bool,
}

/// The number of a task for each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule(pub(super) Vec<u8>);

#[derive(Args, Clone, Debug)]
pub(super) struct BugsArguments {
    /// Only these bugs, by number or catalogue id; `unpatched`: the core as it is
    #[arg(long, value_name = "NNN|ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Only the fixed dozen that CI looks for, each before one engine
    #[arg(long, conflicts_with = "record")]
    smoke: bool,
    /// Write what is found into corpus/bugs (expected.json, MATRIX.md): from now on ten times as many schedules are red
    #[arg(long)]
    record: bool,
    /// Compares the simulator's search engines instead (of some bugs, if none is named); with --record writes SEARCH.md
    #[arg(long, conflicts_with_all = ["smoke", "html", "json"])]
    compare: bool,
    /// Writes a page with the matrix, which loads nothing from elsewhere
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Time for each bug and engine, builds not counted
    #[arg(long, value_parser = duration, default_value = "60s")]
    budget: Duration,
    /// sim, loom, explore, shuttle, control, rules, core, bundle, bat_ops, open_image, or fuzz for both fuzz targets (needs cargo-fuzz)
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "sim,loom,explore,shuttle,control,rules,core,bundle"
    )]
    engines: Vec<String>,
    /// Threads of the simulator and of builds [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// One line of JSON a bug instead of a table
    #[arg(long)]
    json: bool,
    /// Do not use what earlier runs found
    #[arg(long)]
    fresh: bool,
}

/// Fewer continuations than this say too little of what is inevitable.
const FEWEST: u32 = 50;

fn samples(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(samples) if samples == 0 || (FEWEST..=100_000).contains(&samples) => Ok(samples),
        _ => Err(format!("must be 0, or {FEWEST} to 100000")),
    }
}

impl BugsArguments {
    /// What to run.
    pub(super) fn options(&self) -> Result<bugs::Options, String> {
        let mut engines = Vec::new();
        for name in &self.engines {
            engines.extend(bugs::Engine::list(name)?);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(bugs::Options {
            only: self.only.clone(),
            smoke: self.smoke,
            record: self.record,
            compare: self.compare,
            html: self.html.clone(),
            budget: self.budget,
            engines,
            jobs: self.jobs.map_or(cores, usize::from),
            json: self.json,
            fresh: self.fresh,
        })
    }
}

impl RunArguments {
    /// What libFuzzer is to do, if it is the one who chooses. An error: what it cannot be asked for.
    pub(super) fn libfuzzer(&self) -> Result<Option<Hunt>, String> {
        if self.engine.0.is_some() {
            return Ok(None);
        }
        let not_its = [
            ("--seeds", self.seeds.is_some()),
            ("--shard", self.shard.is_some()),
            ("--report", self.report.is_some()),
            ("--until-unseen", self.until_unseen.is_some()),
            ("--failures", self.failures > 1),
            ("--lying-disk", self.lying_disk),
            ("--json", self.json),
            (
                "--profile",
                self.profile.is_some_and(|profile| profile != Profile::Tiny),
            ),
        ];
        if let Some((option, _)) = not_its.iter().find(|(_, asked)| *asked) {
            return Err(format!(
                "--engine libfuzzer runs tiny worlds of bytes that it draws: it takes no {option}"
            ));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Some(Hunt {
            time: self.time.unwrap_or(TIME),
            seed: self.seed.unwrap_or_else(by_the_clock),
            jobs: self.jobs.map_or(cores, usize::from),
            folder: self.folder(),
        }))
    }

    /// The plan of the campaign.
    pub(super) fn plan(&self) -> Plan {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let time = match (self.time, self.seeds, self.until_unseen) {
            (None, None, None) => Some(TIME),
            (time, ..) => time,
        };
        Plan {
            seeds: self
                .seeds
                .unwrap_or_else(|| Seeds::Base(self.seed.unwrap_or_else(by_the_clock))),
            shard: self.shard.unwrap_or(Shard::WHOLE),
            mix: self.profile.map_or(Mix::All, Mix::Only),
            engine: self.engine.0.unwrap_or_default(),
            time,
            until_unseen: self.until_unseen,
            failures: self.failures as usize,
            lies: self.lying_disk,
            jobs: self.jobs.map_or(cores, usize::from),
            patience: PATIENCE,
            make: world_on(self.lying_disk),
        }
    }

    /// Where tapes go.
    pub(super) fn folder(&self) -> PathBuf {
        let folder = self.report.as_ref().or(self.out.as_ref());
        folder
            .cloned()
            .unwrap_or_else(|| PathBuf::from("target/sim"))
    }
}

fn by_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// A number, decimal or 0x hexadecimal.
fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

/// One digit a task.
fn schedule(text: &str) -> Result<Schedule, String> {
    let digits = text
        .chars()
        .map(|c| c.to_digit(8).ok_or_else(|| format!("{c:?} is no task")));
    let tasks: Result<Vec<u32>, String> = digits.collect();
    Ok(Schedule(
        tasks?.into_iter().map(|task| task as u8).collect(),
    ))
}

/// `A..B` or `A..=B`, not empty.
fn range(text: &str) -> Result<Seeds, String> {
    let (first, last) = text.split_once("..").ok_or("expected A..B")?;
    let first = number(first)?;
    let last = match last.strip_prefix('=') {
        Some(last) => number(last)?,
        None => number(last)?.checked_sub(1).ok_or("no seed in it")?,
    };
    if first > last {
        return Err("no seed in it".into());
    }
    Ok(Seeds::Range { first, last })
}

/// A share of new patterns: not less than 0.
fn unseen(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share >= 0.0 && share.is_finite() => Ok(share),
        _ => Err("must be a number like 0.01".into()),
    }
}

/// A number with `ms`, `s`, `m` or `h`; seconds if there is none. At most a year.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (value, unit) = text.split_at(split);
    let value: f64 = value
        .parse()
        .map_err(|_| "expected a time like 60s".to_owned())?;
    let seconds = match unit {
        "ms" => value / 1000.0,
        "" | "s" => value,
        "m" => value * 60.0,
        "h" => value * 3600.0,
        _ => return Err(format!("unit {unit:?}: must be ms, s, m or h")),
    };
    if (0.0..=366.0 * 86400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("at most a year".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "s", "-1s", "1d", "1.2.3s", "9e9s", "99999999h", "NaN"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ranges_are_half_open_unless_they_say_so() {
        let seeds = |first, last| Ok(Seeds::Range { first, last });
        assert_eq!(range("3..5"), seeds(3, 4));
        assert_eq!(range("3..=5"), seeds(3, 5));
        assert_eq!(range("0x10..0x20"), seeds(16, 31));
        assert_eq!(range(&format!("0..={}", u64::MAX)), seeds(0, u64::MAX));
        for bad in [
            "", "3", "5..5", "6..5", "0..0", "a..b", "1..", "..2", "1...3",
        ] {
            assert!(range(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn schedules_are_digits() {
        assert_eq!(schedule("0120"), Ok(Schedule(vec![0, 1, 2, 0])));
        assert!(schedule("018").is_err());
    }

    #[test]
    fn time_has_a_default_only_without_seeds() {
        let plan = |text: &str| {
            let arguments = Arguments::try_parse_from(
                ["sim", "run"].into_iter().chain(text.split_whitespace()),
            );
            match arguments.map(|arguments| arguments.command) {
                Ok(Some(Command::Run(run))) => run.plan(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(plan("").time, Some(TIME));
        assert_eq!(plan("--seeds 1..3").time, None);
        assert_eq!(
            plan("--seeds 1..3 --time 2s").time,
            Some(Duration::from_secs(2))
        );
        assert_eq!(plan("--seed 4").seeds, Seeds::Base(4));
        assert_eq!(plan("--profile big").mix, Mix::Only(Profile::Big));
        assert_eq!((plan("").mix, plan("--jobs 3").jobs), (Mix::All, 3));
    }
}
