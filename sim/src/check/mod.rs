//! The checkers: one property each, outside the core. Each names what it decides; a failure carries that name.

pub mod bitmaps;
pub mod clusters;
pub mod extension;
pub mod image;
pub mod immediate;
pub mod in_use;
pub mod outcome;
pub mod tickets;

use crate::report::{Class, Failure};

/// A failure found by a checker. The trace is filled in by the world.
#[must_use]
pub fn failure(checker: &'static str, message: String) -> Failure {
    Failure {
        class: Class::Wrong,
        checker,
        message,
        trace: 0,
    }
}
