//! `list`: our devices.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::{folder, refused};
use crate::cli::List;
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::ctrl::{Control, disk_node};
use crate::ublk::setup::is_ours;
use crate::ublk::sys::state;

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    id: u32,
    device: PathBuf,
    state: &'static str,
    pid: Option<u32>,
    images: Vec<PathBuf>,
    read_only: bool,
}

/// Prints them.
pub fn run(asked: &List, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder()?;
    let mut control = Control::open().map_err(|e| refused(e.to_string()))?;
    let mut rows = Vec::new();
    for id in folder.ids()? {
        let served = folder.is_served(id)?;
        let Some(record) = folder.load_if_whole(id) else {
            if folder.has_record(id) {
                rows.push(Row {
                    id,
                    device: disk_node(id),
                    state: "damaged record",
                    pid: None,
                    images: Vec::new(),
                    read_only: false,
                });
            }
            continue;
        };
        let state = match control.info(id) {
            Err(_) => "gone",
            Ok(info) if info.state == state::DEAD => "stopped",
            Ok(_) if folder.is_changing(id)? => "is being changed",
            Ok(_) if served => "live",
            // Somebody else has got its number.
            Ok(info) if !is_ours(&info, &record) => "gone",
            Ok(_) => "waits for recover",
        };
        rows.push(Row {
            id,
            device: disk_node(id),
            state,
            pid: served.then_some(record.pid),
            images: record.images,
            read_only: record.read_only,
        });
    }
    if asked.json {
        return out.json(&rows);
    }
    for row in rows {
        let images: Vec<String> = row
            .images
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        out.line(format_args!(
            "{:<14} {:<18} {}{}",
            row.device.display(),
            row.state,
            images.join(" "),
            if row.read_only { " (read-only)" } else { "" }
        ))?;
    }
    Ok(())
}
