//! Drivers that carry out a device's actions on files.

mod carry;
pub mod disk;
pub mod file;

pub use carry::failure;
pub use disk::Disk;
pub use file::DeltaFile;
