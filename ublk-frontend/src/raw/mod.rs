//! The only modules with `unsafe` code: memory that the kernel reads and writes behind our back, and the rings.
//!
//! Promises to the rest of the program, whatever it does:
//! 1. An I/O only ever names memory of the ring's own [`Arena`], inside its bounds. The arena is mapped as long as the
//!    ring lives, and a ring that is dropped first waits for the I/O it has in flight.
//! 2. Nobody gets a reference into an arena: bytes are copied in and out, so that what the kernel changes meanwhile is
//!    a wrong byte at worst.
//! 3. A control command returns only when the kernel is done with the memory it names.
//! 4. Request descriptors are read as plain numbers, never as a reference; shared words are atomics.

mod arena;
mod block;
mod control;
mod locks;
mod maps;
mod ring;
mod witness;

use std::io;

use rustix::thread::UnshareFlags;

pub use arena::{Arena, probe_direct};
pub use block::{drop_cache, read_partitions, set_read_only};
pub use control::ControlRing;
pub use locks::{is_byte_locked, share_byte, unlock_bytes};
pub use maps::{Descriptors, SharedWords};
pub use ring::{Buffers, Completion, FileIndex, Place, Ring, UblkBuffer};

/// Gives the calling thread, and those it starts, a copy of the mounts.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: the mounts are not shared any more, nothing else: no descriptor and no memory changes its meaning.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?)
}

#[cfg(test)]
mod tests;
