//! The simulated disk: one [`SimFile`] is content, length and holes, with a volatile cache and a crash.
//!
//! A file is a row of *units*: the granules of its metadata area (real bytes, torn at the granule), then one sector
//! each (a [`Value`]). A hole is content that reads as zeros and is pending like any other.
//!
//! What the disk promises, and what it does not
//! 1. A change submitted is *in flight*: any part of it may be seen by a read, and may survive a crash. Completed, it
//!    is seen whole.
//! 2. A sync covers exactly the changes completed before it was submitted. When it succeeds they are durable. A change
//!    with FUA makes its own range durable when it completes, but neither a length nor anything elsewhere.
//! 3. After a crash each unit holds its durable content or what any one pending change puts there that no durable one
//!    supersedes. A durable change supersedes those that landed before it, thus all that completed before it was
//!    submitted; changes in flight at the same time land in either order.
//! 4. The length is the durable one or any pending one, independent of data. What lies beyond it is gone; a unit
//!    inside a surviving extension is zero unless its own change survived.
//! 5. A failed or short change leaves any subset of its units applied. A failed sync makes any subset of what it
//!    covers durable; the rest is *lost*: no later sync covers it, a read sees it or (if the caller says so) the
//!    durable content, and a crash may leave either.
//!
//! Not modelled: holes as space (what is allocated), reordering of truncation against later extension (a truncation
//! persists unit by unit, as zeros, and as a length), sectors partly beyond the end.

pub mod allows;
pub mod blocking;
mod cache;
mod complete;
mod crash;
pub mod crash_image;
mod evict;
pub mod fault;
mod file;
mod length;
pub mod sector;
mod submit;
mod sync;
#[cfg(test)]
mod tests;
mod view;

pub use blocking::{BlockingFile, Power};
pub use complete::Effect;
pub use crash::CrashReport;
pub use crash_image::CrashImages;
pub use file::{Geometry, SimFile};
pub use submit::{Change, IoId};
pub use sync::{SyncEffect, SyncId};
pub use view::View;

#[cfg(doc)]
use model::op::Value;
