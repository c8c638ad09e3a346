//! Checker `outcome`: a request fails only for a reason that there was: EIO only after an I/O that failed with EIO, did
//! nothing at all, or met a file that cannot do it; ENOSPC only after space ran out. What was done in part is finished, and
//! what found no space is not told as an I/O error (I33, I39). A page of the index that was written in part is written anew, and
//! only the fourth time in a row is that a reason (counted here over the whole run). And the other way: after a sync that
//! failed no flush and no FUA write succeeds, until the image is opened anew.

use model::op::{End, Kind};

use crate::check::failure;
use crate::disk::fault::{FaultCounts, FaultKind, IoKind};
use crate::report::Failure;

/// So many index writes have to be short for one to fail.
const SHORT_INDEX_WRITES: u64 = 4;

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
    let in_parts =
        end == End::Io && faults.get(IoKind::Index, FaultKind::Short) >= SHORT_INDEX_WRITES;
    if happened || in_parts {
        return Ok(());
    }
    Err(failure(
        "outcome",
        format!("a request ended with {end:?}, but there was no reason for that"),
    ))
}

/// Judges a request that succeeded; `poisoned`: a sync had failed before it was submitted.
pub fn check_promise(kind: Kind, poisoned: bool) -> Result<(), Failure> {
    let promises = matches!(
        kind,
        Kind::Flush
            | Kind::Write { preflush: true, .. }
            | Kind::Write { fua: true, .. }
            | Kind::WriteZeroes { fua: true, .. }
    );
    if poisoned && promises {
        return Err(failure(
            "outcome",
            format!("a sync has failed, and {kind:?} says that something is durable"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::fault::FaultPlan;

    #[test]
    fn short_index_writes_are_a_reason_from_the_fourth_on_and_others_never() {
        let mut plan = FaultPlan::none();
        // A literal: the core gives up at the fourth.
        for _ in 1..4 {
            plan.note(IoKind::Index, FaultKind::Short);
            plan.note(IoKind::Write, FaultKind::Short);
            assert!(check(End::Io, plan.injected()).is_err());
        }
        plan.note(IoKind::Write, FaultKind::Short);
        assert!(check(End::Io, plan.injected()).is_err());
        plan.note(IoKind::Index, FaultKind::Short);
        assert!(check(End::Io, plan.injected()).is_ok());
        assert!(check(End::NoSpace, plan.injected()).is_err());
    }
}
