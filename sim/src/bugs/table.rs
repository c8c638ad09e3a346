//! What is printed: a line a bug while it goes on, then the table or a line of JSON a bug.

use super::{Cell, Options, Other, Row, Small};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct JsonRow<'a> {
    number: &'a str,
    id: &'a str,
    name: &'a str,
    ok: bool,
    engines: Vec<JsonCell<'a>>,
}

#[derive(Serialize)]
struct JsonCell<'a> {
    engine: &'a str,
    checker: Option<String>,
    found: bool,
    message: Option<&'a str>,
    schedules: Option<u64>,
    /// If there are more than ten times as many schedules as these: what was recorded.
    recorded: Option<u64>,
    cpu_seconds: f64,
    others: &'a [Other],
    /// Of those, what is red.
    strangers: &'a [Other],
    trouble: Option<String>,
    cached: bool,
    small: Option<&'a Small>,
}

/// The last row, as soon as it is known.
pub(super) fn progress(rows: &[Row], options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let Some(row) = rows.last() else {
        return Ok(());
    };
    if options.json {
        serde_json::to_writer(&mut *out, &json(row))?;
        writeln!(out)?;
    } else {
        write_row(row, out)?;
    }
    out.flush()
}

/// The verdict on all.
pub(super) fn write(rows: &[Row], options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let bugs = rows
        .iter()
        .filter(|row| !row.is_control() && !row.is_left_out());
    let (found, all) = (
        bugs.clone().filter(|row| row.is_well()).count(),
        bugs.clone().count(),
    );
    let bad: Vec<&str> = rows
        .iter()
        .filter(|row| !row.is_well() && !row.is_left_out())
        .map(|row| row.number.as_str())
        .collect();
    if !options.json {
        if all > 0 {
            writeln!(out, "{found} of {all} bugs found by their named checkers")?;
        }
        let cells = rows.iter().flat_map(|row| &row.cells);
        let verdicts = cells.filter_map(|cell| cell.result.as_ref().ok());
        let small: Vec<&Small> = verdicts.filter_map(|one| one.small.as_ref()).collect();
        if let Some(line) = after_shrinking(&small) {
            writeln!(out, "{line}")?;
        }
    }
    if !bad.is_empty() {
        eprintln!("FAILURE [bugs] {}", bad.join(", "));
    }
    Ok(())
}

/// What the shrunk tapes come to, against what we aim at. `None`: there are none.
fn after_shrinking(small: &[&Small]) -> Option<String> {
    if small.is_empty() {
        return None;
    }
    let figure = |what: &str, aim: u32, of: &dyn Fn(&Small) -> f64, digits: usize| {
        let mut all: Vec<f64> = small.iter().map(|&small| of(small)).collect();
        all.sort_unstable_by(f64::total_cmp);
        let (median, most) = (all[all.len() / 2], all[all.len() - 1]);
        let over = all.iter().filter(|&&one| one > f64::from(aim)).count();
        let over = match over {
            0 => String::new(),
            over => format!(" (over it: {over})"),
        };
        format!("{what} {median:.digits$}, {most:.digits$}, {aim}{over}")
    };
    let figures = [
        figure("operations", 8, &|small| small.after.operations.into(), 0),
        figure("crashes", 1, &|small| small.after.crashes.into(), 0),
        figure("switches", 3, &|small| small.after.switches.into(), 0),
        figure("seconds", 5, &|small| small.seconds, 1),
    ];
    let (tapes, figures) = (small.len(), figures.join("; "));
    Some(format!(
        "after shrinking, {tapes} tapes, median, most and aim: {figures}"
    ))
}

fn write_row(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let ok = match (row.is_well(), row.is_left_out()) {
        (true, _) => "ok ",
        (false, true) => "-  ",
        (false, false) => "BAD",
    };
    writeln!(out, "{ok} {} {:4} {}", row.number, row.id, row.name)?;
    for cell in &row.cells {
        writeln!(out, "      {:11}{}", cell.engine.name(), describe(cell))?;
        if let Some(small) = cell.result.as_ref().ok().and_then(|v| v.small.as_ref()) {
            let Small { before, after, .. } = small;
            writeln!(
                out,
                "{:17}shrunk in {:.1} s: operations {} > {}, crashes {} > {}, switches {} > {}: {}",
                "",
                small.seconds,
                before.operations,
                after.operations,
                before.crashes,
                after.crashes,
                before.switches,
                after.switches,
                small.output
            )?;
        }
        if let Some(then) = cell.outgrown {
            writeln!(
                out,
                "{:17}more than ten times as many schedules as recorded: {then}",
                ""
            )?;
        }
        let others = cell
            .result
            .as_ref()
            .map_or(&[][..], |verdict| &verdict.others);
        let new = cell.strangers.iter().filter(|new| !others.contains(new));
        for other in others.iter().chain(new) {
            let message: String = other.message.chars().take(120).collect();
            let what = match cell.strangers.contains(other) {
                true => "NOT NAMED BY THE PATCH",
                false => "not the named checker",
            };
            writeln!(
                out,
                "{:17}{what}: {} times [{}] {message}",
                "", other.count, other.name
            )?;
        }
    }
    Ok(())
}

fn describe(cell: &Cell) -> String {
    let verdict = match &cell.result {
        Ok(verdict) => verdict,
        Err(trouble) => return trouble.to_string(),
    };
    let runs = match (verdict.median(), verdict.runs) {
        (Some(runs), _) | (None, Some(runs)) => format!("{runs} schedules, "),
        (None, None) => String::new(),
    };
    let cached = if cell.cached { " (known)" } else { "" };
    match (&verdict.found, &cell.expected) {
        (Some(message), Some(expected)) => {
            let message: String = message.chars().take(110).collect();
            format!(
                "[{expected}] {runs}{:.1} CPU s{cached}: {message}",
                verdict.cpu_seconds
            )
        }
        (_, Some(expected)) => format!(
            "[{expected}] not found in budget: {runs}{:.1} CPU s{cached}",
            verdict.cpu_seconds
        ),
        (_, None) => format!("{runs}{:.1} CPU s{cached}", verdict.cpu_seconds),
    }
}

fn json(row: &Row) -> JsonRow<'_> {
    let cells = row.cells.iter().map(|cell| {
        let verdict = cell.result.as_ref().ok();
        JsonCell {
            engine: cell.engine.name(),
            checker: cell.expected.as_ref().map(ToString::to_string),
            found: verdict.is_some_and(|verdict| verdict.found.is_some()),
            message: verdict.and_then(|verdict| verdict.found.as_deref()),
            schedules: verdict.and_then(|verdict| verdict.median().or(verdict.runs)),
            recorded: cell.outgrown,
            cpu_seconds: verdict.map_or(0.0, |verdict| verdict.cpu_seconds),
            others: verdict.map_or(&[], |verdict| &verdict.others),
            strangers: &cell.strangers,
            trouble: cell.result.as_ref().err().map(ToString::to_string),
            cached: cell.cached,
            small: verdict.and_then(|verdict| verdict.small.as_ref()),
        }
    });
    JsonRow {
        number: &row.number,
        id: &row.id,
        name: &row.name,
        ok: row.is_well(),
        engines: cells.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shrink::Counts;

    #[test]
    fn shrunk_tapes_are_held_against_the_aim() {
        let small = |operations, crashes, switches, seconds| Small {
            before: Counts::default(),
            after: Counts {
                operations,
                crashes,
                switches,
                ..Counts::default()
            },
            runs: 1,
            seconds,
            output: String::new(),
        };
        assert_eq!(after_shrinking(&[]), None);
        let all = [
            small(9, 1, 3, 0.26),
            small(2, 0, 0, 7.0),
            small(3, 1, 1, 0.3),
        ];
        let all: Vec<&Small> = all.iter().collect();
        assert_eq!(
            after_shrinking(&all).expect("a line"),
            "after shrinking, 3 tapes, median, most and aim: operations 3, 9, 8 (over it: 1); crashes 1, 1, 1; \
             switches 1, 3, 3; seconds 0.3, 7.0, 5 (over it: 1)"
        );
    }
}
