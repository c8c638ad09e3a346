//! `snapshot merge --id N --up`: the image below the top goes up into it while the disk is in use.
//!
//! ```text
//!   lock "change" ─▶ server copies what only the lower image has into the top, its users go on ─▶ it steps aside for a moment
//!        ─▶ nothing is left to copy, the lower image leaves the chain ─▶ next server
//! ```
//! * Cut at any time, the chain is the old one and shows the same; what was copied stays, and is not copied again.
//! * The content of the lower image is not changed. In a bundle it is removed; in a list of images it stays where it is: it may
//!   be the base of others. It keeps its mark, and the top remembers it: neither it alone nor the old list is the disk.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ploop_core::control::files::{ControlError, Merge, Source};
use ploop_core::load::sniff;

use super::snapshot::stands_on;
use super::tell::question;
use super::topology::{Change, list, with_server_aside_after, writable};
use super::{folder, refused};
use crate::bundle::descriptor::Temporary;
use crate::bundle::{Bundle, RealFolder, delete};
use crate::files::{RealFile, child};
use crate::ring::promotion::State;
use crate::tool::ToolError;
use crate::tool::change::bundle_of;
use crate::tool::load::name_of;
use crate::tool::output::{Output, complain};
use crate::tool::progress;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, Record};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// Clusters of a step.
const STEP: u32 = 64;

/// See the module.
pub fn merge_up(id: u32, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder()?;
    if writable(&folder, id)?.images.len() < 2 {
        return Err(refused(format!(
            "device {id} has one image: there is no snapshot to merge"
        )));
    }
    let images = with_server_aside_after(
        &folder,
        id,
        |record, interrupted| promote(&folder, record, interrupted),
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
                None => drop_lower(change)?,
            }
            Ok(match change.bundle() {
                Some(_) => None,
                None => Some(change.images().to_vec()),
            })
        },
    )?;
    images.map_or(Ok(()), |images| list(&images, out))
}

fn tell_left(file: &Path) {
    let text = "is not part of this disk any more, and stays where it is";
    complain("note", format_args!("{}: {text}", file.display()));
}

/// The server copies, and its users go on.
fn promote(folder: &Folder, record: &Record, interrupted: &AtomicBool) -> Result<(), ToolError> {
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
    loop {
        let Some(Answer::Info(now)) = question(folder, id, Question::Info)? else {
            return Err(no_server(id));
        };
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
                return Ok(());
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

fn no_server(id: u32) -> ToolError {
    refused(format!(
        "device {id} has no server (`ploop-ublk recover {id}` starts one)"
    ))
}

/// The chain without the image below the top, which shows nothing of it any more.
fn drop_lower(change: &mut Change<'_>) -> Result<(), ToolError> {
    let mut images = change.images().to_vec();
    let (Some(top), Some(lower)) = (images.pop(), images.pop()) else {
        return Err(refused("there is no snapshot to merge"));
    };
    let is_oldest = images.is_empty();
    {
        let (upper, below) = (RealFile::open_write(&top)?, RealFile::open_read(&lower)?);
        let is_image = sniff(&below).map_err(ToolError::io(&lower, "read"))?;
        let raw = !is_image || (is_oldest && change.raw_base());
        let (upper_name, lower_name) = (name_of(&top), name_of(&lower));
        let source = |file, name, raw| Source { file, name, raw };
        let failed = |error: ControlError| refused(error.to_string());
        // Nothing, or what a raw image has in clusters that were never used.
        let mut merge = Merge::forward(
            source(&below, &lower_name, raw),
            source(&upper, &upper_name, false),
        )
        .map_err(failed)?;
        let left = merge.progress().total;
        if left > 0 {
            complain(
                "note",
                format_args!("{left} clusters are copied while the disk waits"),
            );
        }
        while !merge.step(STEP).map_err(failed)?.finished {}
        drop(merge);
        // All marks before the lower image leaves: so the disk cannot be taken for another one at any time.
        child::remember_merged(&upper, &lower).map_err(ToolError::io(&top, "mark"))?;
        let marked = child::of(&lower).map_err(ToolError::io(&lower, "read the attributes of"))?;
        if marked.is_none() {
            child::mark(&below, &top).map_err(ToolError::io(&lower, "mark"))?;
        }
    }
    if let Some(base) = images.last() {
        stands_on(base, &lower, &top)?;
    }
    images.push(top);
    change.commit_without_base(images, is_oldest)?;
    tell_left(&lower);
    Ok(())
}

/// What would keep the merge from its end is found before anything is copied.
fn must_be_possible(record: &Record, top: &Path, lower: &Path) -> Result<(), ToolError> {
    let is_oldest = record.images.len() == 2;
    let is_image = sniff(&RealFile::open_read(lower)?).map_err(ToolError::io(lower, "read"))?;
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
