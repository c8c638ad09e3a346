//! Requests: what goes in and comes out, and one state machine a file.

pub mod action;
pub(crate) mod cbt;
pub(crate) mod data;
pub(crate) mod flush;
pub(crate) mod make;
pub(crate) mod mark;
pub(crate) mod starve;
pub(crate) mod table;
pub(crate) mod track;
pub(crate) mod work;
