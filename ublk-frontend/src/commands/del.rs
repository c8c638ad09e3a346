//! `del`: writes everything back, closes the image and removes the device.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::served::Named;
use super::tell::question;
use super::topology::being_changed;
use super::{folder, refused};
use crate::cli::Del;
use crate::tool::ToolError;
use crate::tool::output::{Output, complain};
use crate::ublk::claim::{Claim, is_of_disk};
use crate::ublk::ctrl::{Control, CtrlError, disk_node};
use crate::ublk::link::Link;
use crate::ublk::server::busy;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::Folder;
use crate::ublk::{farewell, setup};

/// How long a server that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removes one device, or all of ours.
pub fn run(asked: &Del, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder()?;
    let ids = match asked.id {
        Some(id) => vec![id],
        None => folder.ids()?,
    };
    let (mut failed, mut gone) = (None, Vec::new());
    for id in ids {
        match remove(&folder, id, asked.force) {
            Ok(()) => gone.push(Named::of(id)),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    match (asked.json, asked.all, gone.as_slice()) {
        (true, true, all) => out.json_line(&all)?,
        (true, false, [one]) => out.json_line(one)?,
        _ => {}
    }
    failed.map_or(Ok(()), Err)
}

fn remove(folder: &Folder, id: u32, force: bool) -> Result<(), ToolError> {
    let server = folder.load(id).ok().flatten().map(|record| record.pid);
    if !force && (Claim::of(id).is_err_and(|error| error.is_busy()) || is_open(id, server)) {
        return Err(refused(busy(id)));
    }
    if folder.is_changing(id)? {
        return Err(refused(being_changed(id)));
    }
    match question(folder, id, Question::Stop { force })? {
        Some(Answer::Refused(why)) => Err(refused(why)),
        Some(_) => {
            tell_if_open(id);
            Ok(())
        }
        None => remove_dead(folder, id, force),
    }
}

/// Removes a device that has no server.
pub(super) fn remove_dead(folder: &Folder, id: u32, force: bool) -> Result<(), ToolError> {
    let record = match folder.load(id) {
        Err(error) if force => {
            complain("warning", error);
            None
        }
        Err(error) => {
            return Err(refused(format!(
                "{error}. With --force the device goes all the same, and what its server had not written is lost"
            )));
        }
        Ok(record) => record,
    };
    // Of one that was killed in between there is a lock, and no record.
    let is_known = folder.has_record(id) || (force && folder.has_free_lock(id)?);
    // Nobody recovers it meanwhile.
    let lock = match is_known {
        true => folder.lock_within(id, PATIENCE)?,
        false => None,
    };
    if is_known && lock.is_none() {
        return Err(refused(format!(
            "device {id} has a server that does not answer"
        )));
    }
    let driver = |error: CtrlError| refused(error.to_string());
    let mut control = Control::open().map_err(driver)?;
    let info = match control.info(id) {
        Ok(info) => info,
        Err(error) if error.errno() != Some(libc::ENODEV) => return Err(driver(error)),
        Err(_) if is_known => {
            folder.forget(id);
            return Ok(());
        }
        Err(_) => return Err(refused(format!("there is no device {id}"))),
    };
    if !is_known {
        return Err(refused(format!(
            "device {id} is not one of ours: there is no record of it in {}",
            folder.path().display()
        )));
    }
    if record.is_none() && setup::is_alive(&info) {
        return Err(refused(setup::not_ours(id)));
    }
    if let Some(record) = &record {
        if !setup::is_ours(&info, record) {
            folder.forget(id);
            return Err(refused(format!(
                "{}: only the record is removed",
                setup::not_ours(id)
            )));
        }
        if let Err(error) = farewell::write_back(folder, record) {
            let why = format!("device {id} had no server, and its image cannot be closed: {error}");
            if !force {
                return Err(refused(format!(
                    "{why}. With --force the device goes all the same, and what its server had not written is lost"
                )));
            }
            complain("warning", why);
        }
    }
    control.stop(id).map_err(driver)?;
    setup::remove(&mut control, id, !force).map_err(driver)?;
    let link = record.and_then(|record| record.symlink);
    if let Some(Ok(link)) = link.map(|path| Link::at(&path, id)) {
        link.remove();
    }
    folder.forget(id);
    tell_if_open(id);
    Ok(())
}

/// A device that somebody has open goes when he lets go of it.
fn tell_if_open(id: u32) {
    if Control::open().is_ok_and(|mut control| control.info(id).is_ok()) {
        let node = disk_node(id);
        let why = format!(
            "the number {id} is free when whoever has {} open lets go of it",
            node.display()
        );
        complain("note", why);
    }
}

/// True if a process has the disk open, as far as `/proc` tells: kernels before 7.0 cannot be asked.
/// Its own server is not meant, which may be telling the kernel something.
fn is_open(id: u32, server: Option<u32>) -> bool {
    let own = server.map(|pid| pid.to_string());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter(|process| {
        let name = process.file_name();
        own.as_deref().is_none_or(|own| name != *own)
    });
    let files = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    files
        .flatten()
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|path| is_of_disk(id, &path))
}
