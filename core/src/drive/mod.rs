//! The blocking driver: carries out a device's actions on [`DeltaFile`]s, one request at a time.

pub mod file;

pub use file::DeltaFile;
