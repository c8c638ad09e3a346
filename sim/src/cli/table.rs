//! The tables that people read.

use super::run::Result;
use crate::campaign::coverage::{LARGE_OPS, LARGE_TIME};
use crate::campaign::{Canary, Saturation, Sketch};
use crate::disk::fault::{FaultCounts, FaultKind, IoKind};
use std::io::{self, Write};

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes the result of a campaign.
pub(super) fn write(result: &Result<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (summary, sum) = (result.summary, result.summary.totals.sum());
    let runs = summary.totals.runs();
    let mixed: Vec<String> = summary
        .totals
        .iter()
        .map(|(profile, runs, _)| format!("{profile} {}", grouped(runs)))
        .collect();
    let rate = runs as f64 / summary.elapsed.as_secs_f64().max(1e-9);
    let of_core = runs as f64 / summary.cpu.as_secs_f64().max(1e-9);
    let rows = [
        ("runs", runs, mixed.join(", ")),
        ("operations", sum.ops, String::new()),
        ("steps", sum.steps, String::new()),
        ("crashes", sum.crashes, String::new()),
        ("  inside a recovery", sum.recovery_crashes, String::new()),
        ("  inside a close", sum.close_crashes, String::new()),
        ("servers killed", sum.kills, String::new()),
        ("images left, not durable", sum.left, String::new()),
        ("live copies compared", sum.copies, String::new()),
        ("chains changed", sum.switches.iter().sum(), String::new()),
        ("  with a power cut in it", sum.switch_cuts, String::new()),
        ("  by a promotion", sum.promoted_merges, String::new()),
        ("crash images", sum.crash_images, String::new()),
        (
            "  with a torn round",
            sum.torn_rounds,
            format!("{} of them in real geometry", grouped(sum.torn_real_rounds)),
        ),
        ("sectors compared", sum.sectors_compared, String::new()),
        ("faults injected", sum.faults.total(), String::new()),
        (
            "runs per second",
            rate as u64,
            format!(
                "{} s; {} per second of one core",
                (summary.elapsed.as_secs_f64() * 10.0).round() / 10.0,
                grouped(of_core as u64)
            ),
        ),
    ];
    writeln!(out)?;
    for (name, number, note) in rows {
        let line = format!("{name:<20} {:>16}  {note}", grouped(number));
        writeln!(out, "{}", line.trim_end())?;
    }
    saturation(&summary.saturation, out)?;
    faults(&sum.faults, out)?;
    writeln!(out)?;
    match summary.canary {
        Canary::Flagged { runs, checker } => {
            writeln!(out, "canary: run {runs} flagged by checker \"{checker}\"")?;
        }
        Canary::Alive { runs } => writeln!(out, "canary: NOT FLAGGED in {runs} runs")?,
    }
    coverage(result, out)
}

/// What was seen, and how much was not.
fn saturation(saturation: &Saturation, out: &mut dyn Write) -> io::Result<()> {
    let sample = |of: &Sketch| match of.one_in() {
        1 => String::new(),
        one_in => format!("; one in {} counted", grouped(one_in)),
    };
    let (traces, patterns) = (saturation.traces(), saturation.patterns());
    writeln!(
        out,
        "{:<20} {:>16}",
        "runs watched",
        grouped(saturation.runs())
    )?;
    writeln!(
        out,
        "{:<20} {:>16}  unseen {:.4}: the next run's trace is new so likely{}",
        "distinct traces",
        grouped(traces.distinct()),
        saturation.unseen_traces(),
        sample(traces)
    )?;
    writeln!(
        out,
        "{:<20} {:>16}  unseen {:.4}: so many new ones in the next run{}",
        "distinct patterns",
        grouped(patterns.distinct()),
        saturation.unseen_patterns(),
        sample(patterns)
    )
}

fn faults(counts: &FaultCounts, out: &mut dyn Write) -> io::Result<()> {
    if counts.total() == 0 {
        return Ok(());
    }
    write!(out, "\n{:<10}", "faults")?;
    for fault in FaultKind::ALL {
        write!(out, " {:>12}", fault.name())?;
    }
    writeln!(out)?;
    for io in IoKind::ALL {
        let mut line = format!("  {:<8}", io.name());
        for fault in FaultKind::ALL {
            let count = if fault.can_hit(io) {
                grouped(counts.get(io, fault))
            } else {
                String::new()
            };
            line += &format!(" {count:>12}");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn coverage(result: &Result<'_>, out: &mut dyn Write) -> io::Result<()> {
    let coverage = result.coverage;
    if coverage.is_complete() {
        return writeln!(
            out,
            "every mark seen, every fault on every kind of I/O, torn rounds, crashes inside a recovery"
        );
    }
    if !coverage.marks.is_empty() {
        writeln!(out, "marks not seen: {}", coverage.marks.join(", "))?;
    }
    if !coverage.others.is_empty() {
        writeln!(out, "never happened: {}", coverage.others.join(", "))?;
    }
    if !coverage.large {
        writeln!(
            out,
            "(required from {} operations on, or --time {}s)",
            grouped(LARGE_OPS),
            LARGE_TIME.as_secs()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
