//! Runs a program with a time limit, its output in one piece, its processor time known.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// It ended by itself and well.
    pub(super) ok: bool,
    /// It was stopped when its time was up.
    pub(super) timed_out: bool,
    /// Standard output and standard error, in the order of writing.
    pub(super) output: String,
    /// Processor time, children that it waited for included.
    pub(super) cpu: Duration,
}

/// Runs `command` for `limit` at the most.
pub(super) fn run(command: &mut Command, limit: Option<Duration>) -> io::Result<Ended> {
    let (mut reader, writer) = io::pipe()?;
    let before = children_cpu();
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    // The command keeps its ends of the pipe: let go of them, or the reader never sees the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let collector = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut timed_out = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            timed_out = true;
            child.kill()?;
            break child.wait()?;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let output = collector
        .join()
        .map_err(|_| io::Error::other("the output was lost"))?;
    Ok(Ended {
        ok: status.success() && !timed_out,
        timed_out,
        output,
        cpu: children_cpu().saturating_sub(before),
    })
}

/// Processor time of all children that were waited for. 0 where the kernel does not tell.
fn children_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the program's name, which is in brackets: field 3 is the state, 16 and 17 are the children's times in ticks.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// The last lines of an output, for a message.
pub(super) fn tail(output: &str, lines: usize) -> String {
    let all: Vec<&str> = output.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
