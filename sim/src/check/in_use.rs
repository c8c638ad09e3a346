//! Checker `in-use`: the mark is durable before the first change (I31).
//!
//! ```text
//!   unmarked ──index write of page 0 with the mark completed──▶ written ──sync submitted then, and ok──▶ durable
//! ```
//! Until it is durable, nothing but that index write may be submitted. After a crash from then on, and until the clean
//! close, every image must carry the mark (`image`).

use ploop_core::IoOp;
use ploop_core::format::InUse;

use crate::check::failure;
use crate::report::Failure;

/// How far the mark is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Not set in this power cycle.
    #[default]
    Unmarked,
    /// Written, not synced.
    Written,
    /// On the media.
    Durable,
}

/// True for an index write that carries the mark.
#[must_use]
pub fn carries_mark(op: &IoOp) -> bool {
    let IoOp::WriteIndex { at: 0, image, .. } = op else {
        return false;
    };
    image.get(44..48) == Some(&InUse::InUse.raw().to_le_bytes())
}

/// Judges an I/O before it is carried out.
pub fn check(op: &IoOp, mark: Mark) -> Result<(), Failure> {
    let harmless = matches!(
        op,
        IoOp::Read { .. } | IoOp::ReadHole { .. } | IoOp::Sync { .. }
    );
    if harmless || mark == Mark::Durable || carries_mark(op) {
        return Ok(());
    }
    Err(failure(
        "in-use",
        format!("changed before the in-use mark is durable (I31): {op:?}"),
    ))
}
