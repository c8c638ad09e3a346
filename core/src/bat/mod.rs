//! The block allocation table in memory: levels, pages, and the map of one page.

pub(crate) mod level;
pub(crate) mod mirror;
pub(crate) mod page;
pub(crate) mod table;
