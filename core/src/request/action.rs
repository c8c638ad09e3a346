//! What goes into the core and what comes out: requests, actions, tickets, outcomes.
//!
//! An event goes in (`submit`, `complete`, `turn`, `tick`, `suspend`), actions come out in an [`Actions`] list. Each
//! I/O action carries a [`Ticket`] that is given back exactly once, to `Device::complete`, whatever became of the I/O.
//! The core names guest buffers ([`Buf`]) and never reads them.

use crate::request::work::Work;
use crate::units::{Level, PageId, QueueId, Sector, Sectors, Tag};

/// Who asks: a request of a queue. At most one request may be in flight for one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The queue; `< Options::queues`.
    pub queue: QueueId,
    /// The tag in that queue; `< Options::depth`.
    pub tag: Tag,
}

/// A request of the guest. `start` and `len` are in 512-byte sectors; both are ignored for `Flush`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// First guest sector.
    pub start: Sector,
    /// Number of guest sectors. The request must lie inside the virtual disk.
    pub len: Sectors,
}

/// The operations of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read into the request's buffer.
    Read,
    /// Write the request's buffer.
    Write {
        /// First make durable what was acknowledged before this request was submitted.
        preflush: bool,
        /// Acknowledge only when the written data survives a crash.
        fua: bool,
    },
    /// Make the range read as zeros. A write in every other respect: flush and FUA cover it.
    WriteZeroes {
        /// Acknowledge only when the zeros survive a crash.
        fua: bool,
        /// The space may be given back.
        unmap: bool,
    },
    /// The guest no longer needs the range: it reads old data or zeros from now on. Whole clusters are given back.
    Discard,
    /// Make durable what was acknowledged before this request was submitted.
    Flush,
    /// Copy the clusters that a lower delta shows into the top, whole ones, also at the ends of the range: nothing changes for
    /// the guest. It is asked for by the control plane: when all of the disk is promoted from a level on, and that is
    /// durable, the deltas from that level on are of no use to the top. See `control::promote`.
    Promote {
        /// The lowest delta that clusters are copied from.
        lowest: Level,
    },
}

/// A part of the guest buffer of a request in flight. `offset` is in sectors from the request's first sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buf {
    /// Whose buffer.
    pub origin: Origin,
    /// Where in it.
    pub offset: Sectors,
}

/// Why a request or an I/O failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The file answered with an error.
    Io,
    /// No space left in the file system, in the file (format limit), or the wait for it was cancelled.
    NoSpace,
    /// The file cannot do this (punch hole, zero range).
    Unsupported,
    /// A modifying request on a read-only device.
    ReadOnly,
    /// The request reaches beyond the end of the virtual disk.
    OutOfRange,
    /// The device is closed.
    Closed,
}

/// What became of an I/O, given to `Device::complete` with its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done.
    Done,
    /// Only the first `bytes` bytes were done (may be 0). Only for reads, writes, zeroing, copies and index writes.
    Short {
        /// Bytes done from the start of the I/O; less than its length.
        bytes: u64,
    },
    /// It failed; any part of it may have been applied.
    Failed(Failure),
}

/// What the driver has to do next.
#[derive(Debug)]
#[must_use]
pub struct Action {
    /// The queue that has to do it: the owner of the guest buffer, or for the core's own I/O the caller's queue.
    pub queue: QueueId,
    /// What to do.
    pub kind: ActionKind,
}

/// See [`Action`].
#[derive(Debug)]
pub enum ActionKind {
    /// Carry out `op` on a file of the chain, then give `ticket` back to `Device::complete`.
    Io {
        /// To be given back exactly once.
        ticket: Ticket,
        /// What to do.
        op: IoOp,
    },
    /// The request of `tag` on the action's queue has ended. Its buffer is free, its tag may be used again.
    Finish {
        /// Which request.
        tag: Tag,
        /// How it ended.
        outcome: Result<(), Failure>,
    },
}

/// An I/O on a file of the chain. Positions are sectors of that file; only the top level is ever written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoOp {
    /// Read `len` sectors at `at` into `buf`, then fill `zero_tail` more sectors of `buf` with zeros (they lie beyond
    /// the end of that file).
    Read {
        /// Which file.
        level: Level,
        /// Where.
        at: Sector,
        /// How much.
        len: Sectors,
        /// Sectors to be zeroed in the buffer behind the data.
        zero_tail: Sectors,
        /// Into what.
        buf: Buf,
    },
    /// Nothing is mapped here: fill `len` sectors of `buf` with zeros. No file is touched.
    ReadHole {
        /// How much.
        len: Sectors,
        /// Into what.
        buf: Buf,
    },
    /// Write `len` sectors of `buf` at `at`.
    Write {
        /// Which file (the top).
        level: Level,
        /// Where.
        at: Sector,
        /// How much.
        len: Sectors,
        /// From what.
        buf: Buf,
        /// Durable before it completes (RWF_DSYNC). `NoSpace` only if the write itself found none: an error of the
        /// synchronous part, whichever, is `Io`.
        fua: bool,
    },
    /// Make a range of the file read as zeros, inside its length (punch hole, or zero range, or write zeros).
    Zero {
        /// Which file (the top).
        level: Level,
        /// Where.
        at: Sector,
        /// How much.
        len: Sectors,
        /// Space may be given back to the file system.
        punch: bool,
    },
    /// Copy from a lower delta to the top through scratch memory: `len` sectors to `to`, of which the first `from_len`
    /// come from `from` and the rest are zeros.
    Copy {
        /// The lower delta.
        level: Level,
        /// Where in the lower delta.
        from: Sector,
        /// Sectors to read there (`<= len`).
        from_len: Sectors,
        /// Level written (the top).
        to_level: Level,
        /// Where in the top.
        to: Sector,
        /// Sectors to write there.
        len: Sectors,
    },
    /// Extend the file to `len` sectors. Never shrinks.
    SetLen {
        /// Which file (the top).
        level: Level,
        /// The new length.
        len: Sectors,
    },
    /// Write an image of one metadata page.
    WriteIndex {
        /// Which file (the top).
        level: Level,
        /// The page (for a trace; the bytes say all).
        page: PageId,
        /// Byte offset in the file: a multiple of `Options::granule`.
        at: u64,
        /// The bytes: length a multiple of `Options::granule`. Not changed after it was handed out (I9).
        image: Box<[u8]>,
    },
    /// Give the space of a free host cluster back. Failure is harmless.
    PunchHole {
        /// Which file (the top).
        level: Level,
        /// Where.
        at: Sector,
        /// How much.
        len: Sectors,
    },
    /// Make everything durable whose completion was delivered before this was submitted: data, holes, length.
    Sync {
        /// Which file (the top).
        level: Level,
    },
}

/// The right, and the duty, to report one I/O's outcome. Not `Clone`: it is given back exactly once.
#[derive(Debug)]
#[must_use = "a ticket must be given back to Device::complete"]
pub struct Ticket {
    pub(crate) work: Work,
    /// The queue that carries it out.
    pub(crate) queue: QueueId,
}

/// The list that actions are put on. Owned by the caller and reused, so that a mapped request allocates nothing.
#[derive(Debug, Default)]
pub struct Actions {
    pub(crate) list: Vec<Action>,
    /// The queue of the call under way: it carries out what the core does for itself.
    pub(crate) caller: QueueId,
    pub(crate) backlog: std::collections::VecDeque<crate::request::work::Resume>,
}

impl Actions {
    /// An empty list.
    #[must_use]
    pub fn new() -> Actions {
        Actions::default()
    }

    /// Takes the actions out, oldest first. The memory stays for the next call.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.list.drain(..)
    }

    /// Number of actions not yet taken out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
