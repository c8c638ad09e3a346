//! The matrix bug × engine, from what was recorded: a page of text for the docs, and a page for a browser.

use super::Engine;
use super::expected::{Record, Recorded, Shrunk};
use super::patch::Patch;
use std::fmt::Write as _;

/// One cell: what a detection cost.
fn cell(record: Option<&Record>) -> String {
    match record {
        None => "not recorded".to_owned(),
        Some(record) if !record.found => "not in budget".to_owned(),
        Some(record) => {
            let seconds = format!("{:.2} s", record.cpu_seconds);
            let cost = record.schedules.map_or(seconds.clone(), |schedules| {
                match schedules {
                    // Before libFuzzer drew anything.
                    0 => format!("stored input · {seconds}"),
                    schedules => format!("{schedules} · {seconds}"),
                }
            });
            match &record.by {
                Some(by) => format!("{cost} ({by})"),
                None => cost,
            }
        }
    }
}

/// The same of the unpatched core.
fn control(record: Option<&Record>) -> String {
    match record {
        None => "not recorded".to_owned(),
        Some(record) if record.found => "**found**".to_owned(),
        Some(record) => {
            let seconds = format!("{:.0} s", record.cpu_seconds);
            let survived = record.survived;
            survived.map_or(seconds.clone(), |runs| format!("{runs} · {seconds}"))
        }
    }
}

fn summary(patches: &[Patch], recorded: &Recorded) -> String {
    let found = |patch: &&Patch| {
        let bug = recorded.bugs.get(&patch.number);
        bug.is_some_and(|bug| bug.values().any(Record::is_by_name))
    };
    let best = |patch: &Patch| {
        let records = recorded.bugs.get(&patch.number)?.values();
        let seconds = records.filter(|record| record.is_by_name());
        seconds
            .map(|record| record.cpu_seconds)
            .min_by(f64::total_cmp)
    };
    let mut seconds: Vec<f64> = patches.iter().filter_map(best).collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or(0.0);
    let worst = seconds.last().copied().unwrap_or(0.0);
    format!(
        "{} of {} bugs are found by a checker that their patch names. CPU seconds of the engine that is quickest: median {median:.2}, \
         worst {worst:.2}.{}",
        patches.iter().filter(found).count(),
        patches.len(),
        shrunk(recorded)
    )
}

/// The tapes of named checkers after shrinking, against what we aim at.
fn shrunk(recorded: &Recorded) -> String {
    let records = recorded.bugs.values().flat_map(|bug| bug.values());
    let named = records.filter(|record| record.is_by_name());
    let tapes: Vec<Shrunk> = named.filter_map(|record| record.shrunk).collect();
    if tapes.is_empty() {
        return String::new();
    }
    let figure = |what: &str, aim: u32, of: fn(&Shrunk) -> f64| {
        let mut all: Vec<f64> = tapes.iter().map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        format!(
            "{what} {} / {} / {aim}",
            all[all.len() / 2],
            all[all.len() - 1]
        )
    };
    let figures = [
        figure("operations", 8, |tape| tape.operations.into()),
        figure("crashes", 1, |tape| tape.crashes.into()),
        figure("switches", 3, |tape| tape.switches.into()),
        figure("seconds", 5, |tape| tape.seconds),
    ];
    format!(
        " Their {} tapes after shrinking (median / most / aim): {}.",
        tapes.len(),
        figures.join(", ")
    )
}

/// For the docs.
pub(super) fn markdown(patches: &[Patch], recorded: &Recorded) -> String {
    let mut text = String::from(
        "# The bug catalogue\n\nMade by `cargo run --release -p sim -- bugs --record`; do not edit.\n\n",
    );
    let _ = writeln!(text, "{}\n", summary(patches, recorded));
    text.push_str(
        "A cell: schedules until detection (median of three bases of seeds where the engine draws) · CPU seconds, builds not \
         counted (the mean of the bases).\n`stored input`: libFuzzer found it in an input that it begins with. Every engine is asked for every bug. Where the patch names no checker of an engine, it gets 10 s and all it has; the \
         checker or test that fired stands in brackets, and counts for nothing. (A bug of one operation is not looked for by the models of \
         another: `not in budget` is what such a cell should say.) The first row: what the core as it is has survived, in ten times the \
         budget of a bug.\n\n| | id | mistake |",
    );
    for engine in Engine::ALL {
        let _ = write!(text, " {engine} |");
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"---|".repeat(Engine::ALL.len()));
    text.push_str("\n| | | none |");
    let unpatched = recorded.bugs.get(&Patch::none().number);
    for engine in Engine::ALL {
        let record = unpatched.and_then(|row| row.get(engine));
        let _ = write!(text, " {} |", control(record));
    }
    text.push('\n');
    for patch in patches {
        let name = patch.name.replace('-', " ");
        let _ = write!(text, "| {} | {} | {name} |", patch.number, patch.id);
        for engine in Engine::ALL {
            let record = recorded
                .bugs
                .get(&patch.number)
                .and_then(|bug| bug.get(engine));
            let _ = write!(text, " {} |", cell(record));
        }
        text.push('\n');
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// For a browser; loads nothing from elsewhere.
pub(super) fn html(patches: &[Patch], recorded: &Recorded) -> String {
    let mut text = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>The bug catalogue</title>\n<style>\n\
         body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:3px 8px;text-align:left}\n\
         .found{background:#dff0d8}.missed{background:#f6d5d5}.unknown{color:#bbb}pre{white-space:pre-wrap;margin:.5em 0}\n\
         </style>\n<h1>The bug catalogue</h1>\n",
    );
    let _ = writeln!(
        text,
        "<p>{}</p>\n<table><tr><th></th><th>id</th><th>mistake</th>",
        summary(patches, recorded)
    );
    for engine in Engine::ALL {
        let _ = write!(text, "<th>{engine}</th>");
    }
    text.push_str("</tr>\n<tr><td></td><td></td><td>none</td>");
    let unpatched = recorded.bugs.get(&Patch::none().number);
    for engine in Engine::ALL {
        let record = unpatched.and_then(|row| row.get(engine));
        let _ = write!(text, "<td>{}</td>", control(record));
    }
    text.push_str("</tr>\n");
    for patch in patches {
        let header = patch.text.split("\ndiff ").next().unwrap_or("");
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td><details><summary>{}</summary><pre>{}</pre></details></td>",
            patch.number,
            patch.id,
            escaped(&patch.name.replace('-', " ")),
            escaped(header)
        );
        for engine in Engine::ALL {
            let record = recorded
                .bugs
                .get(&patch.number)
                .and_then(|bug| bug.get(engine));
            let class = match record {
                None => "unknown",
                Some(record) if record.found => "found",
                Some(_) => "missed",
            };
            let _ = write!(text, "<td class=\"{class}\">{}</td>", cell(record));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></html>\n");
    text
}
