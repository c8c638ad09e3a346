//! Whole devices under shuttle: two to four queue threads run short random scripts on a small disk, and carry out each
//! other's I/O in any order.
//!
//! What is checked stands in `engine::rig`: every answer is explained by the model, each request ends once, every sector
//! that a power cut could leave at any time is legal, all structural invariants hold at rest, the closed image loads and
//! reads as the model says; and no thread waits for ever.
//!
//! A failure writes its schedule to a file and says where: `SIM_SHUTTLE_REPLAY=<file> cargo test -p sim --test shuttle
//! <test>` runs it again (with `-- --nocapture` and `SHUTTLE_CAPTURE_BACKTRACE=1` for more).

use engine::unseen::Events;
use ploop_core_shuttle as core;
use shuttle::sync::atomic as atomics;

#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "each engine uses its part")]
mod engine;
mod portfolio;
mod queues;
mod rate;
mod script;
mod switches;
