//! Checker `tickets`: every request ends exactly once, and only requests that were submitted end (I33).

use ploop_core::Origin;

use crate::check::failure;
use crate::report::Failure;

/// A request ended. `active`: it was in flight.
pub fn ended(origin: Origin, active: bool) -> Result<(), Failure> {
    if active {
        return Ok(());
    }
    Err(failure(
        "tickets",
        format!("{origin:?} ended, but no request was in flight there (I33)"),
    ))
}
