//! The adapter between the core and the reference model, included under each engine's module. `super::core` is that
//! engine's build of the core, `super::atomics` its atomics, `super::Events` what it sees of the adapter itself; everything
//! else is common.
//!
//! ```text
//!   test ── model::op ──▶ Rig ──submit/complete/turn──▶ Device
//!                          │ ◀───────── I/O, Finish ─────┘
//!                          ├─ disk:  current content; what a power cut could leave behind
//!                          └─ model: judges every answer, and every sector that a power cut could leave behind
//! ```
//! The engines run all their threads on one OS thread, so the rig's own `std` mutex is never contended; it is held for a
//! few lines, and never across a call of the core.

use super::{Events, atomics, core};

pub(crate) mod closed;
pub(crate) mod config;
pub(crate) mod disk;
pub(crate) mod guard;
pub(crate) mod image;
pub(crate) mod kept;
pub(crate) mod ledger;
pub(crate) mod rig;
pub(crate) mod script;
pub(crate) mod seen;
pub(crate) mod sick;
pub(crate) mod switch;
pub(crate) mod trace;
pub(crate) mod unseen;
pub(crate) mod watch;
