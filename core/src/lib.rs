//! The mapping core of a thin-provisioned block device on ploop images.
#![forbid(unsafe_code)]

pub mod drive;
pub mod units;
