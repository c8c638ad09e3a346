//! The protocols of the mapping core under our own explorer: the models of the loom tests, file by file, one execution for
//! each inequivalent interleaving, without any bound on preemptions.
//!
//! What loom sees and this does not: orderings of atomics weaker than sequential consistency. What this sees and loom does
//! not: the order of the adapter's own events (requests submitted and ended, I/O handed out and ended), which the model and
//! the disk judge by.

use engine::seen::Events;
use explore_sync::atomic as atomics;
use ploop_core_explore as core;

#[path = "../loom/alloc.rs"]
mod alloc;
#[path = "../loom/barrier.rs"]
mod barrier;
#[path = "../loom/bitmaps.rs"]
mod bitmaps;
#[path = "../loom/catalogue.rs"]
mod catalogue;
#[path = "../loom/discard.rs"]
mod discard;
#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "each engine uses its part")]
mod engine;
mod explore;
#[path = "../loom/ops.rs"]
mod ops;
#[path = "../loom/page.rs"]
mod page;
#[path = "../loom/stage.rs"]
mod stage;
#[path = "../loom/suspend.rs"]
mod suspend;
#[path = "../loom/waiters.rs"]
mod waiters;
#[path = "../loom/whole.rs"]
mod whole;
