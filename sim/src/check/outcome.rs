//! Checker `outcome`: a request fails only for a reason that there was: EIO only after an I/O that failed with EIO, did
//! nothing at all, or met a file that cannot do it; ENOSPC only after space ran out. What was done in part is finished, and
//! what found no space is not told as an I/O error (I33, I39).

use model::op::End;

use crate::check::failure;
use crate::disk::fault::{FaultCounts, FaultKind};
use crate::report::Failure;

/// Judges how a request ended, by the faults that have happened until then.
pub fn check(end: End, faults: &FaultCounts) -> Result<(), Failure> {
    let reasons: &[FaultKind] = match end {
        End::Ok => return Ok(()),
        End::Io => &[FaultKind::Io, FaultKind::Nothing, FaultKind::Unsupported],
        End::NoSpace => &[FaultKind::NoSpace],
    };
    let happened = faults
        .iter()
        .any(|(_, fault, count)| count > 0 && reasons.contains(&fault));
    if happened {
        return Ok(());
    }
    Err(failure(
        "outcome",
        format!("a request ended with {end:?}, but there was no reason for that"),
    ))
}
