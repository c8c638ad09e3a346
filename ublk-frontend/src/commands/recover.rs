//! `recover`: a new server for a device whose server is gone.

use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::{add, detach, folder, refused};
use crate::cli::Recover;
use crate::files::id_of;
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::ctrl::Control;
use crate::ublk::server::Task;
use crate::ublk::state::{Folder, Record};
use crate::ublk::sys::state;

/// How long a server that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Recovers one device, or all that need it, and prints their paths.
pub fn run(asked: &Recover, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder()?;
    let ids = match asked.id {
        Some(id) => vec![id],
        None => needy(&folder)?,
    };
    if asked.foreground && ids.len() != 1 {
        return Err(refused("--foreground needs the number of one device"));
    }
    let mut failed = None;
    for id in ids {
        if asked.foreground || detach::is_background() {
            let record = record(&folder, id)?;
            return add::work(&folder, Task::Recover(Box::new(record)), out);
        }
        let result = record(&folder, id)
            .and_then(|_| detach::start(&["recover".into(), id.to_string().into()]))
            .and_then(|path| out.line(path));
        if let Err(error) = result {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn record(folder: &Folder, id: u32) -> Result<Record, ToolError> {
    let Some(record) = folder.load(id)? else {
        return Err(refused(format!(
            "device {id}: there is no record of it in {}",
            folder.path().display()
        )));
    };
    // A server that was just killed holds its lock until its last I/O has ended.
    let until = Instant::now() + PATIENCE;
    while folder.is_served(id)? {
        if Instant::now() >= until {
            return Err(refused(format!(
                "device {id} is served by process {}",
                record.pid
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(record)
}

/// Devices that have a record, a disk, and no server.
fn needy(folder: &Folder) -> Result<Vec<u32>, ToolError> {
    let mut control = Control::open().map_err(|e| refused(e.to_string()))?;
    let mut ids = Vec::new();
    for id in folder.ids()? {
        let waits = control.info(id).is_ok_and(|info| info.state != state::DEAD);
        if waits && !folder.is_served(id)? {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The device without a server, if there is one, that writes to one of these images. It has yet to be recovered or removed:
/// its server may have acknowledged what the image does not show.
pub(crate) fn claims(folder: &Folder, images: &[PathBuf]) -> Result<Option<u32>, ToolError> {
    let ours: Vec<_> = images.iter().filter_map(|image| id_of(image)).collect();
    for id in needy(folder)? {
        let Some(record) = folder.load(id)? else {
            continue;
        };
        let top = record.images.last().and_then(|top| id_of(top));
        if !record.read_only && top.is_some_and(|top| ours.contains(&top)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The record of a device that serves exactly these images, has a disk, and no server.
pub(crate) fn left_behind(
    folder: &Folder,
    images: &[PathBuf],
) -> Result<Option<Record>, ToolError> {
    for id in needy(folder)? {
        if let Some(record) = folder.load(id)?
            && record.images == images
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}
