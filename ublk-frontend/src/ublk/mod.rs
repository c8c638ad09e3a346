//! The block device: the ublk driver's protocol, and the server that lives on it.
//!
//! ```text
//!   sys (UAPI) ◀── ctrl (control commands) ◀── server (life cycle) ──▶ front (queues) ──▶ crate::ring
//!                    shape (parameters)         state, socket, notify, namespace
//! ```

mod begin;
pub(crate) mod claim;
pub(crate) mod closing;
pub mod ctrl;
pub mod farewell;
pub mod front;
pub(crate) mod lent;
pub(crate) mod link;
mod map;
pub mod namespace;
pub mod notify;
pub mod report;
pub(crate) mod retell;
pub mod server;
pub(crate) mod setup;
pub mod shape;
mod signals;
pub mod socket;
pub mod state;
pub mod sys;
mod workers;
