//! The control plane's operations on files, under power cuts and faults: drawn images, every call, every crash image.

pub mod draw;
pub mod drill;
pub mod grow;
pub mod judge;

pub use drill::{Drill, Ground, Stage, Stats};
pub use grow::Grow;
