//! The simulator.

pub mod check;
pub mod disk;
pub mod profile;
pub mod report;
pub mod scenario;
pub mod tape;
pub mod trace;
pub mod world;
