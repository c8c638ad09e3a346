//! The block device: the ublk driver's protocol, and the server that lives on it.
//!
//! ```text
//!   sys (UAPI) ◀── ctrl (control commands) ◀── server (life cycle) ──▶ front (queues) ──▶ crate::ring
//!                    shape (parameters)         state, socket, notify, namespace
//! ```

mod closing;
pub mod ctrl;
pub mod front;
mod map;
pub mod namespace;
pub mod notify;
pub mod report;
pub mod server;
mod setup;
pub mod shape;
pub mod socket;
pub mod state;
pub mod sys;
mod workers;
