//! `del`: writes everything back, closes the image and removes the device.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::tell::question;
use super::topology::being_changed;
use super::{folder, refused};
use crate::cli::Del;
use crate::tool::ToolError;
use crate::tool::output::complain;
use crate::ublk::ctrl::{Control, CtrlError, disk_node};
use crate::ublk::farewell;
use crate::ublk::link::Link;
use crate::ublk::server::busy;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::Folder;

/// How long a server that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removes one device, or all of ours.
pub fn run(asked: &Del) -> Result<(), ToolError> {
    let folder = folder()?;
    let ids = match asked.id {
        Some(id) => vec![id],
        None => folder.ids()?,
    };
    let mut failed = None;
    for id in ids {
        if let Err(error) = remove(&folder, id, asked.force) {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn remove(folder: &Folder, id: u32, force: bool) -> Result<(), ToolError> {
    if !force && (is_mounted(id) || is_open(id)) {
        return Err(refused(busy(id)));
    }
    if folder.is_changing(id)? {
        return Err(refused(being_changed(id)));
    }
    match question(folder, id, Question::Stop { force })? {
        Some(Answer::Refused(why)) => Err(refused(why)),
        Some(_) => Ok(()),
        None => remove_dead(folder, id, force),
    }
}

/// Removes a device that has no server.
fn remove_dead(folder: &Folder, id: u32, force: bool) -> Result<(), ToolError> {
    let record = folder.load(id)?;
    // Nobody recovers it meanwhile.
    let lock = match &record {
        Some(_) => folder.lock_within(id, PATIENCE)?,
        None => None,
    };
    if record.is_some() && lock.is_none() {
        return Err(refused(format!(
            "device {id} has a server that does not answer"
        )));
    }
    let driver = |error: CtrlError| refused(error.to_string());
    let mut control = Control::open().map_err(driver)?;
    if let Err(error) = control.info(id) {
        if record.is_none() || error.errno() != Some(libc::ENODEV) {
            return Err(match error.errno() {
                Some(libc::ENODEV) => refused(format!("there is no device {id}")),
                _ => driver(error),
            });
        }
        folder.forget(id);
        return Ok(());
    }
    let Some(record) = record else {
        return Err(refused(format!(
            "device {id} is not one of ours: there is no record of it in {}",
            folder.path().display()
        )));
    };
    if let Err(error) = farewell::write_back(folder, &record) {
        let why = format!("device {id} had no server, and its image cannot be closed: {error}");
        if !force {
            return Err(refused(format!(
                "{why}. With --force the device goes all the same, and what its server had not written is lost"
            )));
        }
        complain("warning", why);
    }
    control.stop(id).map_err(driver)?;
    let gone = match force {
        true => control.del_async(id).or_else(|_| control.del(id)),
        false => control.del(id),
    };
    gone.map_err(driver)?;
    if let Some(Ok(link)) = record.symlink.as_deref().map(|path| Link::at(path, id)) {
        link.remove();
    }
    folder.forget(id);
    Ok(())
}

/// True if a process has the disk open, as far as `/proc` tells: kernels before 7.0 cannot be asked.
fn is_open(id: u32) -> bool {
    let node = disk_node(id);
    let is_of_disk = |path: &Path| {
        let rest = path
            .to_str()
            .and_then(|path| path.strip_prefix(node.to_str()?));
        // The disk or a partition of it.
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('p'))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let files = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    files
        .flatten()
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|path| is_of_disk(&path))
}

/// True if somebody has the disk for himself: a mount, a volume manager.
fn is_mounted(id: u32) -> bool {
    let mut options = File::options();
    let open = options
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_NONBLOCK)
        .open(disk_node(id));
    open.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}
