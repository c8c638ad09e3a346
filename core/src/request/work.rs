//! Requests as data: what a ticket, a waiting list or the backlog carries. Nothing here is ever cloned.

use crate::request::action::{Failure, Origin, Request};
use crate::units::{Clu, DstClu, Level, PageId, Sector, Sectors};

/// The part of a request that lies in one guest cluster.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Whose request.
    pub(crate) origin: Origin,
    /// What to do.
    pub(crate) kind: SegmentKind,
    /// Acknowledge only when durable.
    pub(crate) fua: bool,
    /// Guest cluster.
    pub(crate) clu: Clu,
    /// First sector inside the cluster.
    pub(crate) within: u32,
    /// Sectors.
    pub(crate) len: u32,
    /// Where this part begins in the request's buffer.
    pub(crate) buf: Sectors,
}

/// See [`Segment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    Read,
    Write,
    Zeroes { unmap: bool },
    Discard,
    Promote { lowest: Level },
}

impl SegmentKind {
    /// True for a copy that no guest asked for.
    pub(crate) fn is_promotion(self) -> bool {
        matches!(self, SegmentKind::Promote { .. })
    }

    /// True if the guest may see something else afterwards.
    pub(crate) fn changes_content(self) -> bool {
        !matches!(self, SegmentKind::Read | SegmentKind::Promote { .. })
    }
}

/// How a mapped place is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataOp {
    Read { level: Level, zero_tail: u32 },
    Write { direct_fua: bool },
    Zero { punch: bool },
}

impl DataOp {
    /// What is left of it after a short completion. A synchronous write that was cut short proves nothing about its
    /// first part: the whole of it is covered by a sync instead.
    pub(crate) fn resumed(self) -> DataOp {
        match self {
            DataOp::Write { .. } => DataOp::Write { direct_fua: false },
            other => other,
        }
    }
}

/// What a new mapping rests on: the content that the fresh host cluster gets before it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Zeros are written over unknown content.
    Prepare,
    /// The request itself writes the whole cluster.
    Whole,
    /// The lower delta's cluster is copied: `len` sectors from there, zeros behind.
    Copy {
        level: Level,
        from: Sector,
        len: u32,
    },
}

/// What a ticket's I/O is for.
#[derive(Debug)]
pub(crate) enum Work {
    /// I/O of a segment in a place that it is registered for. `done` sectors are behind it.
    Data {
        segment: Segment,
        op: DataOp,
        at: Sector,
        done: u32,
    },
    /// Zeros for a read of a hole.
    Hole { segment: Segment },
    /// The base of a new mapping; the segment holds the cluster.
    Base {
        segment: Segment,
        host: DstClu,
        base: Base,
        done: u32,
    },
    /// The top file is extended to hold `hosts` host clusters.
    Extend { hosts: u32 },
    /// A round of index write-back.
    Index { page: PageId },
    /// Sync number `number`.
    Sync { number: u64 },
    /// A free host cluster's space is given back.
    Punch { host: DstClu },
}

/// Work that a call found for itself or another queue: done before the call returns, without recursion.
#[derive(Debug)]
pub(crate) enum Resume {
    /// Start a segment over: look up again.
    Segment(Segment),
    /// Go on making a mapping; the segment holds the cluster.
    Make(Segment),
    /// Making a mapping failed; the segment holds the cluster.
    MakeFailed(Segment, Failure),
    /// A part of a request ended.
    End(Segment, Result<(), Failure>),
    /// A request may go on: it was held back, or waited for the in-use mark, or its preflush is done.
    Request(Origin, Request),
    /// A request ended before it had parts.
    Fail(Origin, Failure),
    /// A waiter of a page or of the sync gate.
    Waiter(Waiter, Result<(), Failure>),
}

/// Who waits for a page or for a sync.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A part of a request; `sync` is the sync that covers its data (0: none needed).
    Segment { segment: Segment, sync: u64 },
    /// Part of a flush.
    Flush(FlushId),
    /// The in-use mark.
    Mark,
    /// A page whose next round needs the sync.
    Eligible(PageId),
    /// A page whose image is written and must become durable.
    Round(PageId),
}

/// A flush in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlushId(pub(crate) u32);
