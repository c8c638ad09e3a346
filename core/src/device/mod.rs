//! The device: events in, actions out. Dispatch only; the machines are in `request`, `writeback` and `control`.
//!
//! ```text
//!   submit ─▶ admitted ─▶ in-use mark ─▶ parts, one a cluster ─▶ I/O in place │ new mapping │ un-map ─▶ Finish
//!   complete ─▶ the work of the ticket goes on      turn ─▶ index rounds, syncs      tick ─▶ what is due
//! ```
//! * Methods take `&self`, never wait, and are called from any thread. What a call finds to do for others goes through
//!   the backlog of its own action list: no recursion (R6).
//! * The driver calls `turn` after each batch of `submit` and `complete`, and `tick` when its deadline has come.

mod issue;
mod open;
pub mod options;
mod outcome;
mod recover;
mod rounds;

use crate::alloc::Alloc;
use crate::bat::level::Levels;
use crate::bat::page::{Context, Page};
use crate::bat::table::Table;
use crate::bat::visible::VisibleMap;
use crate::request::action::{Actions, Failure, IoOp, Op, Origin, Request};
use crate::request::cbt::Cbt;
use crate::request::flush::Flushes;
use crate::request::mark::Mark;
use crate::request::starve::Starved;
use crate::request::table::{Admission, Queue};
use crate::request::track::Tracking;
use crate::request::work::{Resume, Segment, SegmentKind, Waiter, Work};
use crate::sync::Clock;
use crate::units::{Clu, Millis, PageId, QueueId, Sector, Sectors};
use crate::writeback::dirty::DirtySet;
use crate::writeback::gate::Gate;
pub use options::{NoSpace, OpenError, Options, WriteBack};

/// Shape of an open device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Virtual size.
    pub size: Sectors,
    /// Cluster size.
    pub cluster: Sectors,
    /// BAT entries of the top.
    pub entries: u32,
    /// Metadata pages.
    pub pages: u32,
    /// Deltas of the chain.
    pub levels: usize,
}

/// A device on a chain of deltas. `Send + Sync`; shared by all queues.
#[derive(Debug)]
pub struct Device {
    pub(crate) options: Options,
    pub(crate) table: Table,
    pub(crate) levels: Levels,
    pub(crate) pages: Box<[Page]>,
    pub(crate) alloc: Alloc,
    pub(crate) gate: Gate,
    pub(crate) dirty: DirtySet,
    pub(crate) mark: Mark,
    pub(crate) flushes: Flushes,
    pub(crate) starved: Starved,
    pub(crate) queues: Box<[Queue]>,
    pub(crate) visible: Box<dyn VisibleMap>,
    pub(crate) tracking: Tracking,
    pub(crate) cbt: Cbt,
    /// An extension was given up at the open, and the header in the file may still name it.
    pub(crate) forgets_extension: bool,
    clock: Clock,
}

impl Device {
    /// A request arrives. `from` must be idle; it ends with a `Finish` for its tag.
    pub fn submit(&self, from: Origin, request: Request, out: &mut Actions) {
        out.caller = from.queue;
        match self.queue(from.queue).begin(from, request) {
            Admission::Go => {
                self.dispatch(from, request, out);
                self.run(out);
            }
            Admission::Held => {}
            Admission::Closed => out.finish(from, Err(Failure::Closed)),
        }
    }

    /// The end of a batch of submissions and completions: index rounds and syncs start. `queue` carries them out.
    pub fn turn(&self, queue: QueueId, out: &mut Actions) {
        out.caller = queue;
        loop {
            let mut started = false;
            while let Some(page) = self.dirty.next_ready() {
                started = true;
                self.start_round(page, out);
            }
            self.run(out);
            if !started {
                break;
            }
        }
        if let Some(number) = self.gate.start() {
            out.io(
                queue,
                Work::Sync { number },
                IoOp::Sync {
                    level: self.levels.top(),
                },
            );
        }
    }

    /// Time passes. Returns when to call again at the latest; `turn` is to follow.
    pub fn tick(&self, now: Millis, out: &mut Actions) -> Option<Millis> {
        self.clock.set(now.0);
        let mut next: Option<Millis> = None;
        for page in self.dirty.snapshot() {
            let due = self.page(page).tick(self.context());
            next = [next, due.filter(|due| due.0 != u64::MAX)]
                .into_iter()
                .flatten()
                .min();
        }
        self.feed(now, out);
        self.run(out);
        [next, self.starved.next_due()].into_iter().flatten().min()
    }

    /// True if a metadata page waits for its date: the driver has to call `tick`.
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        self.dirty.count() > 0 || self.is_starving()
    }

    fn dispatch(&self, origin: Origin, request: Request, out: &mut Actions) {
        let Request { op, start, len } = request;
        let end = start.0.checked_add(len.0);
        let modifies = !matches!(op, Op::Read | Op::Flush);
        if op != Op::Flush && end.is_none_or(|end| end > self.table.size().0) {
            return self.end_part(origin, Err(Failure::OutOfRange), out);
        }
        if modifies && !self.options.write {
            return self.end_part(origin, Err(Failure::ReadOnly), out);
        }
        match op {
            Op::Flush if !self.options.write => self.end_part(origin, Ok(()), out),
            Op::Flush => self.start_flush(origin, None, out),
            Op::Write { preflush: true, .. } if len.0 == 0 => self.start_flush(origin, None, out),
            Op::Write {
                preflush: true,
                fua,
            } => {
                let write = Request {
                    op: Op::Write {
                        preflush: false,
                        fua,
                    },
                    ..request
                };
                self.start_flush(origin, Some(write), out);
            }
            Op::Write { fua: true, .. } | Op::WriteZeroes { fua: true, .. } if len.0 == 0 => {
                self.end_part(origin, self.nothing_is_wrong(), out);
            }
            _ if len.0 == 0 => self.end_part(origin, Ok(()), out),
            _ if modifies && !self.mark.is_set() => self.wait_for_mark(origin, request, out),
            Op::Read => self.split(origin, SegmentKind::Read, false, start, len, out),
            Op::Write { fua, .. } => self.split(origin, SegmentKind::Write, fua, start, len, out),
            Op::WriteZeroes { fua, unmap } => {
                self.split(origin, SegmentKind::Zeroes { unmap }, fua, start, len, out);
            }
            Op::Discard => self.split(origin, SegmentKind::Discard, false, start, len, out),
            Op::Promote { lowest } => {
                self.split(
                    origin,
                    SegmentKind::Promote { lowest },
                    false,
                    start,
                    len,
                    out,
                );
            }
        }
    }

    /// One segment a cluster.
    fn split(
        &self,
        origin: Origin,
        kind: SegmentKind,
        fua: bool,
        start: Sector,
        len: Sectors,
        out: &mut Actions,
    ) {
        let (mut clu, mut within) = self.table.clu(start);
        let cluster = self.table.cluster().0;
        let parts = (u64::from(within) + len.0).div_ceil(cluster);
        if parts > 1 {
            self.queue(origin.queue).split(origin.tag, parts as u32);
        }
        let mut done = 0;
        while done < len.0 {
            let part = (cluster - u64::from(within)).min(len.0 - done);
            let buf = Sectors(done);
            self.start_segment(
                Segment {
                    origin,
                    kind,
                    fua,
                    clu,
                    within,
                    len: part as u32,
                    buf,
                },
                out,
            );
            done += part;
            within = 0;
            clu = Clu(clu.0 + 1);
        }
    }

    /// Works the backlog off.
    pub(crate) fn run(&self, out: &mut Actions) {
        while let Some(resume) = out.backlog.pop_front() {
            match resume {
                Resume::Segment(segment) => self.start_segment(segment, out),
                Resume::Make(segment) => self.make(segment, out),
                Resume::MakeFailed(segment, failure) => self.make_failed(segment, failure, out),
                Resume::End(segment, result) => self.end(segment, result, out),
                Resume::Request(origin, request) => self.dispatch(origin, request, out),
                Resume::Fail(origin, failure) => self.end_part(origin, Err(failure), out),
                Resume::Waiter(waiter, result) => self.waited(waiter, result, out),
            }
        }
    }

    /// What somebody waited for has happened, or has not.
    fn waited(&self, waiter: Waiter, result: Result<(), Failure>, out: &mut Actions) {
        match waiter {
            Waiter::Segment { segment, sync } if sync != 0 && result.is_ok() => {
                self.wait_sync(sync, Waiter::Segment { segment, sync: 0 }, out);
            }
            Waiter::Segment { segment, .. } => self.end(segment, result, out),
            Waiter::Flush(id) => self.flush_part(id, result, out),
            Waiter::Mark => self.mark_ended(result, out),
            Waiter::Eligible(page) => self.page(page).awaited(self.context()),
            Waiter::Round(page) => self.settle(page, result, out),
        }
    }

    pub(crate) fn page(&self, id: PageId) -> &Page {
        &self.pages[id.0 as usize]
    }

    pub(crate) fn queue(&self, id: QueueId) -> &Queue {
        &self.queues[usize::from(id.0)]
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(self.clock.get())
    }

    /// When a failed page is tried again without anybody waiting for it.
    pub(crate) fn retry_at(&self) -> Millis {
        let delay = match self.options.write_back {
            WriteBack::Delayed(delay) => delay.0.max(1),
            WriteBack::Immediate => 50,
        };
        Millis(self.now().0.saturating_add(delay))
    }

    #[inline]
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            levels: &self.levels,
            alloc: &self.alloc,
            dirty: &self.dirty,
            visible: &*self.visible,
            now: self.now(),
        }
    }
}
