//! The protocols of the mapping core under loom: every interleaving of the calls that race, in a device of a few
//! clusters.
//!
//! A model sets a state up by hand, lets two or three threads race exactly the calls of interest, carries the rest out one
//! by one, and checks (see `engine::rig`): exactly one end for each request, all structural invariants, the content, what
//! a power cut could have left at any time, the index on the disk after a flush, a clean close.

use engine::unseen::Events;
use loom::sync::atomic as atomics;
use ploop_core_loom as core;

mod alloc;
mod barrier;
mod bitmaps;
mod catalogue;
mod discard;
#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "each engine uses its part")]
mod engine;
mod explore;
mod ops;
mod page;
mod stage;
mod suspend;
mod waiters;
mod whole;
