//! `snapshot merge --id N`, the top: it goes down into the one below, and the disk waits for a moment now and then.
//!
//! ```text
//!   L T       ─aside: a new file on top─▶  L T T'      T is read only now, and goes into L while the disk goes on
//!   L T T'    ─copied; aside: T leaves─▶   L T'        little in T': it goes into L at once, and that is the end
//!                                                      much: one more round
//! ```
//! * Between two rounds there is no lock: what was changed by others meanwhile ends the merge.
//! * Cut in between, the chain shows the same and may have one image more. It is known which by the marks
//!   (`bundle::live::pending`, `child::going`), and the same command once more goes on.
//! * A load that writes more than is copied meanwhile is not raced for ever: after some rounds the disk waits.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use ploop_core::load::{load, sniff};

use super::merge::{Merged, must_be};
use super::merge_live::{Copied, Held, Pair};
use super::refused;
use super::topology::{Change, with_server_aside, with_server_aside_after, writable};
use crate::bundle::{Bundle, Guid, RealFolder, delete, live};
use crate::files::{RealFile, child, id_of};
use crate::tool::ToolError;
use crate::tool::change::bundle_of;
use crate::tool::load::name_of;
use crate::tool::output::complain;
use crate::ublk::state::{Folder, Record};

/// Bytes that are copied while the disk waits.
const SMALL: u64 = 16 << 20;
/// Rounds until it waits for more.
const ROUNDS: u32 = 8;

/// See the module.
pub(super) fn merge_down(
    folder: &Folder,
    id: u32,
    lower: Option<Guid>,
) -> Result<Merged, ToolError> {
    let mut left: Option<Vec<PathBuf>> = None;
    let all = Cell::new(Copied::default());
    for round in 0..=ROUNDS {
        let record = writable(folder, id)?;
        must_be_as(&record, left.as_deref())?;
        if let Some(pair) = pending(&record)?
            && pair.must_grow()?.is_some()
        {
            with_server_aside(folder, id, |change| match pending(change.record())? {
                Some(same) if same == pair => pair.grow(change),
                _ => Err(changed()),
            })?;
        }
        let held: RefCell<Held> = RefCell::new(None);
        let pair: RefCell<Option<Pair>> = RefCell::new(None);
        let (images, is_over) = with_server_aside_after(
            folder,
            id,
            |record, interrupted| {
                must_be_as(record, left.as_deref())?;
                let found = pending(record)?;
                if round == 0 {
                    let levels = if found.is_some() { 3 } else { 2 };
                    must_be(record, record.images.len().saturating_sub(levels), lower)?;
                }
                if let Some(found) = &found {
                    let now = found.copy(folder, record, interrupted, &mut held.borrow_mut())?;
                    let before = all.get();
                    all.set(Copied {
                        clusters: before.clusters + now.clusters,
                        requests: before.requests + now.requests,
                    });
                }
                *pair.borrow_mut() = found;
                Ok(())
            },
            |change| {
                if let Some(pair) = &*pair.borrow() {
                    pair.end(change, &mut held.borrow_mut())?;
                }
                let is_over = round == ROUNDS || !goes_in_rounds(change)?;
                match is_over {
                    true => fold(change)?,
                    false => rest(change)?,
                }
                Ok((change.images().to_vec(), is_over))
            },
        )?;
        if is_over {
            return Ok((images, all.get()));
        }
        left = Some(images);
    }
    Err(changed())
}

fn changed() -> ToolError {
    refused("the images were changed by another command")
}

fn must_be_as(record: &Record, left: Option<&[PathBuf]>) -> Result<(), ToolError> {
    match left.is_none_or(|left| record.images == left) {
        true => Ok(()),
        false => Err(changed()),
    }
}

/// The image right below the top, if it is on its way down, and the one below it.
fn pending(record: &Record) -> Result<Option<Pair>, ToolError> {
    let Some(lower) = record.images.len().checked_sub(3) else {
        return Ok(None);
    };
    let is_pending = match &record.bundle {
        Some(bundle) => live::pending(&Bundle::read(&RealFolder::new(bundle))?.tree).is_some(),
        None => {
            let going = &record.images[lower + 1];
            let above = child::going(going);
            let above = above.map_err(ToolError::io(going, "read the attributes of"))?;
            let top = id_of(&record.images[lower + 2]);
            above.is_some_and(|above| top.is_some() && id_of(&above) == top)
        }
    };
    match is_pending {
        true => Pair::of(record, lower, false).map(Some),
        false => Ok(None),
    }
}

/// There is much in the top, and what is below can take it in while the disk goes on.
fn goes_in_rounds(change: &Change<'_>) -> Result<bool, ToolError> {
    let images = change.images();
    let Some(level) = images.len().checked_sub(2) else {
        return Err(refused("there is no snapshot to merge"));
    };
    let top = load(
        &RealFile::open_read(&images[level + 1])?,
        &name_of(&images[level + 1]),
    )?;
    let Some(image) = top.expanded() else {
        return Ok(false);
    };
    let mapped = image.bat.iter().filter(|entry| **entry != 0).count() as u64;
    if mapped.saturating_mul(image.layout.cluster.bytes()) <= SMALL {
        return Ok(false);
    }
    let lower = &images[level];
    let is_image = sniff(&RealFile::open_read(lower)?).map_err(ToolError::io(lower, "read"))?;
    if !is_image || (level == 0 && change.raw_base()) {
        // A raw disk that is the only file would be written: what refuses that says so.
        return Ok(false);
    }
    if change.bundle().is_none()
        && !images[level..]
            .iter()
            .all(|path| child::can_be_marked(path))
    {
        complain(
            "note",
            format_args!(
                "{}: its file system has no extended attributes: the disk waits until everything is copied",
                lower.display()
            ),
        );
        return Ok(false);
    }
    // What is in the way of that is found before there is one image more.
    Pair::of(change.record(), level, false)?;
    Ok(true)
}

/// A new file on top of the one that goes down.
fn rest(change: &mut Change<'_>) -> Result<(), ToolError> {
    if change.is_interrupted() {
        return Err(refused(
            "interrupted: the same command once more ends the merge",
        ));
    }
    if let Some(bundle) = change.bundle() {
        let (at, _lock) = bundle_of(&bundle, Some(change.id()))?;
        live::rest(&at)?;
        return change.commit_bundle();
    }
    let top = change.top()?.to_owned();
    let new = free_name(change.images())?;
    {
        let top = RealFile::open_write(&top)?;
        child::mark_going(&top, &new).map_err(ToolError::io(top.path(), "mark"))?;
    }
    super::snapshot::plain(change, &new)
}

/// A name beside the image that everything goes into.
fn free_name(images: &[PathBuf]) -> Result<PathBuf, ToolError> {
    let into = images.iter().rev().nth(1).map(PathBuf::as_path);
    let into = into.unwrap_or(Path::new(""));
    let name = into.file_name().unwrap_or_default().to_owned();
    let mut names = (1..1000u32).map(|number| {
        let mut name = name.clone();
        name.push(format!(".merge-{number}"));
        into.with_file_name(name)
    });
    let free = names.find(|path| path.symlink_metadata().is_err());
    free.ok_or_else(|| refused(format!("{}: no free name beside it", into.display())))
}

/// What little is in the top goes down while the disk waits.
fn fold(change: &mut Change<'_>) -> Result<(), ToolError> {
    let Some(bundle) = change.bundle() else {
        return super::snapshot::merge(change);
    };
    let (at, _lock) = bundle_of(&bundle, Some(change.id()))?;
    let (_, done) = delete::merge_down(&at, None, &mut |_| {})?;
    for file in &done.left {
        super::merge_up::tell_left(file);
    }
    change.commit_bundle()
}
