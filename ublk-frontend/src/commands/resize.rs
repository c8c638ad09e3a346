//! The size of a disk in use: the image grows while the server stands aside, then the kernel is told.

use std::io::Write;

use ploop_core::control::files::grow;
use serde::Serialize;

use super::served::Named;
use super::tell::question;
use super::topology::{served_soon, with_server_aside};
use super::{folder, refused};
use crate::cli::Resize;
use crate::files::RealFile;
use crate::tool::ToolError;
use crate::tool::change::bundle_of;
use crate::tool::load::{check_growing, name_of};
use crate::tool::output::{Output, complain};
use crate::tool::progress::watched;
use crate::ublk::ctrl::{Control, disk_node};
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, Record};
use crate::ublk::sys;

/// A device that was resized, in JSON.
#[derive(Serialize)]
struct Resized {
    #[serde(flatten)]
    device: Named,
    /// In bytes.
    size: u64,
    /// The kernel shows it already.
    shown: bool,
}

/// `resize`: the image grows while the server stands aside, then the kernel is told.
///
/// If it is killed in between, the same command once more does what is left.
pub fn resize(asked: &Resize, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let (folder, size) = (folder()?, asked.size.0);
    if let Some(Answer::Info(now)) = question(&folder, asked.id, Question::Info)?
        && now.size > size.bytes()
    {
        // Nobody has to wait for that.
        return Err(refused(format!(
            "device {}: it has {} bytes, and a disk does not become smaller",
            asked.id, now.size
        )));
    }
    let record = with_server_aside(&folder, asked.id, |change| {
        if let Some(bundle) = change.record().bundle.clone() {
            let (at, _lock) = bundle_of(&bundle, Some(asked.id))?;
            crate::bundle::resize::grow(&at, size)?;
            change.commit_bundle()?;
            return Ok(change.record().clone());
        }
        check_growing(change.images(), change.raw_base(), size)?;
        let top = RealFile::open_write(change.top()?)?;
        let grown = watched(&top, |file| grow(file, &name_of(top.path()), size));
        drop(top);
        grown.map_err(|error| refused(error.to_string()))?;
        change.commit(change.images().to_vec())?;
        Ok(change.record().clone())
    })?;
    let shown = record.flags & sys::F_UPDATE_SIZE != 0;
    if shown {
        is_known(&folder, &record).map_err(|error| {
            refused(format!(
                "the image has grown, but {error}; the same command once more tells the kernel"
            ))
        })?;
    } else {
        complain(
            "note",
            format_args!(
                "the image has grown; this kernel cannot change the size of a disk in use (Linux 6.16): {} shows it after `del` and `add`",
                disk_node(asked.id).display()
            ),
        );
    }
    if !asked.json {
        return out.line(size.bytes());
    }
    out.json_line(&Resized {
        device: Named::of(asked.id),
        size: size.bytes(),
        shown,
    })
}

/// The server has told the kernel when it began: whether that is so.
fn is_known(folder: &Folder, record: &Record) -> Result<(), ToolError> {
    let mut control = Control::open().map_err(|error| refused(error.to_string()))?;
    let block = u64::from(record.block / 512).max(1);
    let mut last = None;
    // Somebody else may change it between the two questions.
    for _ in 0..3 {
        served_soon(folder, record.id)?;
        let Some(Answer::Info(now)) = question(folder, record.id, Question::Info)? else {
            return Err(refused(format!("device {} has no server", record.id)));
        };
        let params = control.params(record.id);
        let known = params.map_err(|error| refused(error.to_string()))?;
        let (known, wanted) = (known.basic.dev_sectors, now.size / 512 / block * block);
        if known == wanted {
            return Ok(());
        }
        last = Some((known, wanted));
    }
    let (known, wanted) = last.unwrap_or_default();
    Err(refused(format!(
        "the kernel was not told: it knows of {known} sectors, not of {wanted}"
    )))
}
