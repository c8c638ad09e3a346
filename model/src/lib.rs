//! The executable reference: what a disk may answer, what may survive a crash, and a second, naive reader and fsck of
//! the image format. It knows nothing of the core, and the core nothing of it.
//!
//! | file | is |
//! |---|---|
//! | `op` | the vocabulary of operations and values that everybody shares |
//! | `disk` | [`disk::Model`]: one virtual disk; judges every answer, and every content found after a crash |
//! | `reign` | a value and the reads that saw it; the order that time forces on reigns (the proof stands there) |
//! | `sector` | the history of one sector, cut to what still matters |
//! | `zeros` | which of several sources a read of zeros came from |
//! | `durable` | what the promise after a crash excludes |
//! | `violation` | a broken promise, in one line |
//! | `chain` | what a stack of layers reads as |
//! | `image`, `fsck` | the second reader of the format, and its checker |
//! | `bitmap` | its dirty bitmaps |
#![forbid(unsafe_code)]

pub mod bitmap;
pub mod chain;
pub mod disk;
mod durable;
pub mod fsck;
pub mod image;
pub mod op;
mod reign;
mod sector;
pub mod violation;
mod zeros;

pub use durable::ReadThenFlush;
