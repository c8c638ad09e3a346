//! The simulator.
#![forbid(unsafe_code)]

pub mod bench;
pub mod bugs;
pub mod campaign;
pub mod check;
pub mod cli;
pub mod disk;
pub mod explain;
pub mod explorer;
pub mod face;
pub mod fuzzing;
pub mod profile;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod search;
pub mod shrink;
pub mod tape;
pub mod trace;
pub mod world;
