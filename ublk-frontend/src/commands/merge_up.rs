//! `snapshot merge --id N --up`: the image below the top goes up into it while the disk is in use.
//!
//! ```text
//!   lock "change" ─▶ server copies what only the lower image has into the top, its users go on ─▶ it steps aside for a moment
//!        ─▶ nothing is left to copy, the lower image leaves the chain ─▶ next server
//! ```
//! * Cut at any time, the chain is the old one and shows the same; what was copied stays, and is not copied again.
//! * The content of the lower image is not changed. In a bundle it is removed; in a list of images it stays where it is: it may
//!   be the base of others. It keeps its mark, and the top remembers it: neither it alone nor the old list is the disk.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ploop_core::load::sniff;

use super::merge::{Merged, must_be};
use super::merge_live::{Copied, drop_lower, ended};
use super::refused;
use super::tell::question;
use super::topology::{with_server_aside_after, writable};
use crate::bundle::descriptor::Temporary;
use crate::bundle::{Bundle, Guid, RealFolder, delete};
use crate::files::{RealFile, child};
use crate::ring::promotion::State;
use crate::tool::ToolError;
use crate::tool::change::bundle_of;
use crate::tool::output::complain;
use crate::tool::progress;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, Record};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub(super) fn merge_up(folder: &Folder, id: u32, lower: Option<Guid>) -> Result<Merged, ToolError> {
    if writable(folder, id)?.images.len() < 2 {
        return Err(refused(format!(
            "device {id} has one image: there is no snapshot to merge"
        )));
    }
    let copied = Cell::new(Copied::default());
    with_server_aside_after(
        folder,
        id,
        |record, interrupted| {
            must_be(record, record.images.len().saturating_sub(2), lower)?;
            copied.set(promote(folder, record, interrupted)?);
            Ok(())
        },
        |change| {
            match change.bundle() {
                Some(bundle) => {
                    let (at, _lock) = bundle_of(&bundle, Some(id))?;
                    let (_, done) = delete::merge_down(&at, None, &mut |_| {})?;
                    for file in &done.left {
                        tell_left(file);
                    }
                    change.commit_bundle()?;
                }
                None => {
                    let lower = change.images().len().saturating_sub(2);
                    drop_lower(change, lower)?;
                }
            }
            Ok((change.images().to_vec(), copied.get()))
        },
    )
}

pub(super) fn tell_left(file: &Path) {
    let text = "is not part of this disk any more, and stays where it is";
    complain("note", format_args!("{}: {text}", file.display()));
}

/// The server copies, and its users go on.
fn promote(
    folder: &Folder,
    record: &Record,
    interrupted: &AtomicBool,
) -> Result<Copied, ToolError> {
    let id = record.id;
    let Some(lowest) = record.images.len().checked_sub(2) else {
        return Err(refused(format!("device {id} has one image")));
    };
    must_be_possible(record, &record.images[lowest + 1], &record.images[lowest])?;
    let lowest = u8::try_from(lowest).map_err(|_| refused("too many images"))?;
    match question(folder, id, Question::Promote { lowest })? {
        Some(Answer::Done) => {}
        Some(Answer::Refused(why)) => return Err(refused(format!("device {id}: {why}"))),
        Some(other) => {
            return Err(refused(format!("device {id}: a strange answer: {other:?}")));
        }
        None => return Err(no_server(id)),
    }
    let bar = progress::clusters();
    let mut before = None;
    loop {
        let Some(Answer::Info(now)) = question(folder, id, Question::Info)? else {
            return Err(no_server(id));
        };
        let requests = ended(&now);
        let before = *before.get_or_insert(requests);
        let Some(now) = now.promotion else {
            return Err(refused(format!(
                "device {id} has another server now: ask again, what was copied stays"
            )));
        };
        bar.set_length(now.total);
        bar.set_position(now.done);
        match now.state {
            State::Done => {
                bar.finish_and_clear();
                return Ok(Copied {
                    clusters: now.done,
                    requests: requests.saturating_sub(before),
                });
            }
            State::Running => {}
            State::Stopped => return Err(refused(format!("device {id}: it was stopped"))),
            State::Failed(why) => return Err(refused(format!("device {id}: {why}"))),
        }
        if interrupted.load(Ordering::Relaxed) {
            question(folder, id, Question::StopPromoting)?;
            return Err(refused("interrupted: nothing is merged"));
        }
        thread::sleep(LOOK);
    }
}

pub(super) fn no_server(id: u32) -> ToolError {
    refused(format!(
        "device {id} has no server (`ploop-ublk recover {id}` starts one)"
    ))
}

/// What would keep the merge from its end is found before anything is copied.
fn must_be_possible(record: &Record, top: &Path, lower: &Path) -> Result<(), ToolError> {
    let is_oldest = record.images.len() == 2;
    let is_image = sniff(&RealFile::open_look(lower)?).map_err(ToolError::io(lower, "read"))?;
    if !is_image || (is_oldest && record.raw_base) {
        return Err(refused(format!(
            "{}: a raw disk would be copied whole, with all that was never written: --up is for images",
            lower.display()
        )));
    }
    let Some(bundle) = &record.bundle else {
        for image in [lower, top] {
            if !child::can_be_marked(image) {
                return Err(refused(format!(
                    "{}: its file system has no extended attributes, so that it cannot be told from the disk of before",
                    image.display()
                )));
            }
        }
        return Ok(());
    };
    let tree = Bundle::read(&RealFolder::new(bundle))?.tree;
    let node = tree.get(tree.top()).and_then(|node| node.parent);
    let node = node.and_then(|lower| tree.get(lower));
    let node =
        node.ok_or_else(|| refused(format!("{}: there is one snapshot", bundle.display())))?;
    if node.children.len() > 1 || node.temporary == Some(Temporary::Foreign) {
        return Err(refused(format!(
            "{}: the snapshot {} is needed by others, or another program has begun to merge it",
            bundle.display(),
            node.guid
        )));
    }
    Ok(())
}
