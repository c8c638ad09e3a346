//! The on-disk format, as pure bytes and arithmetic: no file is touched here.

pub mod bitmap;
pub mod extension;
pub mod geometry;
pub mod header;

pub use bitmap::DirtyBitmap;
pub use geometry::{Layout, Version};
pub use header::{Header, InUse};
