//! `sim merge`: one result of the reports of all shards.

use super::run::Result as Whole;
use super::{USAGE, table};
use crate::campaign::coverage::Coverage;
use crate::campaign::outcome::{self, Failed, Merged, Sort};
use crate::campaign::{Canary, Summary, quoted};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Serialize)]
struct Line<'a> {
    ok: bool,
    exit_code: u8,
    shards: u64,
    missing: &'a [u64],
    /// Shards whose canaries were not flagged.
    blind: &'a [u64],
    runs: u64,
    ops: u64,
    crashes: u64,
    crash_images: u64,
    sectors_compared: u64,
    faults: u64,
    seconds: f64,
    cpu_seconds: f64,
    trace: String,
    saturation: super::json::SaturationLine,
    marks_unseen: &'a [String],
    others_unseen: &'a [String],
    coverage_required: bool,
    failures: Vec<FailureLine<'a>>,
    failing_runs: u64,
    /// Runs that shards did not do, by shard.
    undone: &'a [(u64, u64)],
}

#[derive(Serialize)]
struct FailureLine<'a> {
    checker: &'a str,
    message: &'a str,
    shards: u64,
    seed: u64,
    replay: String,
}

/// The command.
pub(super) fn merge(folders: &[PathBuf], json: bool, out: &mut dyn Write) -> io::Result<u8> {
    let merged = match outcome::merge(folders) {
        Ok(merged) => merged,
        Err(error) => {
            eprintln!("sim: {error}");
            return Ok(USAGE);
        }
    };
    let summary = Summary {
        totals: merged.totals.clone(),
        saturation: merged.saturation.clone(),
        elapsed: merged.elapsed,
        cpu: merged.cpu,
        canary: match merged.blind.as_slice() {
            [] => Canary::Flagged {
                runs: 1,
                checker: "in each shard",
            },
            _ => Canary::Alive { runs: 0 },
        },
        found: Vec::new(),
        failing: merged.failing,
        undone: merged.undone.iter().map(|(_, runs)| runs).sum(),
    };
    let time = merged
        .time
        .map(|time| time.saturating_mul(u32::try_from(merged.shards).unwrap_or(u32::MAX)));
    let coverage = Coverage::of(time, &summary, merged.unseen.clone());
    let code = exit_code(&merged, &coverage);
    if json {
        write_json(&merged, &summary, &coverage, code, out)?;
    } else {
        let shards = merged.shards - merged.missing.len() as u64;
        writeln!(out, "{shards} of {} shards", merged.shards)?;
        let whole = Whole {
            summary: &summary,
            coverage: &coverage,
            tapes: &[],
        };
        table::write(&whole, out)?;
        out.flush()?;
    }
    complain(&merged, &coverage);
    Ok(code)
}

/// The worst failure's own; else 2 for a shard that proves nothing or too little coverage; else 1 for missing shards.
fn exit_code(merged: &Merged, coverage: &Coverage) -> u8 {
    let worst = merged
        .sorts
        .iter()
        .map(|sort| sort.first.class.exit_code())
        .max();
    match worst {
        Some(code) => code,
        None if !merged.blind.is_empty() => 2,
        None if !merged.missing.is_empty() => USAGE,
        None if coverage.is_red() => 2,
        None => 0,
    }
}

fn replay(sort: &Sort) -> String {
    let Failed {
        profile,
        seed,
        engine,
        ..
    } = &sort.first;
    match &sort.tape {
        Some(tape) => format!("replay {}", quoted(tape)),
        None => {
            format!("run --profile {profile} --seeds {seed}..={seed} --jobs 1 --engine {engine}")
        }
    }
}

fn complain(merged: &Merged, coverage: &Coverage) {
    let list = |numbers: &[u64]| {
        let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
        numbers.join(", ")
    };
    if !merged.missing.is_empty() {
        eprintln!("\nno report of shard {}", list(&merged.missing));
    }
    for (shard, runs) in &merged.undone {
        let runs = table::grouped(*runs);
        eprintln!(
            "\nshard {shard}: {runs} runs of its share not done: it had found enough, or its time was up"
        );
    }
    if !merged.blind.is_empty() {
        eprintln!(
            "\nFAILURE [canary] a lying disk was not flagged in shard {}",
            list(&merged.blind)
        );
    }
    for sort in &merged.sorts {
        let failed = &sort.first;
        eprintln!(
            "\nFAILURE in {} shards (profile {}, seed {})\n{:?} [{}] {}\nreplay: cargo run --release -p sim -- {}",
            sort.shards,
            failed.profile,
            failed.seed,
            failed.class,
            failed.checker,
            failed.message,
            replay(sort)
        );
    }
    if merged.sorts.is_empty() && merged.missing.is_empty() && coverage.is_red() {
        eprintln!("\nFAILURE [coverage] a campaign of this size must see everything");
    }
}

fn write_json(
    merged: &Merged,
    summary: &Summary,
    coverage: &Coverage,
    exit_code: u8,
    out: &mut dyn Write,
) -> io::Result<()> {
    let sum = summary.totals.sum();
    let line = Line {
        ok: exit_code == 0,
        exit_code,
        shards: merged.shards,
        missing: &merged.missing,
        blind: &merged.blind,
        runs: summary.totals.runs(),
        ops: sum.ops,
        crashes: sum.crashes,
        crash_images: sum.crash_images,
        sectors_compared: sum.sectors_compared,
        faults: sum.faults.total(),
        seconds: merged.elapsed.as_secs_f64(),
        cpu_seconds: merged.cpu.as_secs_f64(),
        trace: format!("{:016x}", sum.trace),
        saturation: super::json::SaturationLine::of(&merged.saturation),
        marks_unseen: &coverage.marks,
        others_unseen: &coverage.others,
        coverage_required: coverage.large,
        failures: merged
            .sorts
            .iter()
            .map(|sort| FailureLine {
                checker: &sort.first.checker,
                message: &sort.first.message,
                shards: sort.shards,
                seed: sort.first.seed,
                replay: format!("cargo run --release -p sim -- {}", replay(sort)),
            })
            .collect(),
        failing_runs: merged.failing,
        undone: &merged.undone,
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}
