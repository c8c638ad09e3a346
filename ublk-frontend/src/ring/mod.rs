//! Carries out the core's actions on an io_uring. Knows nothing of ublk: whoever brings the requests is a [`Front`].
//!
//! ```text
//!   front ──request──▶ Queue ──submit──▶ core ──actions──▶ Flights ──▶ ring ──completion──▶ core ──finish──▶ front
//!                        │ actions of another queue ──▶ that queue's Mailbox ──eventfd──▶ its ring
//! ```
//! One thread and one ring a queue. A mapped request stays on its queue, takes no lock but the core's and allocates
//! nothing.

mod copy;
pub mod counters;
pub mod event;
pub mod flights;
pub mod mailbox;
pub mod memory;
pub mod open;
pub mod promotion;
pub mod queue;
pub mod shadow;
pub mod step;
pub mod ticker;

#[cfg(test)]
mod tests;

pub use counters::{Counters, Summary};
pub use mailbox::Mailboxes;
pub use memory::Memory;
pub use open::{Direct, Opened};
pub use queue::{Front, Queue, Shared};
