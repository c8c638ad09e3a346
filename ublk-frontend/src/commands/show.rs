//! `info` of a device.

use std::io::Write;

use super::tell::question;
use super::topology::being_changed;
use super::{folder, refused};
use crate::ring::promotion::State;
use crate::size::Human;
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::report::Report;
use crate::ublk::socket::{Answer, Question};

/// Prints what the server of a device says.
pub fn run(id: u32, json: bool, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder()?;
    match question(&folder, id, Question::Info)? {
        Some(Answer::Info(report)) if json => out.json(&report),
        Some(Answer::Info(report)) => print(&report, out),
        Some(other) => Err(refused(format!("device {id}: a strange answer: {other:?}"))),
        None if folder.is_changing(id)? => Err(refused(being_changed(id))),
        None if folder.load(id)?.is_some() => Err(refused(format!(
            "device {id} has no server (`ploop-ublk recover {id}` starts one)"
        ))),
        None => Err(refused(format!("there is no device {id} of ours"))),
    }
}

fn print(report: &Report, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let mut row =
        |name: &str, value: String| out.line(format_args!("{:<14} {value}", format!("{name}:")));
    let yes = |yes| if yes { "yes" } else { "no" };
    row("device", report.device.display().to_string())?;
    row("server", format!("process {}", report.pid))?;
    for image in &report.images {
        row("image", image.display().to_string())?;
    }
    row(
        "size",
        format!("{} ({} bytes)", Human(report.size), report.size),
    )?;
    row(
        "clusters",
        format!(
            "{} of {} mapped, {} free in the file",
            report.mapped_clusters,
            Human(report.cluster_size),
            report.free_clusters
        ),
    )?;
    row("block size", report.block_size.to_string())?;
    row(
        "queues",
        format!("{} of {} requests", report.queues, report.depth),
    )?;
    row("read-only", yes(report.read_only).into())?;
    row("direct I/O", yes(report.direct).into())?;
    row("zero copy", yes(report.zero_copy).into())?;
    row("flags", report.flags.join(" "))?;
    row(
        "index",
        format!("{} pages not on disk yet", report.dirty_pages),
    )?;
    if let Some(now) = &report.promotion
        && now.state == State::Running
    {
        let text = format!("{} of {} clusters are copied up", now.done, now.total);
        row("merge", text)?;
    }
    if let Some(now) = &report.merge {
        let text = format!(
            "{} of {} clusters of a lower image are copied",
            now.done, now.total
        );
        row("merge", text)?;
    }
    if report.waits_for_space {
        row("state", "REQUESTS WAIT FOR SPACE in the file system".into())?;
    }
    if report.sync_failed {
        row(
            "state",
            "A SYNC HAS FAILED: nothing more becomes durable; stop, check, and add again".into(),
        )?;
    }
    let counters = &report.counters;
    for (name, count) in &counters.requests {
        row(name, count.to_string())?;
    }
    row("in flight", counters.in_flight.to_string())?;
    row("failed", counters.failed.to_string())?;
    row("cross-queue", counters.mail.to_string())?;
    for percent in [50.0, 99.0, 99.9] {
        if let Some(micros) = counters.percentile(percent) {
            row(&format!("latency {percent}%"), format!("{micros} µs"))?;
        }
    }
    Ok(())
}
