//! The executable reference.
#![forbid(unsafe_code)]

pub mod op;
