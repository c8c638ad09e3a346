//! Short names of operations, I/Os and values.

use super::fate::Fate;
use crate::world::chain;
use crate::world::shape::Shape;
use model::op::{End, Kind, Op, Value};
use ploop_core::{IoOp, Outcome};

/// "write c3 (s9-11)": an operation, its first guest cluster, its guest sectors.
pub(super) fn op(op: Op, shape: &Shape) -> String {
    let kind = match op.kind {
        Kind::Read => "read",
        Kind::Write { preflush, fua } => match (preflush, fua) {
            (false, false) => "write",
            (false, true) => "FUA write",
            (true, false) => "flush + write",
            (true, true) => "flush + FUA write",
        },
        Kind::WriteZeroes { fua, unmap } => match (fua, unmap) {
            (false, false) => "zero in place",
            (false, true) => "zero",
            (true, false) => "FUA zero in place",
            (true, true) => "FUA zero",
        },
        Kind::Discard => "discard",
        Kind::Promote { .. } => "promote",
        Kind::Flush => return "flush".to_owned(),
    };
    let (first, last) = (
        op.start / shape.cluster,
        (op.start + op.len.max(1) - 1) / shape.cluster,
    );
    let clusters = if first == last {
        format!("cluster {first}")
    } else {
        format!("clusters {first}-{last}")
    };
    format!("{kind} {clusters}, {}", sectors(op.start, op.len))
}

/// "sector 9" or "sectors 9-11".
pub(super) fn sectors(start: u64, len: u64) -> String {
    match len {
        0 => "no sector".to_owned(),
        1 => format!("sector {start}"),
        _ => format!("sectors {start}-{}", start + len - 1),
    }
}

pub(super) fn end(end: End) -> &'static str {
    match end {
        End::Ok => "ok",
        End::Io => "I/O error",
        End::NoSpace => "no space",
    }
}

fn value(value: Value) -> String {
    match (value, chain::origin(value.write())) {
        (Value::ZERO, _) => "0".to_owned(),
        (_, Some(origin)) => origin,
        (_, None) => format!("w{}", value.write()),
    }
}

/// A checker's message, with names for what was there before the run began: those writes have huge numbers.
pub(crate) fn plain(message: &str) -> String {
    let mut words = Vec::new();
    let mut list = message.split(' ').peekable();
    while let Some(word) = list.next() {
        let digits = |word: &&str| {
            word.trim_end_matches(|c: char| !c.is_ascii_digit())
                .parse()
                .ok()
        };
        let number: Option<u32> = list.peek().and_then(digits);
        match number.and_then(chain::origin).filter(|_| word == "write") {
            Some(origin) => {
                let next = list.next().unwrap_or("");
                let tail = next.trim_start_matches(|c: char| c.is_ascii_digit());
                words.push(format!("{origin}{tail}"));
            }
            None => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

/// "1 crash", "2 crashes".
pub(super) fn counted(count: u32, name: &str) -> String {
    let one = match name {
        "crashes" => "crash",
        "switches" => "switch",
        name => name.trim_end_matches('s'),
    };
    format!("{count} {}", if count == 1 { one } else { name })
}

/// What was read, runs of the same write together.
pub(super) fn values(read: &[Value]) -> String {
    let runs = read.chunk_by(|a, b| a.write() == b.write());
    let names = runs.map(|run| match run.len() {
        1 => value(run[0]),
        times => format!("{}×{times}", value(run[0])),
    });
    names.collect::<Vec<_>>().join(" ")
}

/// An I/O, and where in its file.
pub(super) fn io(op: &IoOp) -> String {
    match op {
        IoOp::Read { level, at, len, .. } => {
            format!("fetch file {} {}", level.0, sectors(at.0, len.0))
        }
        IoOp::ReadHole { len, .. } => format!("zeros for {} unmapped", sectors_count(len.0)),
        IoOp::Write { at, len, fua, .. } => {
            let kind = if *fua { "FUA data" } else { "data" };
            format!("{kind} to host {}", sectors(at.0, len.0))
        }
        IoOp::Zero { at, len, punch, .. } => {
            let kind = if *punch { "zero or punch" } else { "zero" };
            format!("{kind} host {}", sectors(at.0, len.0))
        }
        IoOp::Copy {
            level,
            from,
            to,
            len,
            ..
        } => format!(
            "copy file {} sector {} to host {}",
            level.0,
            from.0,
            sectors(to.0, len.0)
        ),
        IoOp::SetLen { len, .. } => format!("extend file to {} sectors", len.0),
        IoOp::WriteIndex { page, .. } => format!("index page {}", page.0),
        IoOp::PunchHole { at, len, .. } => format!("punch host {}", sectors(at.0, len.0)),
        IoOp::Sync { .. } => "sync".to_owned(),
    }
}

fn sectors_count(len: u64) -> String {
    match len {
        1 => "1 sector".to_owned(),
        len => format!("{len} sectors"),
    }
}

pub(super) fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Short { bytes } => format!("SHORT, {bytes} bytes"),
        Outcome::Failed(failure) => format!("FAILED, {failure:?}"),
    }
}

/// The step that made a failure much more likely.
pub(super) fn rise(before: &Fate, after: &Fate) -> String {
    format!(
        "The largest rise before that: step {}, {}, from {:.0} % to {:.0} %.",
        after.step,
        after.name,
        100.0 * before.rate(),
        100.0 * after.rate()
    )
}
