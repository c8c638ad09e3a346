//! The figures as people and as programs read them.

use std::fmt::Write;

use super::figures::Figures;
use super::rublk::VERSION;
use crate::rows::{LOADS, Quantity, Row};

/// Width of a name and of a figure.
const NAME: usize = 15;
const CELL: usize = 15;

/// Four digits at most.
fn short(value: f64) -> String {
    match value {
        v if v >= 9_999_500.0 => format!("{:.1}M", v / 1e6),
        v if v >= 99_950.0 => format!("{:.0}k", v / 1e3),
        v if v >= 9_995.0 => format!("{:.1}k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// A table for each quantity and depth.
pub(super) fn text(rows: &[Row], only: Option<Quantity>, figures: &Figures) -> String {
    let mut text = format!(
        "Linux {}, rublk {VERSION}; medians of {} rounds; x: against {}\n",
        figures.kernel.name(),
        figures.rounds,
        Row::BASE.name()
    );
    for found in &figures.meters {
        let _ = writeln!(text, "{found}");
    }
    let quantities = Quantity::ALL.into_iter();
    for quantity in quantities.filter(|q| only.is_none_or(|only| only == *q)) {
        for &depth in quantity.depths() {
            let title = match quantity {
                Quantity::Instructions => {
                    "instructions of the whole guest for an I/O (less is better)"
                }
                Quantity::Iops => "I/Os a second (more is better)",
            };
            let _ = writeln!(text, "\n{title}, {depth} under way");
            let _ = write!(text, "{:<NAME$}", "");
            for load in &LOADS {
                let _ = write!(text, "{:>CELL$}", load.name);
            }
            let _ = writeln!(text);
            for &row in rows {
                line(&mut text, quantity, depth, row, figures);
            }
        }
    }
    for what in figures.of_guests() {
        let _ = writeln!(text, "\nNOT WHOLE: {what}");
    }
    text
}

fn line(text: &mut String, quantity: Quantity, depth: u64, row: Row, figures: &Figures) {
    let _ = write!(text, "{:<NAME$}", row.name());
    if let Some(why) = figures.why(row) {
        let _ = writeln!(text, "  not measured: {why}");
        return;
    }
    for load in &LOADS {
        let value = |row| figures.median(quantity, row, load.name, depth);
        let cell = match (value(row), value(Row::BASE)) {
            (Some(value), Some(base)) => format!("{} {:.2}x", short(value), value / base),
            (Some(value), None) => short(value),
            (None, _) => "-".to_owned(),
        };
        let _ = write!(text, "{cell:>CELL$}");
    }
    let _ = writeln!(text);
}

/// All of it.
pub(super) fn json(rows: &[Row], figures: &Figures) -> String {
    let mut all = Vec::new();
    for &row in rows {
        let mut values = serde_json::Map::new();
        for quantity in Quantity::ALL {
            for &depth in quantity.depths() {
                for load in &LOADS {
                    if let Some(value) = figures.median(quantity, row, load.name, depth) {
                        let key = format!("{}/{}/{depth}", quantity.name(), load.name);
                        values.insert(key, value.into());
                    }
                }
            }
        }
        all.push(serde_json::json!({
            "row": row.name(),
            "not-measured": figures.why(row),
            "values": values,
        }));
    }
    let whole = serde_json::json!({
        "kernel": figures.kernel.name(),
        "rublk": VERSION,
        "rounds": figures.rounds,
        "meters": figures.meters,
        "wrong": figures.of_guests().collect::<Vec<_>>(),
        "rows": all,
    });
    format!("{whole:#}")
}
