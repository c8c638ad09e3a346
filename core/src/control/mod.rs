//! The control plane: what happens on a drained device, and what can be asked of a running one.

pub mod close;
pub mod files;
pub mod inspect;
mod save;
pub mod suspend;
pub mod tracking;
