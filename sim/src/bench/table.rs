//! The figures beside their budgets.

use super::Figures;
use crate::cli::grouped;
use std::io::{self, Write};

struct Row {
    what: &'static str,
    figure: String,
    at_least: String,
    aim: &'static str,
}

/// Writes the table. A figure that misses its budget is marked.
pub(super) fn write(figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
    let f = figures;
    let rate = |what, value: f64, least: Option<f64>, aim| Row {
        what,
        figure: grouped(value as u64),
        at_least: budget(least, |least| (grouped(least as u64), value >= least)),
        aim,
    };
    let most = |what, value: f64, most: Option<f64>, aim| Row {
        what,
        figure: format!("{value:.1}"),
        at_least: budget(most, |most| (format!("<= {most}"), value <= most)),
        aim,
    };
    let ratio = |what, value: f64, least: Option<f64>, aim| Row {
        what,
        figure: format!("{value:.2} x"),
        at_least: budget(least, |least| (format!("{least} x"), value >= least)),
        aim,
    };
    let rows = [
        rate(
            "simulator, tiny: runs/s per core",
            f.runs_per_s,
            Some(50_000.0),
            "100,000",
        ),
        rate("  steps/s", f.steps_per_s, None, ""),
        ratio("  time with a watch", f.watched_to_unwatched, None, "1.0"),
        most("  operations a run", f.ops_per_run, None, ""),
        most("  crashes a run", f.crashes_per_run, None, ""),
        rate(
            "crash images opened, checked, compared/s per core",
            f.crash_images_per_s,
            Some(50_000.0),
            "100,000",
        ),
        rate(
            "shuttle, 3 tasks x 10 locks: schedules/s",
            f.shuttle_schedules_per_s,
            Some(30_000.0),
            "47,000",
        ),
        rate(
            "explorer, 3 tasks x 10 locks: executions/s",
            f.explorer_executions_per_s,
            Some(500_000.0),
            "1,000,000",
        ),
        most(
            "  3 tasks x 6 locks, all of 46,656 traces: s",
            f.explorer_six_locks_s,
            Some(1.0),
            "",
        ),
        rate(
            "  2 queues on a device with disk and model",
            f.explorer_device_executions_per_s,
            None,
            "",
        ),
        rate(
            "  with crash images at each moment",
            f.explorer_crash_executions_per_s,
            Some(100_000.0),
            "",
        ),
        most(
            "look-up of a mapped cluster, ns (64 pages of 1 M clusters)",
            f.lookup_ns,
            Some(40.0),
            "20",
        ),
        most(
            "  anywhere in 1 M clusters, ns",
            f.lookup_anywhere_ns,
            None,
            "",
        ),
        most("  within one page, ns", f.lookup_one_page_ns, None, ""),
        most("mapped read or write, ns", f.mapped_request_ns, None, ""),
        most(
            "  heap allocations",
            f.allocs_per_mapped_request,
            Some(0.0),
            "0",
        ),
        most(
            "bytes per mapped cluster",
            f.bytes_per_cluster,
            Some(12.0),
            "9",
        ),
        most(
            "  as the allocator counts",
            f.heap_bytes_per_cluster,
            None,
            "",
        ),
        ratio(
            "2 threads: lock a page / two devices",
            f.pages_to_two_devices,
            Some(0.9),
            "0.98",
        ),
        ratio(
            "  pages next to each other",
            f.neighbours_to_two_devices,
            None,
            "",
        ),
        ratio(
            "1 thread: lock a page / one global lock",
            f.pages_to_global_1_thread,
            None,
            "",
        ),
        ratio(
            "2 threads: lock a page / one global lock",
            f.pages_to_global_2_threads,
            None,
            "",
        ),
        ratio("lock a page: 2 threads / 1", f.two_threads_to_one, None, ""),
        ratio(
            "one global lock: 2 threads / 1",
            f.global_two_threads_to_one,
            None,
            "",
        ),
    ];
    writeln!(
        out,
        "{:<58} {:>14} {:>16} {:>9}",
        "", "figure", "at least", "aim"
    )?;
    for row in rows {
        let line = format!(
            "{:<58} {:>14} {:>16} {:>9}",
            row.what, row.figure, row.at_least, row.aim
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A budget as text, marked if it is missed.
fn budget(budget: Option<f64>, judge: impl Fn(f64) -> (String, bool)) -> String {
    budget.map_or_else(String::new, |budget| {
        let (text, met) = judge(budget);
        if met { text } else { format!("MISSED {text}") }
    })
}
