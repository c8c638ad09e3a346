//! The block device: the ublk driver's protocol, and the server that lives on it.
//!
//! ```text
//!   sys (UAPI) ◀── ctrl (control commands) ◀── server (life cycle) ──▶ front (queues) ──▶ crate::ring
//!                    shape (parameters)         state, socket, notify, namespace
//! ```

pub mod ctrl;
pub mod front;
pub mod namespace;
pub mod notify;
pub mod server;
pub mod shape;
pub mod socket;
pub mod state;
pub mod sys;
