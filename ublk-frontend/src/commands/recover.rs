//! `recover`: a new server for a device whose server is gone.

use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::served::Served;
use super::topology::being_changed;
use super::{add, del, detach, folder, refused};
use crate::cli::Recover;
use crate::files::id_of;
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::ctrl::Control;
use crate::ublk::notify::Listener;
use crate::ublk::server::Task;
use crate::ublk::setup::{has_no_disk, is_ours};
use crate::ublk::state::{Folder, Record};
use crate::ublk::sys::state;

/// How long a server that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often systemd is told that a start is still waiting, and how much longer it is to wait.
const STILL: Duration = Duration::from_secs(5);
const LONGER: &str =
    "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=waits for a command that changes the device";

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
    let (mut failed, mut all) = (None, Vec::new());
    for id in ids {
        if asked.foreground || detach::is_background() {
            let record = record(&folder, id)?;
            return add::work(
                &folder,
                Task::Recover(Box::new(record)),
                |_| Ok(()),
                asked.json,
                out,
            );
        }
        let mut words = vec!["recover".into(), id.to_string().into()];
        words.extend(asked.json.then(|| "--json".into()));
        let result = record(&folder, id)
            .and_then(|_| detach::start(&words))
            .and_then(|said| match asked.json && asked.all {
                true => {
                    let served = Served::parse(&said);
                    all.push(served.ok_or_else(|| {
                        refused(format!(
                            "device {id} is served, but its server said {said:?}"
                        ))
                    })?);
                    Ok(())
                }
                false => out.line(said),
            });
        if let Err(error) = result {
            failed.get_or_insert(error);
        }
    }
    if asked.json && asked.all {
        out.json_line(&all)?;
    }
    failed.map_or(Ok(()), Err)
}

/// Waits for a command that changes the device, however long it takes.
fn settled(folder: &Folder, id: u32) -> Result<(), ToolError> {
    let systemd = Listener::from_env().unwrap_or_else(|_| Listener::nobody());
    let mut told = None::<Instant>;
    while folder.is_changing(id)? {
        if told.is_none_or(|told| told.elapsed() >= STILL) {
            systemd.tell(LONGER);
            told = Some(Instant::now());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits for a command that changes a device that was made with these words.
pub(crate) fn settle(folder: &Folder, source: &[PathBuf]) -> Result<(), ToolError> {
    for id in folder.ids()? {
        let record = folder.load_if_whole(id);
        if record.is_some_and(|record| record.source == source) {
            settled(folder, id)?;
        }
    }
    Ok(())
}

fn record(folder: &Folder, id: u32) -> Result<Record, ToolError> {
    settled(folder, id)?;
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
        if let Some(record) = folder.load_if_whole(id)
            && is_needy(&mut control, folder, &record)? == Some(Needs::Server)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// A server that was just killed holds its lock until its last I/O has ended.
fn wait_for_the_dead(folder: &Folder, record: &Record) -> Result<(), ToolError> {
    let until = Instant::now() + PATIENCE;
    let id = record.id;
    let process = PathBuf::from(format!("/proc/{}/exe", record.pid));
    // Of a process that is dead and not yet buried there is no program.
    while std::fs::read_link(&process).is_err() && folder.is_served(id)? && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What a device without a server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Another one: it has a disk.
    Server,
    /// Its end: it has none.
    Removal,
}

/// What a device of ours needs that has no server. One that is being changed has a server as good as.
fn is_needy(
    control: &mut Control,
    folder: &Folder,
    record: &Record,
) -> Result<Option<Needs>, ToolError> {
    let id = record.id;
    if control.info(id).is_err() || folder.is_changing(id)? {
        return Ok(None);
    }
    wait_for_the_dead(folder, record)?;
    if folder.is_served(id)? {
        return Ok(None);
    }
    // It may have got a server and lost it again meanwhile.
    let now = folder.load(id)?;
    Ok(match (control.info(id), now) {
        (Ok(info), Some(now)) if is_ours(&info, &now) => Some(match info.state {
            state::DEAD => Needs::Removal,
            _ => Needs::Server,
        }),
        _ => None,
    })
}

/// Why these images are not given to a new device: one that has lost its server writes to one of them, and has yet to be
/// recovered or removed, as its server may have acknowledged what the image does not show; or one is being changed.
pub(crate) fn claims(folder: &Folder, new: &Record) -> Result<Option<String>, ToolError> {
    let ours: Vec<_> = new.images.iter().filter_map(|image| id_of(image)).collect();
    // What the new one would write to must not be under somebody else's disk either.
    let top = new.images.last().filter(|_| !new.read_only);
    let top = top.and_then(|image| id_of(image));
    let mut control = Control::open().map_err(|e| refused(e.to_string()))?;
    for id in folder.ids()? {
        let Some(record) = folder.load_if_whole(id) else {
            if folder.has_record(id) && !folder.is_served(id)? && control.info(id).is_ok() {
                return Ok(Some(format!(
                    "device {id} has lost its server, and nobody knows which images it needs: its record is damaged; `del {id} --force` removes it"
                )));
            }
            continue;
        };
        let has = |path: &PathBuf| id_of(path).is_some_and(|id| ours.contains(&id));
        if !record.images.iter().any(has) {
            continue;
        }
        // Any of them may be written meanwhile; and those of a read-only one have no lock while its server is aside.
        if folder.is_changing(id)? {
            return Ok(Some(being_changed(id)));
        }
        if record.read_only {
            continue;
        }
        let under = |image: &PathBuf| top.is_some() && id_of(image) == top;
        let meets = record.images.last().is_some_and(has) || record.images.iter().any(under);
        if !meets {
            continue;
        }
        match is_needy(&mut control, folder, &record)? {
            None => {}
            Some(Needs::Server) => {
                return Ok(Some(format!(
                    "device {id} has lost its server, and needs this image: `recover {id}`, or remove it with `del {id}`"
                )));
            }
            Some(Needs::Removal) => return Ok(Some(has_no_disk(id))),
        }
    }
    Ok(None)
}

/// The record of a device that was made with these words, or serves exactly these images, has a disk, and no server.
pub(crate) fn left_behind(
    folder: &Folder,
    source: &[PathBuf],
    images: &[PathBuf],
) -> Result<Option<Record>, ToolError> {
    let mut control = Control::open().map_err(|e| refused(e.to_string()))?;
    for id in folder.ids()? {
        let Some(record) = folder.load_if_whole(id) else {
            continue;
        };
        if record.images != images && record.source != source {
            continue;
        }
        settled(folder, id)?;
        wait_for_the_dead(folder, &record)?;
        if folder.is_served(id)? {
            // Not to be taken for another disk: the files may be others by now.
            return Err(refused(format!("device {id} serves it already")));
        }
        match is_needy(&mut control, folder, &record)? {
            None => {}
            // The change may have made another of it.
            Some(Needs::Server) => return folder.load(id),
            // It was killed at its start, or at its end: what it left is written back, and there is a new one.
            Some(Needs::Removal) => del::remove_dead(folder, id, false)?,
        }
    }
    Ok(None)
}
