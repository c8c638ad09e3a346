//! Deleting a snapshot: nothing stands on it, one does, or several do.
//!
//! ```text
//!   none     its file is removed
//!   one      the two files become one (see `merge`)
//!   several  it is marked as temporary, as ploop does it; it goes when only one is left
//! ```
//! Whatever is marked and can go, goes with the next deletion: so one that was interrupted is ended by asking again.

use std::path::PathBuf;

use super::descriptor::Temporary;
use super::folder::Folder;
use super::guid::Guid;
use super::merge::{self, Report, Way};
use super::snapshots::{drop_leaf, refused, removable, settle, sound};
use super::store::{Bundle, Change};
use super::tree::Tree;
use crate::tool::ToolError;

/// What became of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// It is still there, marked, as several others stand on it.
    pub marked: bool,
    /// Files that are not in the bundle any more, and were left where they are: see [`stays`](super::snapshots::stays).
    pub left: Vec<PathBuf>,
    /// Marked ones that could go now, and were left.
    pub ripe: Vec<Guid>,
}

/// Deletes a snapshot. The caller holds the bundle's lock.
pub fn delete(folder: &dyn Folder, guid: Guid, report: Report<'_>) -> Result<Deleted, ToolError> {
    let mut change = Change::begin(folder)?;
    let children = deletable(&change, guid)?;
    let mut deleted = Deleted::default();
    if children > 1 {
        mark(&mut change, guid)?;
    } else {
        take_out(&mut change, guid, &mut deleted, report)?;
    }
    while let Some(next) = ripe(&change.bundle().tree) {
        take_out(&mut change, next, &mut deleted, report)?;
    }
    deleted.marked = change.bundle().tree.get(guid).is_some();
    Ok(deleted)
}

/// Number of those that stand on a snapshot that may be deleted.
fn deletable(change: &Change<'_>, guid: Guid) -> Result<usize, ToolError> {
    let node = removable(change, guid)?;
    if guid == change.bundle().tree.top() {
        return Err(refused(
            change,
            format_args!(
                "{guid} is what is written; `snapshot switch` goes back to the snapshot below it, and drops it"
            ),
        ));
    }
    Ok(node.children.len())
}

/// Whether it can be deleted without copying anything: none stands on it, or several do. The caller holds the bundle's lock.
pub fn can_delete_at_once(folder: &dyn Folder, guid: Guid) -> Result<bool, ToolError> {
    Ok(deletable(&Change::begin(folder)?, guid)? != 1)
}

/// Deletes a snapshot without copying anything; marked ones that could go then are left, and told. The caller holds the bundle's
/// lock.
pub fn delete_at_once(folder: &dyn Folder, guid: Guid) -> Result<Deleted, ToolError> {
    let mut change = Change::begin(folder)?;
    let mut deleted = Deleted::default();
    match deletable(&change, guid)? {
        0 => deleted.left.extend(drop_leaf(&mut change, guid)?),
        1 => {
            let why = format_args!("{guid}: another stands on it now");
            return Err(refused(&change, why));
        }
        _ => mark(&mut change, guid)?,
    }
    deleted.marked = change.bundle().tree.get(guid).is_some();
    deleted.ripe = all_ripe(change.bundle());
    Ok(deleted)
}

/// Deletes a snapshot that one other stands on, while the disk that is written is in use and stands on neither. Marked ones that
/// could go then are left, and told. The caller holds the bundle's lock.
pub fn delete_beside(
    folder: &dyn Folder,
    guid: Guid,
    report: Report<'_>,
) -> Result<Deleted, ToolError> {
    let mut change = Change::begin(folder)?;
    let children = deletable(&change, guid)?;
    if children != 1 {
        let why = format_args!("{guid}: {children} stand on it now");
        return Err(refused(&change, why));
    }
    let left = merge::take_out(&mut change, guid, Way::Beside, report)?;
    Ok(Deleted {
        left: left.into_iter().collect(),
        ripe: all_ripe(change.bundle()),
        marked: false,
    })
}

/// Merges a snapshot with the one below it, whose name goes; `None`: the delta that is written. Returns whose name has gone.
/// The caller holds the bundle's lock.
pub fn merge_down(
    folder: &dyn Folder,
    guid: Option<Guid>,
    report: Report<'_>,
) -> Result<(Guid, Deleted), ToolError> {
    let mut change = Change::begin(folder)?;
    let upper = guid.unwrap_or(change.bundle().tree.top());
    let Some(node) = change.bundle().tree.get(upper) else {
        return Err(refused(&change, format_args!("no snapshot {upper}")));
    };
    let Some(lower) = node.parent else {
        return Err(refused(
            &change,
            format_args!("{upper} is the oldest: there is nothing below to merge it with"),
        ));
    };
    let left = merge::take_out(&mut change, lower, Way::Cheaper, report)?;
    let left = left.into_iter().collect();
    Ok((
        lower,
        Deleted {
            left,
            ..Deleted::default()
        },
    ))
}

/// All marked snapshots that can go.
fn all_ripe(bundle: &Bundle) -> Vec<Guid> {
    let nodes = bundle.tree.nodes();
    let ripe = nodes.iter().filter(|node| can_go(node));
    ripe.map(|node| node.guid).collect()
}

/// A marked snapshot that can go.
fn ripe(tree: &Tree) -> Option<Guid> {
    let nodes = tree.nodes();
    nodes.iter().find(|node| can_go(node)).map(|node| node.guid)
}

fn can_go(node: &super::tree::Node) -> bool {
    node.temporary == Some(Temporary::Plain) && node.children.len() < 2
}

/// Marks a snapshot as one that is to go.
pub(super) fn mark(change: &mut Change<'_>, guid: Guid) -> Result<(), ToolError> {
    let bundle = change.bundle();
    let next = bundle
        .descriptor
        .with_top(bundle.tree.top())
        .and_then(|next| next.marked_temporary(guid));
    let next = sound(change, next)?;
    let done = change.commit(next);
    settle(change, done)
}

/// Takes a snapshot out of the bundle on which one other stands, or none.
fn take_out(
    change: &mut Change<'_>,
    guid: Guid,
    deleted: &mut Deleted,
    report: Report<'_>,
) -> Result<(), ToolError> {
    let child = change
        .bundle()
        .tree
        .get(guid)
        .and_then(|node| node.children.first().copied());
    let left = match child {
        None => drop_leaf(change, guid)?,
        Some(_) => merge::take_out(change, guid, Way::Cheaper, report)?,
    };
    deleted.left.extend(left);
    Ok(())
}
