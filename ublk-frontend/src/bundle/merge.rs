//! Two snapshots, one right above the other, become one: it has the name of the upper one and shows what that one showed.
//!
//! ```text
//!   backward:  lower <- upper   mark lower ─> copy upper's clusters into lower's file ─> lower's file is upper's ─> unlink
//!   forward:   lower <- upper   copy what upper lacks from lower's file into upper's  ─> lower is gone           ─> unlink
//! ```
//! * What the upper one shows is the same at every moment, and so is everything above it.
//! * Backward spoils what the lower one shows by itself, so it is marked as temporary before the first cluster is copied.
//!   Nothing else may stand on it. Forward spoils nothing.
//! * The way that copies less is taken, but nothing is copied back into a raw disk that would be written then, as raw disks
//!   are not.
//! * What was cut is done again, the same way or the other: what backward has changed in the lower file, the upper one hides.

use std::path::PathBuf;

use ploop_core::control::files::{Merge, Progress, Source};
use ploop_core::delta::LoadedDelta;

use super::delete::mark;
use super::guid::Guid;
use super::held::{HeldFile, hold};
use super::snapshots::{file_of, refused, removable, settle, sound, stays};
use super::store::Change;
use super::tree::{Node, plain_name};
use crate::tool::ToolError;

/// Clusters between two reports.
const STEP: u32 = 64;

/// Told how far a long work is.
pub type Report<'r> = &'r mut dyn FnMut(Progress);

/// How two snapshots become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The way that copies less.
    Cheaper,
    /// The same of two on which the disk that is written does not stand. It is in use, and left alone.
    Beside,
    /// Everything was copied while the disk was in use (see `live`): one of the two leaves.
    Copied {
        /// Upwards.
        forward: bool,
    },
}

/// Merges a snapshot with the only one above it. Returns what is left of the file that goes: see [`stays`].
pub fn take_out(
    change: &mut Change<'_>,
    lower: Guid,
    way: Way,
    report: Report<'_>,
) -> Result<Option<PathBuf>, ToolError> {
    let node = removable(change, lower)?;
    let upper = only_child(change, node)?;
    let is_marked = node.temporary.is_some();
    let folder = change.folder();
    let bundle = change.bundle();
    let top = bundle.tree.top();
    // The longest chain that has both in it, to be checked as a whole.
    let above = bundle.tree.chain(top).iter().any(|node| node.guid == upper);
    if above && way == Way::Beside {
        let text = format!("the snapshot {upper} is a part of the disk that is written");
        return Err(refused(change, text));
    }
    let held = hold(
        folder,
        bundle,
        if above { top } else { upper },
        &[lower, upper, top],
    )?;
    let written = match above || way == Way::Beside {
        true => None,
        false => Some(folder.open(&file_of(&bundle.tree, top), true)?),
    };
    let (Some(low), Some(up)) = (find(&held, lower), find(&held, upper)) else {
        return Err(refused(change, format_args!("no snapshot {lower}")));
    };
    let forward = match way {
        Way::Cheaper | Way::Beside => is_forward(&low.delta, &up.delta, upper == top),
        Way::Copied { forward } => forward,
    };
    let (lower_file, upper_file) = (file_of(&bundle.tree, lower), file_of(&bundle.tree, upper));
    let next = bundle
        .descriptor
        .with_top(top)
        .and_then(|next| match forward {
            true => next.merged_up(lower, upper),
            false => next.merged(lower, upper),
        });
    let next = sound(change, next)?;
    let goes = if forward { lower_file } else { upper_file };
    let name = plain_name(&goes).map(str::to_owned);
    if !forward && !is_marked {
        mark(change, lower)?;
    }
    if !matches!(way, Way::Copied { .. }) || forward {
        // Upwards, what was copied is seen.
        copy(low, up, forward, report)?;
    }
    let left = stays(folder, &goes);
    change.note(&name.as_deref().into_iter().collect::<Vec<_>>())?;
    let done = change.commit(next);
    drop((held, written));
    settle(change, done)?;
    Ok(left)
}

/// The only snapshot that stands on this one.
pub(super) fn only_child(change: &Change<'_>, node: &Node) -> Result<Guid, ToolError> {
    match node.children.as_slice() {
        [only] => Ok(*only),
        children => {
            let text = format!(
                "the snapshot {} cannot be merged with the one above it: {} stand on it",
                node.guid,
                children.len()
            );
            Err(refused(change, text))
        }
    }
}

fn find(held: &[HeldFile], guid: Guid) -> Option<&HeldFile> {
    held.iter().find(|file| file.guid == guid)
}

/// Whether what the upper one lacks is copied up.
fn is_forward(lower: &LoadedDelta, upper: &LoadedDelta, is_written: bool) -> bool {
    match (lower.expanded(), upper.expanded()) {
        (Some(lower), Some(upper)) => {
            let count = |bat: &[u32]| bat.iter().filter(|entry| **entry != 0).count();
            count(&lower.bat) <= count(&upper.bat)
        }
        _ => is_written,
    }
}

fn copy(
    lower: &HeldFile,
    upper: &HeldFile,
    forward: bool,
    report: Report<'_>,
) -> Result<(), ToolError> {
    fn source(held: &HeldFile) -> Source<'_> {
        Source {
            file: &*held.file,
            name: &held.name,
            raw: held.delta.expanded().is_none(),
        }
    }
    let mut merge = match forward {
        true => Merge::forward(source(lower), source(upper)),
        false => Merge::backward(source(lower), source(upper)),
    }?;
    loop {
        let progress = merge.step(STEP)?;
        report(progress);
        if progress.finished {
            return Ok(());
        }
    }
}
