//! Index write-back: when a metadata page is written, what may stand in it, and who waits for it.

pub(crate) mod dirty;
pub(crate) mod gate;
pub(crate) mod record;
pub(crate) mod round;
pub(crate) mod state;
