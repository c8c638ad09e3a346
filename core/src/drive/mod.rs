//! Drivers that carry out a device's actions on files.

pub mod disk;
pub mod file;

pub use disk::Disk;
pub use file::DeltaFile;
