//! The mapping core of a thin-provisioned block device on ploop images.
#![forbid(unsafe_code)]

pub mod delta;
pub mod drive;
pub mod error;
pub mod format;
pub mod load;
pub mod units;
