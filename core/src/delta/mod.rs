//! Deltas as the loader hands them over, and what a stack of them must satisfy.

pub mod chain;
#[expect(
    clippy::module_inception,
    reason = "the field's term; one concept a file"
)]
pub mod delta;

pub use delta::{Body, Expanded, ExtensionState, LoadedDelta};
