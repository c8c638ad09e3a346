//! Checker `immediate`: without delayed write-back an acknowledged change of a slot is durable.
//!
//! Asked when a request on one cluster ends well and no other is under way there: the slot that clients see is the slot that
//! the medium has. A request that failed may have changed it too, and promises nothing: after one nobody is asked until the
//! image is opened anew. Requests on several clusters are made of the same parts, and an earlier part may have been overtaken.

use model::op::{Kind, Op};
use ploop_core::units::Clu;

use crate::check::failure;
use crate::disk::SimFile;
use crate::report::Failure;

/// The one cluster that a request changed, if it says by ending that the slot is durable.
#[must_use]
pub fn promised(op: Op, cluster: u64) -> Option<Clu> {
    let changes = !matches!(op.kind, Kind::Read | Kind::Flush);
    let (first, end) = (op.start / cluster, (op.start + op.len).div_ceil(cluster));
    (changes && op.len > 0 && end == first + 1).then_some(Clu(first as u32))
}

/// Judges the slot of such a cluster: clients see `visible`.
pub fn check(clu: Clu, visible: u32, top: &SimFile) -> Result<(), Failure> {
    let durable = top.durable_slot(clu.0);
    if durable == visible {
        return Ok(());
    }
    Err(failure(
        "immediate",
        format!("{clu:?} is acknowledged as {visible}, and {durable} on the medium"),
    ))
}
