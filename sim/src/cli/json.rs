//! The one line of JSON that `sim run --json` writes.

use super::run::Result;
use crate::campaign::{Canary, Found, Saturation};
use crate::report::Class;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Serialize)]
struct Line<'a> {
    ok: bool,
    exit_code: u8,
    runs: u64,
    ops: u64,
    steps: u64,
    crashes: u64,
    recovery_crashes: u64,
    close_crashes: u64,
    kills: u64,
    switches: u64,
    copies: u64,
    promoted_merges: u64,
    crash_images: u64,
    sectors_compared: u64,
    torn_rounds: u64,
    torn_real_rounds: u64,
    faults: u64,
    faults_by_kind: BTreeMap<String, u64>,
    runs_by_profile: BTreeMap<String, u64>,
    seconds: f64,
    cpu_seconds: f64,
    runs_per_s: f64,
    runs_per_cpu_s: f64,
    /// Of all runs, in hexadecimal: the same seeds give the same.
    trace: String,
    saturation: SaturationLine,
    canary: CanaryLine,
    marks_unseen: &'a [String],
    others_unseen: &'a [String],
    coverage_required: bool,
    /// The first one.
    failure: Option<FailureLine<'a>>,
    /// The first one of each other sort.
    more_failures: Vec<FailureLine<'a>>,
    failing_runs: u64,
    /// Of seeds that come to an end.
    runs_undone: u64,
}

/// How much there is left to see: see `campaign::saturation`.
#[derive(Serialize)]
pub(super) struct SaturationLine {
    /// Runs that were watched.
    runs: u64,
    traces: u64,
    /// Probability that the next run's trace is new.
    unseen_traces: f64,
    patterns: u64,
    /// New patterns that the next run brings, on average.
    unseen_patterns: f64,
    /// Of traces, and of patterns: one in so many is kept and counted.
    sample: [u64; 2],
}

impl SaturationLine {
    pub(super) fn of(saturation: &Saturation) -> SaturationLine {
        let (traces, patterns) = (saturation.traces(), saturation.patterns());
        SaturationLine {
            runs: saturation.runs(),
            traces: traces.distinct(),
            unseen_traces: saturation.unseen_traces(),
            patterns: patterns.distinct(),
            unseen_patterns: saturation.unseen_patterns(),
            sample: [traces.one_in(), patterns.one_in()],
        }
    }
}

#[derive(Serialize)]
struct CanaryLine {
    flagged: bool,
    runs: u64,
    checker: Option<&'static str>,
}

#[derive(Serialize)]
struct FailureLine<'a> {
    class: &'static str,
    checker: &'a str,
    message: &'a str,
    run: u64,
    profile: String,
    seed: u64,
    tape: Option<String>,
    replay: String,
}

/// Writes it.
pub(super) fn write(result: &Result<'_>, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
    let (summary, sum) = (result.summary, result.summary.totals.sum());
    let runs = summary.totals.runs();
    let (seconds, cpu_seconds) = (summary.elapsed.as_secs_f64(), summary.cpu.as_secs_f64());
    let faults = sum.faults.iter();
    let mut failures = summary.found.iter().zip(result.tapes).map(failure);
    let line = Line {
        ok: exit_code == 0,
        exit_code,
        runs,
        ops: sum.ops,
        steps: sum.steps,
        crashes: sum.crashes,
        recovery_crashes: sum.recovery_crashes,
        close_crashes: sum.close_crashes,
        kills: sum.kills,
        copies: sum.copies,
        promoted_merges: sum.promoted_merges,
        switches: sum.switches.iter().sum(),
        crash_images: sum.crash_images,
        sectors_compared: sum.sectors_compared,
        torn_rounds: sum.torn_rounds,
        torn_real_rounds: sum.torn_real_rounds,
        faults: sum.faults.total(),
        faults_by_kind: faults
            .map(|(io, fault, count)| (format!("{} {}", io.name(), fault.name()), count))
            .collect(),
        runs_by_profile: summary
            .totals
            .iter()
            .map(|(profile, runs, _)| (profile.to_string(), runs))
            .collect(),
        seconds,
        cpu_seconds,
        runs_per_s: runs as f64 / seconds.max(1e-9),
        runs_per_cpu_s: runs as f64 / cpu_seconds.max(1e-9),
        trace: format!("{:016x}", sum.trace),
        saturation: SaturationLine::of(&summary.saturation),
        canary: match summary.canary {
            Canary::Flagged { runs, checker } => CanaryLine {
                flagged: true,
                runs,
                checker: Some(checker),
            },
            Canary::Alive { runs } => CanaryLine {
                flagged: false,
                runs,
                checker: None,
            },
        },
        marks_unseen: &result.coverage.marks,
        others_unseen: &result.coverage.others,
        coverage_required: result.coverage.large,
        failure: failures.next(),
        more_failures: failures.collect(),
        failing_runs: summary.failing,
        runs_undone: summary.undone,
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

fn failure<'a>((found, tape): (&'a Found, &'a Option<PathBuf>)) -> FailureLine<'a> {
    FailureLine {
        class: match found.failure.class {
            Class::Wrong => "wrong",
            Class::Hang => "hang",
            Class::Panic => "panic",
        },
        checker: found.failure.checker,
        message: &found.failure.message,
        run: found.index,
        profile: found.profile.to_string(),
        seed: found.seed,
        tape: tape.as_ref().map(|path| path.display().to_string()),
        replay: format!(
            "cargo run --release -p sim -- {}",
            found.replay_arguments(tape.as_deref())
        ),
    }
}
