//! The control plane's operations on files, under power cuts and faults: drawn images, every call, every crash image.

pub mod compact;
pub mod draw;
pub mod drill;
pub mod grow;
pub mod judge;
pub mod merge;

pub use compact::{Compact, Index};
pub use drill::{Drill, Ground, Stage, Stats};
pub use grow::Grow;
pub use merge::Merge;
