//! `map`: which range of the disk stands where.

use std::io::Write;

use serde::Serialize;

use super::ToolError;
use super::load::{Trust, open_stack};
use super::output::Output;
use super::stack::{Extent, Place, Stack};
use crate::cli::Map;

/// An extent as `qemu-img map --output=json` prints it. Positions and lengths are in bytes.
#[derive(Debug, Serialize)]
struct Row {
    start: u64,
    length: u64,
    /// 0 = the top (last) file; for a hole the oldest file, which is the last one asked.
    depth: usize,
    present: bool,
    zero: bool,
    data: bool,
    compressed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

impl Row {
    fn of(extent: &Extent, oldest: usize) -> Row {
        let (depth, offset) = match extent.place {
            Place::Hole => (oldest, None),
            Place::At { level, sector } => (oldest - level, Some(sector.bytes())),
        };
        Row {
            start: extent.start.bytes(),
            length: extent.len.bytes(),
            depth,
            present: offset.is_some(),
            zero: offset.is_none(),
            data: offset.is_some(),
            compressed: false,
            offset,
        }
    }
}

/// Prints the map, a line or a JSON object an extent.
pub fn run(asked: &Map, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let stack = open_stack(&asked.stack, Trust::Sound)?;
    if asked.json {
        print_json(&stack, out)
    } else {
        print_table(&stack, out)
    }
}

fn print_json(stack: &Stack, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let oldest = stack.levels().len() - 1;
    let mut before = "[";
    for extent in stack.extents() {
        let row = serde_json::to_string(&Row::of(&extent, oldest))
            .map_err(|e| ToolError::Output(e.into()))?;
        out.text(format_args!("{before}{row}"))?;
        before = ",\n";
        if out.is_closed() {
            return Ok(());
        }
    }
    out.line(if before == "[" { "[]" } else { "]" })
}

fn print_table(stack: &Stack, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    out.line(format_args!(
        "{:<16} {:<16} {:<16} file",
        "start", "length", "offset"
    ))?;
    for extent in stack.extents() {
        let (start, len) = (extent.start.bytes(), extent.len.bytes());
        match extent.place {
            Place::Hole => out.line(format_args!("{start:<16} {len:<16} {:<16} (zeros)", "-"))?,
            Place::At { level, sector } => {
                let file = &stack.levels()[level].delta.name;
                out.line(format_args!(
                    "{start:<16} {len:<16} {:<16} {file}",
                    sector.bytes()
                ))?;
            }
        }
        if out.is_closed() {
            return Ok(());
        }
    }
    Ok(())
}
