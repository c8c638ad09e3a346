//! The simulator.

pub mod disk;
pub mod tape;
pub mod trace;
