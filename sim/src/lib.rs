//! The simulator.
#![forbid(unsafe_code)]

pub mod check;
pub mod disk;
pub mod fuzzing;
pub mod profile;
pub mod report;
pub mod tape;
pub mod trace;
pub mod world;
