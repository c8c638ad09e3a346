//! `snapshot merge --id N`: two adjacent images of a disk in use become one. Which, and which way.
//!
//! | | up | down |
//! |---|---|---|
//! | two below the top | `merge_live` | `merge_live` |
//! | the top and the one below | `merge_up`: the core copies | `merge_down`: `merge_live` in rounds |

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::path::PathBuf;

use ploop_core::load::load;
use serde::Serialize;

use super::merge_live::{Copied, Held, Pair};
use super::tell::question;
use super::topology::{list, served_soon, with_server_aside, with_server_aside_after, writable};
use super::{folder, merge_down, merge_up, refused};
use crate::bundle::{Bundle, Guid, RealFolder, live};
use crate::cli::SnapshotMerge;
use crate::files::{RealFile, id_of};
use crate::tool::ToolError;
use crate::tool::load::name_of;
use crate::tool::output::Output;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, Record};

/// The images that are left.
pub(super) type Merged = (Vec<PathBuf>, Copied);

fn work(folder: &Folder, record: &Record, asked: &SnapshotMerge) -> Result<Merged, ToolError> {
    let id = record.id;
    let upper = upper(record, asked)?;
    let lower = upper.checked_sub(1).ok_or_else(|| {
        refused(format!(
            "device {id}: {} is its oldest image: there is no snapshot below to merge it with",
            name_of(&record.images[upper])
        ))
    })?;
    if upper + 1 < record.images.len() {
        let up = asked.up || (!asked.down && is_up_cheaper(record, lower, None)?);
        must_be(record, lower, asked.lower)?;
        return below_the_top(folder, record, lower, up);
    }
    let up = asked.up
        || (!asked.down && !is_pending(record)? && {
            let Some(Answer::Info(now)) = question(folder, id, Question::Info)? else {
                return Err(merge_up::no_server(id));
            };
            is_up_cheaper(record, lower, Some(now.mapped_clusters))?
        });
    match up {
        true => merge_up::merge_up(folder, id, asked.lower),
        false => merge_down::merge_down(folder, id, asked.lower),
    }
}

/// The image of this number is that snapshot's file, if one is named.
pub(super) fn must_be(record: &Record, level: usize, named: Option<Guid>) -> Result<(), ToolError> {
    let (Some(named), Some(bundle)) = (named, &record.bundle) else {
        return Ok(());
    };
    let tree = Bundle::read(&RealFolder::new(bundle))?.tree;
    let found = tree.chain(tree.top()).get(level).map(|node| node.guid);
    match found == Some(named) {
        true => Ok(()),
        false => Err(refused(format!(
            "{}: {named} is not where it was: another command has changed the bundle meanwhile",
            bundle.display()
        ))),
    }
}

/// What is left of the disk, and what was done meanwhile.
#[derive(Serialize)]
struct Report {
    images: Vec<PathBuf>,
    /// Clusters that were copied while the disk went on.
    clusters: u64,
    /// Requests of its users that ended meanwhile.
    requests: u64,
}

/// See the module.
pub fn merge(
    id: u32,
    asked: &SnapshotMerge,
    out: &mut Output<impl Write>,
) -> Result<(), ToolError> {
    let folder = folder()?;
    served_soon(&folder, id)?;
    let record = writable(&folder, id)?;
    let (images, copied) = work(&folder, &record, asked)?;
    let Copied { clusters, requests } = copied;
    match (asked.json, &record.bundle) {
        (true, _) => out.json(&Report {
            images,
            clusters,
            requests,
        }),
        (false, None) => list(&images, out),
        // The descriptor says it.
        (false, Some(_)) => Ok(()),
    }
}

/// Number of the upper one of the two.
fn upper(record: &Record, asked: &SnapshotMerge) -> Result<usize, ToolError> {
    let id = record.id;
    let found = match (&record.bundle, asked.upper, &asked.file) {
        (None, Some(_), _) => {
            return Err(refused(format!(
                "device {id} is made of single images: their snapshots have no GUID; name one with --file"
            )));
        }
        (Some(bundle), Some(guid), _) => {
            let tree = Bundle::read(&RealFolder::new(bundle))?.tree;
            let mut chain = tree.chain(tree.top()).into_iter();
            let at = chain.position(|node| node.guid == guid);
            at.ok_or_else(|| {
                let bundle = bundle.display();
                refused(format!(
                    "{bundle}: no snapshot {guid} in the disk that is served"
                ))
            })?
        }
        (_, None, Some(file)) => {
            let wanted = id_of(file);
            let mut images = record.images.iter();
            let at = images.position(|image| wanted.is_some() && id_of(image) == wanted);
            at.ok_or_else(|| refused(format!("{}: no image of device {id}", file.display())))?
        }
        (_, None, None) if record.images.len() < 2 => {
            return Err(refused(format!(
                "device {id} has one image: there is no snapshot to merge"
            )));
        }
        (_, None, None) => record.images.len() - 1,
    };
    match found < record.images.len() {
        true => Ok(found),
        false => Err(refused(format!("device {id}: its bundle was changed"))),
    }
}

/// A merge of the top of a bundle was cut.
fn is_pending(record: &Record) -> Result<bool, ToolError> {
    Ok(match &record.bundle {
        None => false,
        Some(bundle) => live::pending(&Bundle::read(&RealFolder::new(bundle))?.tree).is_some(),
    })
}

/// The way that copies less is taken in a bundle: there both come to the same. `top`: clusters that the upper one has, if
/// it is the top.
fn is_up_cheaper(record: &Record, lower: usize, top: Option<u64>) -> Result<bool, ToolError> {
    if record.bundle.is_none() || (lower == 0 && record.raw_base) {
        return Ok(false);
    }
    let mapped = |level: usize| -> Result<Option<u64>, ToolError> {
        let image = &record.images[level];
        let delta = load(&RealFile::open_look(image)?, &name_of(image))?;
        let image = delta.expanded();
        Ok(image.map(|image| image.bat.iter().filter(|entry| **entry != 0).count() as u64))
    };
    let upper = match top {
        Some(clusters) => Some(clusters),
        None => mapped(lower + 1)?,
    };
    // A raw disk has everything, and is copied whole.
    Ok(mapped(lower)?.is_some_and(|lower| upper.is_some_and(|upper| lower <= upper)))
}

/// The two are below the top.
fn below_the_top(
    folder: &Folder,
    record: &Record,
    lower: usize,
    up: bool,
) -> Result<Merged, ToolError> {
    let pair = Pair::of(record, lower, up)?;
    let same = |record: &Record| match Pair::of(record, lower, up)? == pair {
        true => Ok(()),
        false => Err(refused("the images were changed by another command")),
    };
    if pair.must_grow()?.is_some() {
        with_server_aside(folder, record.id, |change| {
            same(change.record())?;
            pair.grow(change)
        })?;
    }
    let held: RefCell<Held> = RefCell::new(None);
    let copied = Cell::new(Copied::default());
    with_server_aside_after(
        folder,
        record.id,
        |record, interrupted| {
            same(record)?;
            copied.set(pair.copy(folder, record, interrupted, &mut held.borrow_mut())?);
            Ok(())
        },
        |change| {
            pair.end(change, &mut held.borrow_mut())?;
            Ok((change.images().to_vec(), copied.get()))
        },
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bundle::snapshots;
    use crate::cli::{Cli, Command};
    use crate::ublk::state::tests::record;

    #[test]
    fn a_snapshot_that_another_command_took_meanwhile_is_not_merged_away() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let bundle = dir.path().join("disk");
        let words = ["ploop-ublk", "init", "--size", "1M"].map(Into::into);
        let words = words.into_iter().chain([bundle.clone().into_os_string()]);
        let Command::Init(init) = Cli::try_parse_from(words).expect("words").command else {
            panic!("another command");
        };
        crate::tool::init::run(&init, &mut Output::new(std::io::sink())).expect("a bundle");
        let folder = RealFolder::new(&bundle);
        let first = snapshots::create(&folder, None)
            .expect("a snapshot")
            .snapshot;
        let record = Record {
            bundle: Some(bundle.clone()),
            ..record(1)
        };
        // The snapshot below the top, and it is that still.
        must_be(&record, 0, Some(first)).expect("the same");
        let second = snapshots::create(&folder, None).expect("another").snapshot;
        // One level below the top there is another now.
        let error = must_be(&record, 1, Some(first)).expect_err("another");
        let said = error.to_string();
        assert!(
            said.contains(&first.to_string()) && said.contains("not where it was"),
            "{said}"
        );
        must_be(&record, 1, Some(second)).expect("what was taken");
        must_be(&record, 7, Some(first)).expect_err("no such level");
        // Nobody has named one; a list of images has no names.
        must_be(&record, 1, None).expect("any");
        let list = Record {
            bundle: None,
            ..record
        };
        must_be(&list, 1, Some(first)).expect("no names");
    }
}
