//! `sim run`: a campaign, its progress, its result.

use super::args::RunArguments;
use super::{USAGE, libfuzzer, table};
use crate::campaign::coverage::Coverage;
use crate::campaign::outcome::{Campaign, Outcome, program};
use crate::campaign::{self, Canary, Found, Plan, Progress, Seeds, Shard, Summary, quoted};
use crate::explain::names::plain;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A campaign with all that is said about it.
pub(super) struct Result<'a> {
    pub(super) summary: &'a Summary,
    pub(super) coverage: &'a Coverage,
    /// The tapes of the failures.
    pub(super) tapes: &'a [Option<PathBuf>],
}

impl Result<'_> {
    /// The exit code: the failure's own; else 2 for a living canary or too little coverage.
    pub(super) fn exit_code(&self) -> u8 {
        let codes = self.summary.found.iter();
        match codes.map(|found| found.failure.class.exit_code()).max() {
            Some(code) => code,
            None if !self.summary.canary.is_flagged() || self.coverage.is_red() => 2,
            None => 0,
        }
    }
}

/// The command.
pub(super) fn run(arguments: &RunArguments, out: &mut dyn Write) -> io::Result<u8> {
    match arguments.libfuzzer() {
        Ok(None) => {}
        Ok(Some(hunt)) => return libfuzzer::run(&hunt, out),
        Err(problem) => {
            eprintln!("sim: {problem}");
            return Ok(USAGE);
        }
    }
    let (plan, folder) = (arguments.plan(), arguments.folder());
    if plan.count() == 0 {
        // Green, and nothing was run: no.
        let (shard, engine) = (plan.shard, plan.engine);
        eprintln!(
            "sim: --shard {shard}: there are fewer pieces of the seeds than shards (engine {engine})"
        );
        return Ok(USAGE);
    }
    let report = arguments.report.is_some();
    carry_out(&plan, &folder, report, arguments.json, out)
}

/// Carries a plan out; a failing run's tape goes to `folder`, and so does a report if one is wanted.
pub(super) fn carry_out(
    plan: &Plan,
    folder: &Path,
    report: bool,
    json: bool,
    out: &mut dyn Write,
) -> io::Result<u8> {
    if !json {
        let which = match plan.seeds {
            Seeds::Base(base) => format!("seed {base}"),
            Seeds::Range { first, last } => format!("seeds {first}..={last}"),
        };
        match plan.shard {
            Shard::WHOLE => writeln!(out, "{which}, {} jobs", plan.jobs)?,
            shard => writeln!(out, "{which}, shard {shard}, {} jobs", plan.jobs)?,
        }
        out.flush()?;
    }
    let bar = bar(plan);
    let summary = campaign::run(plan, |progress| show(&bar, plan, progress));
    bar.finish_and_clear();
    let unseen = ploop_core::verify::unseen();
    let mut coverage = Coverage::of(plan.time, &summary, unseen.clone());
    // A shard need not see everything: all of them together must.
    coverage.large &= plan.shard == Shard::WHOLE;
    let mut code = 0;
    let mut save = |found: &Found| {
        found.save(folder).unwrap_or_else(|error| {
            eprintln!(
                "sim: the tape cannot be saved in {}: {error}",
                folder.display()
            );
            code = USAGE;
            None
        })
    };
    let tapes: Vec<Option<PathBuf>> = summary.found.iter().map(&mut save).collect();
    if report {
        let campaign = Campaign::of(plan, program()?);
        let outcome = Outcome::of(campaign, plan.shard, &summary, unseen, &tapes);
        let path = outcome.save(folder)?;
        eprintln!("report: {}", path.display());
    }
    let result = Result {
        summary: &summary,
        coverage: &coverage,
        tapes: &tapes,
    };
    // The verdict matters more than a tape that could not be saved.
    code = match result.exit_code() {
        0 => code,
        verdict => verdict,
    };
    if json {
        complain_of_all(&result);
        super::json::write(&result, code, out)?;
    } else {
        table::write(&result, out)?;
        out.flush()?;
        complain_of_all(&result);
    }
    verdict(&result);
    Ok(code)
}

fn complain_of_all(result: &Result<'_>) {
    let summary = result.summary;
    for (found, tape) in summary.found.iter().zip(result.tapes) {
        complain(found, tape.as_ref());
    }
    if summary.found.len() > 1 {
        let (failing, sorts) = (table::grouped(summary.failing), summary.found.len());
        eprintln!("\n{failing} runs failed, in {sorts} ways");
    }
}

fn complain(found: &Found, tape: Option<&PathBuf>) {
    eprintln!(
        "\nFAILURE in run {} (profile {}, seed {})\n{}",
        found.index,
        found.profile,
        found.seed,
        plain(&found.failure.to_string())
    );
    if let Some(path) = tape {
        eprintln!("tape:   {}", path.display());
    }
    let sim = "cargo run --release -p sim --";
    eprintln!(
        "replay: {sim} {}",
        found.replay_arguments(tape.map(PathBuf::as_path))
    );
    if let Some(path) = tape {
        let small = path.with_extension("min.tape");
        eprintln!("shrink: {sim} shrink {}", quoted(path));
        eprintln!(
            "explain: {sim} explain {} --html {}",
            quoted(&small),
            quoted(&path.with_extension("html"))
        );
    }
}

/// What is red besides a failed run.
fn verdict(result: &Result<'_>) {
    if let Canary::Alive { runs } = result.summary.canary {
        eprintln!(
            "\nFAILURE [canary] none of {runs} runs on a disk that lies about its syncs was flagged: this campaign \
             proves nothing"
        );
    }
    if result.summary.found.is_empty() && result.coverage.is_red() {
        eprintln!("\nFAILURE [coverage] a campaign of this size must see everything");
    }
}

/// The bar: time if that is limited, else runs. Drawn on a terminal only.
fn bar(plan: &Plan) -> ProgressBar {
    let length = match plan.time {
        Some(time) => time.as_millis() as u64,
        None => plan.count(),
    };
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{elapsed:>4} [{bar:40}] {percent:>3}%  {msg}");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, plan: &Plan, progress: Progress) {
    bar.set_position(match plan.time {
        Some(_) => progress.elapsed.as_millis() as u64,
        None => progress.runs,
    });
    let rate = progress.runs as f64 / progress.elapsed.as_secs_f64().max(1e-3);
    bar.set_message(format!(
        "{} runs, {}/s",
        table::grouped(progress.runs),
        table::grouped(rate as u64)
    ));
}
