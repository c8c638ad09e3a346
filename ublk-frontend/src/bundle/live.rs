//! Two snapshots of a bundle become one while its disk is in use: what is done to the descriptor. The copying, between
//! [`begin`] and [`end`], is the caller's (`commands::merge_live`).
//!
//! ```text
//!   two below the top:   begin ─▶ copying, the disk goes on ─▶ (server aside) end
//!
//!   the top T into L:    L <- T          (aside) rest    becomes   L* <- G* <- T'         T' is new and empty
//!                        L* <- G* <- T'  begin, copying, (aside) end     G* <- T'         in L's file
//!                        G* <- T'        (aside) merged as ever, or rest once more        T
//! ```
//! * `*` is the mark of a snapshot that is to go. Both have it from the same step on, so a merge that was cut is known again
//!   by two marks right below the top ([`pending`]).
//! * Downwards the lower one is marked before the first cluster is copied: what it shows by itself is spoiled.

use std::path::PathBuf;

use super::descriptor::Temporary;
use super::folder::Folder;
use super::guid::Guid;
use super::merge::{self, Way, only_child};
use super::snapshots::{Created, create_going, refused, removable};
use super::store::Change;
use super::tree::Tree;
use crate::tool::ToolError;

/// Two snapshots, one right above the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its name goes.
    pub lower: Guid,
    /// Its name stays.
    pub upper: Guid,
    /// The clusters go up.
    pub forward: bool,
}

/// Before the first cluster is copied. The caller holds the bundle's lock.
pub fn begin(folder: &dyn Folder, pair: Pair) -> Result<(), ToolError> {
    let mut change = Change::begin(folder)?;
    must_be_pair(&change, pair)?;
    let node = change.bundle().tree.get(pair.lower);
    let is_marked = node.is_some_and(|node| node.temporary.is_some());
    if pair.forward || is_marked {
        return Ok(());
    }
    super::delete::mark(&mut change, pair.lower)
}

/// When everything is copied, and nobody has the files. Returns a file that was left, as it lies outside of the bundle. The
/// caller holds the bundle's lock.
pub fn end(folder: &dyn Folder, pair: Pair) -> Result<Option<PathBuf>, ToolError> {
    let mut change = Change::begin(folder)?;
    must_be_pair(&change, pair)?;
    let forward = pair.forward;
    merge::take_out(
        &mut change,
        pair.lower,
        Way::Copied { forward },
        &mut |_| {},
    )
}

/// An empty file on top of the delta that is written, which goes down with it into the one below. Nobody has the files; the
/// caller holds the bundle's lock.
pub fn rest(folder: &dyn Folder) -> Result<Created, ToolError> {
    let change = Change::begin(folder)?;
    let tree = &change.bundle().tree;
    let below = tree.get(tree.top()).and_then(|top| top.parent);
    let Some(below) = below else {
        return Err(refused(&change, "there is one snapshot"));
    };
    let node = removable(&change, below)?;
    only_child(&change, node)?;
    create_going(folder, below)
}

/// The merge of the top that was begun and has not ended, and still has to copy.
#[must_use]
pub fn pending(tree: &Tree) -> Option<Pair> {
    let goes = |guid: Guid| {
        tree.get(guid)
            .filter(|node| node.temporary == Some(Temporary::Plain) && node.children.len() == 1)
    };
    let upper = goes(tree.get(tree.top())?.parent?)?;
    let lower = goes(upper.parent?)?;
    Some(Pair {
        lower: lower.guid,
        upper: upper.guid,
        forward: false,
    })
}

fn must_be_pair(change: &Change<'_>, pair: Pair) -> Result<(), ToolError> {
    let node = removable(change, pair.lower)?;
    match only_child(change, node)? {
        upper if upper == pair.upper => Ok(()),
        upper => Err(refused(
            change,
            format_args!("{upper} stands on {}, not {}", pair.lower, pair.upper),
        )),
    }
}
