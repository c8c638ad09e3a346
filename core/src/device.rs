//! The device: events in, actions out. Dispatch only; the machines are in `request`, `writeback` and `control`.
//!
//! ```text
//!   submit ─▶ admitted ─▶ in-use mark ─▶ parts, one a cluster ─▶ I/O in place │ new mapping │ un-map ─▶ Finish
//!   complete ─▶ the work of the ticket goes on      turn ─▶ index rounds, syncs      tick ─▶ what is due
//! ```
//! * Methods take `&self`, never wait, and are called from any thread. What a call finds to do for others goes through
//!   the backlog of its own action list: no recursion (R6).
//! * The driver calls `turn` after each batch of `submit` and `complete`, and `tick` when its deadline has come.

use crate::alloc::Alloc;
use crate::bat::level::{self, Levels, NO_LEVEL};
use crate::bat::page::{Context, HeaderCopy, MdPage, Page};
use crate::bat::table::Table;
use crate::cluster::lock::{ClusterLocks, SHADOWS};
use crate::delta::{Body, Expanded, LoadedDelta, chain};
use crate::error::LoadError;
use crate::format::{Layout, Version};
use crate::request::action::{
    Action, ActionKind, Actions, Buf, Failure, IoOp, Op, Origin, Outcome, Request, Ticket,
};
use crate::request::flush::Flushes;
use crate::request::mark::Mark;
use crate::request::starve::{Starved, Starving};
use crate::request::table::{Admission, Queue};
use crate::request::work::{Base, DataOp, Resume, Segment, SegmentKind, Waiter, Work};
use crate::sync::Clock;
use crate::units::{Clu, Millis, PageId, QueueId, SECTOR_BYTES, Sector, Sectors};
use crate::verify::mark;
use crate::writeback::dirty::DirtySet;
use crate::writeback::gate::{Gate, Wait};
use crate::writeback::round::Start;
use crate::writeback::state::State;

/// When a write is acknowledged with respect to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteBack {
    /// After the index write that it needs is durable.
    Immediate,
    /// Before; the index follows within this time, or with the next flush or FUA.
    Delayed(Millis),
}

/// What to do when the file system has no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSpace {
    /// Wait, and try again this often. Suspend cancels the wait.
    Wait {
        /// Time between attempts.
        retry: Millis,
    },
    /// Fail the request at once.
    Fail,
}

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of queues, at least 1.
    pub queues: u16,
    /// Tags of a queue, at least 1.
    pub depth: u16,
    /// The top may be written.
    pub write: bool,
    /// Index write-back.
    pub write_back: WriteBack,
    /// By how much the file is extended when it is full, rounded down to clusters, at least one.
    pub prealloc: Sectors,
    /// What to do without space.
    pub no_space: NoSpace,
    /// Bytes of a metadata page: 4096, or less for an explorer. A multiple of `granule`, above 64.
    pub page_bytes: u32,
    /// Unit in which the file may be written: 512, 4096 on such hosts, less for an explorer.
    pub granule: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            queues: 1,
            depth: 128,
            write: true,
            write_back: WriteBack::Delayed(Millis(50)),
            prealloc: Sectors::whole_in(128 << 20),
            no_space: NoSpace::Wait {
                retry: Millis(1000),
            },
            page_bytes: 4096,
            granule: 512,
        }
    }
}

/// Why a device was not opened. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The chain cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An option makes no sense.
    #[error("option {name} is {value}: {rule}")]
    Option {
        /// Which.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// The image can only be written in pieces smaller than its host takes.
    #[error(
        "{file}: {field} is at byte {at}, but the host writes in units of {granule} bytes: read-only at best"
    )]
    SubSector {
        /// The image.
        file: String,
        /// What is not aligned.
        field: &'static str,
        /// Where it is, or how long.
        at: u64,
        /// Unit of the host.
        granule: u32,
    },
}

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
    clock: Clock,
}

impl Device {
    /// Opens a chain of loaded deltas, oldest first. Nothing is written before the first modifying request.
    pub fn open(chain: Vec<LoadedDelta>, options: Options) -> Result<Device, OpenError> {
        check_options(&options)?;
        chain::validate(&chain, options.write)?;
        let Some(top) = chain.last() else {
            unreachable!("validated: not empty")
        };
        let layout = match &top.body {
            Body::Expanded(image) => image.layout,
            Body::Raw => raw_layout(top.file_len),
        };
        if options.write {
            check_granule(&top.name, &layout, options.granule)?;
        }
        let table = Table::new(&layout, options.page_bytes, options.granule);
        let levels = Levels::new(&chain, layout.cluster);
        let pages = (0..table.pages())
            .map(|id| Page::new(load_page(PageId(id), &table, &chain)))
            .collect();
        let image = top.expanded().filter(|_| options.write);
        let mapped = image
            .into_iter()
            .flat_map(|image| image.bat.iter().filter_map(|&entry| layout.host_of(entry)));
        let reserved = image
            .into_iter()
            .flat_map(|image| image.reserved.iter().copied());
        let delay = match options.write_back {
            WriteBack::Immediate => None,
            WriteBack::Delayed(delay) => Some(delay),
        };
        Ok(Device {
            alloc: Alloc::new(
                layout,
                top.file_len,
                mapped.chain(reserved),
                options.prealloc,
            ),
            table,
            levels,
            pages,
            gate: Gate::new(),
            dirty: DirtySet::new(delay),
            mark: Mark::new(),
            flushes: Flushes::new(),
            starved: Starved::new(),
            queues: (0..options.queues)
                .map(|_| Queue::new(options.depth))
                .collect(),
            clock: Clock::new(),
            options,
        })
    }

    /// Shape of the device.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        let entries = (0..self.table.pages())
            .map(|page| self.table.entries_of(PageId(page)).1 as u32)
            .sum();
        Geometry {
            size: self.table.size(),
            cluster: self.table.cluster(),
            entries,
            pages: self.table.pages(),
            levels: self.levels.count(),
        }
    }

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

    /// An I/O ended.
    pub fn complete(&self, ticket: Ticket, outcome: Outcome, out: &mut Actions) {
        out.caller = ticket.queue;
        match outcome {
            Outcome::Done => self.done(ticket.work, out),
            Outcome::Short { bytes } => self.short(ticket.work, bytes, out),
            Outcome::Failed(Failure::NoSpace) => self.no_space(ticket.work, out),
            Outcome::Failed(failure) => self.failed(ticket.work, failure, out),
        }
        self.run(out);
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
            _ if len.0 == 0 => self.end_part(origin, Ok(()), out),
            _ if modifies && !self.mark.is_set() => self.wait_for_mark(origin, request, out),
            Op::Read => self.split(origin, SegmentKind::Read, false, start, len, out),
            Op::Write { fua, .. } => self.split(origin, SegmentKind::Write, fua, start, len, out),
            Op::WriteZeroes { fua, unmap } => {
                self.split(origin, SegmentKind::Zeroes { unmap }, fua, start, len, out);
            }
            Op::Discard => self.split(origin, SegmentKind::Discard, false, start, len, out),
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

    /// Lets `waiter` wait for a sync.
    pub(crate) fn wait_sync(&self, number: u64, waiter: Waiter, out: &mut Actions) {
        match self.gate.wait(number, waiter) {
            Wait::Parked => {}
            Wait::Done(waiter) => out.backlog.push_back(Resume::Waiter(waiter, Ok(()))),
            Wait::Poisoned(waiter) => out
                .backlog
                .push_back(Resume::Waiter(waiter, Err(Failure::Io))),
        }
    }

    fn start_round(&self, id: PageId, out: &mut Actions) {
        let (at, len) = self.table.bytes_of(id);
        let (synced, poisoned) = (self.gate.synced(), self.gate.is_poisoned());
        match self.page(id).start(len, synced, poisoned, self.context()) {
            Start::Nothing => {}
            Start::Await(sync) => self.wait_sync(sync, Waiter::Eligible(id), out),
            Start::Write(image) => {
                let level = self.levels.top();
                out.io(
                    out.caller,
                    Work::Index { page: id },
                    IoOp::WriteIndex {
                        level,
                        page: id,
                        at,
                        image,
                    },
                );
            }
            Start::Poisoned(waiters) => {
                for waiter in waiters {
                    out.backlog
                        .push_back(Resume::Waiter(waiter, Err(Failure::Io)));
                }
            }
        }
    }

    /// A round is durable or has failed.
    fn settle(&self, id: PageId, result: Result<(), Failure>, out: &mut Actions) {
        let settled = self
            .page(id)
            .settle(result.is_ok(), self.retry_at(), self.context());
        for waiter in settled.waiters {
            out.backlog.push_back(Resume::Waiter(waiter, result));
        }
        for entry in settled.released {
            mark!(CondemnedReleased);
            let host = self.alloc.host(entry);
            self.issue(Work::Punch { host }, out);
        }
    }

    fn done(&self, work: Work, out: &mut Actions) {
        match work {
            Work::Data { segment, op, .. } => self.data_done(segment, op, out),
            Work::Hole { segment } => self.end(segment, Ok(()), out),
            Work::Base {
                segment,
                host,
                base,
                ..
            } => self.based(segment, host, base, self.gate.next(), out),
            Work::Extend { hosts } => self.extended(hosts, out),
            Work::Index { page } => self.wait_sync(self.gate.next(), Waiter::Round(page), out),
            Work::Sync { number } => self.synced(number, true, out),
            Work::Punch { host } => self.punched(host, Some(self.gate.next()), out),
        }
    }

    fn short(&self, work: Work, bytes: u64, out: &mut Actions) {
        let whole = (bytes / SECTOR_BYTES).min(u64::from(u32::MAX)) as u32;
        let rest = match work {
            Work::Data {
                segment,
                op,
                at,
                done,
            } if whole > 0 && done + whole < segment.len => Work::Data {
                segment,
                op: op.resumed(),
                at,
                done: done + whole,
            },
            Work::Base {
                segment,
                host,
                base,
                done,
            } if whole > 0 && u64::from(done + whole) < self.table.cluster().0 => Work::Base {
                segment,
                host,
                base,
                done: done + whole,
            },
            Work::Index { page } if bytes > 0 && self.page(page).again(self.context()) => {
                mark!(ShortResumed);
                return;
            }
            work => {
                mark!(NoProgress);
                return self.failed(work, Failure::Io, out);
            }
        };
        mark!(ShortResumed);
        self.issue(rest, out);
    }

    fn no_space(&self, work: Work, out: &mut Actions) {
        match work {
            Work::Data {
                op: DataOp::Read { .. },
                ..
            }
            | Work::Hole { .. }
            | Work::Sync { .. }
            | Work::Punch { .. } => {
                self.failed(work, Failure::Io, out);
            }
            Work::Data { .. } | Work::Base { .. } => self.starve(Starving::Io(work), out),
            Work::Extend { hosts } => self.extension_starves(hosts, out),
            Work::Index { page } => {
                self.page(page).park(self.context());
                self.starve(Starving::Page(page), out);
            }
        }
    }

    /// An I/O failed for good.
    pub(crate) fn failed(&self, work: Work, failure: Failure, out: &mut Actions) {
        match work {
            Work::Data { segment, op, .. } => {
                if op == (DataOp::Write { direct_fua: true }) && failure != Failure::NoSpace {
                    self.poisoned(out);
                }
                self.end_io(&segment, out);
                self.end(segment, Err(failure), out);
            }
            Work::Hole { segment } => self.end(segment, Err(failure), out),
            Work::Base { segment, host, .. } => self.base_failed(segment, host, failure, out),
            Work::Extend { .. } => self.extension_failed(failure, out),
            Work::Index { page } => self.settle(page, Err(failure), out),
            Work::Sync { number } => self.synced(number, false, out),
            Work::Punch { host } => {
                mark!(PunchFailed);
                self.punched(host, None, out);
            }
        }
    }

    fn synced(&self, number: u64, ok: bool, out: &mut Actions) {
        if !ok {
            mark!(Poisoned);
        }
        let waiters = self.gate.end(number, ok);
        let result = if self.gate.is_poisoned() {
            Err(Failure::Io)
        } else {
            Ok(())
        };
        out.backlog.extend(
            waiters
                .into_iter()
                .map(|waiter| Resume::Waiter(waiter, result)),
        );
    }

    /// A synchronous write failed: the error of earlier writes may have been reported with it, once and for all.
    fn poisoned(&self, out: &mut Actions) {
        mark!(Poisoned);
        let waiters = self.gate.poison();
        out.backlog.extend(
            waiters
                .into_iter()
                .map(|waiter| Resume::Waiter(waiter, Err(Failure::Io))),
        );
    }

    fn punched(&self, host: crate::units::DstClu, zero_after: Option<u64>, out: &mut Actions) {
        if let Some(segment) = self.alloc.punched(host, zero_after) {
            out.backlog.push_back(Resume::Make(segment));
        }
    }

    /// Puts the I/O of some work (or what is left of it) on the list.
    pub(crate) fn issue(&self, work: Work, out: &mut Actions) {
        let level = self.levels.top();
        let cluster = self.table.cluster();
        let (queue, op) = match &work {
            Work::Data {
                segment,
                op,
                at,
                done,
            } => {
                let at = at.after(Sectors(u64::from(*done)));
                let len = Sectors(u64::from(segment.len - done));
                let buf = segment.buf(*done);
                let op = match *op {
                    DataOp::Read { level, zero_tail } => {
                        let zero_tail = Sectors(u64::from(zero_tail)).min(len);
                        match len.minus(zero_tail) {
                            Sectors::ZERO => IoOp::ReadHole { len, buf },
                            len => IoOp::Read {
                                level,
                                at,
                                len,
                                zero_tail,
                                buf,
                            },
                        }
                    }
                    DataOp::Write { direct_fua } => IoOp::Write {
                        level,
                        at,
                        len,
                        buf,
                        fua: direct_fua,
                    },
                    DataOp::Zero { punch } => IoOp::Zero {
                        level,
                        at,
                        len,
                        punch,
                    },
                };
                (segment.origin.queue, op)
            }
            Work::Hole { segment } => {
                let len = Sectors(u64::from(segment.len));
                (
                    segment.origin.queue,
                    IoOp::ReadHole {
                        len,
                        buf: segment.buf(0),
                    },
                )
            }
            Work::Base {
                segment,
                host,
                base,
                done,
            } => {
                let skip = Sectors(u64::from(*done));
                let (at, len) = (self.alloc.sector(*host).after(skip), cluster.minus(skip));
                let op = match *base {
                    Base::Prepare => IoOp::Zero {
                        level,
                        at,
                        len,
                        punch: true,
                    },
                    Base::Whole => IoOp::Write {
                        level,
                        at,
                        len,
                        buf: segment.buf(*done),
                        fua: false,
                    },
                    Base::Copy {
                        level: lower,
                        from,
                        len: from_len,
                    } => IoOp::Copy {
                        level: lower,
                        from: from.after(skip),
                        from_len: Sectors(u64::from(from_len)).minus(skip),
                        to_level: level,
                        to: at,
                        len,
                    },
                };
                (segment.origin.queue, op)
            }
            Work::Extend { hosts } => (
                out.caller,
                IoOp::SetLen {
                    level,
                    len: self.alloc.len_of(*hosts),
                },
            ),
            Work::Punch { host } => (
                out.caller,
                IoOp::PunchHole {
                    level,
                    at: self.alloc.sector(*host),
                    len: cluster,
                },
            ),
            Work::Sync { .. } => (out.caller, IoOp::Sync { level }),
            Work::Index { .. } => unreachable!("an index image is built anew for each round"),
        };
        out.io(queue, work, op);
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
            now: self.now(),
        }
    }
}

impl Segment {
    fn buf(&self, done: u32) -> Buf {
        Buf {
            origin: self.origin,
            offset: Sectors(self.buf.0 + u64::from(done)),
        }
    }
}

impl Actions {
    /// An I/O for a queue.
    pub(crate) fn io(&mut self, queue: QueueId, work: Work, op: IoOp) {
        self.list.push(Action {
            queue,
            kind: ActionKind::Io {
                ticket: Ticket { work, queue },
                op,
            },
        });
    }

    /// A request has ended.
    pub(crate) fn finish(&mut self, origin: Origin, outcome: Result<(), Failure>) {
        self.list.push(Action {
            queue: origin.queue,
            kind: ActionKind::Finish {
                tag: origin.tag,
                outcome,
            },
        });
    }
}

fn check_options(options: &Options) -> Result<(), OpenError> {
    let rules: [(&'static str, u32, bool, &'static str); 4] = [
        (
            "queues",
            u32::from(options.queues),
            options.queues > 0,
            "at least 1",
        ),
        (
            "depth",
            u32::from(options.depth),
            options.depth > 0,
            "at least 1",
        ),
        (
            "granule",
            options.granule,
            options.granule >= 4 && options.granule % 4 == 0 && 4096 % options.granule == 0,
            "a power of two from 4 to 4096",
        ),
        (
            "page_bytes",
            options.page_bytes,
            options.page_bytes > 64
                && options.page_bytes <= 1 << 18
                && options.granule > 0
                && options.page_bytes % options.granule == 0,
            "above 64, at most 256 KiB and a multiple of granule",
        ),
    ];
    match rules.into_iter().find(|rule| !rule.2) {
        Some((name, value, _, rule)) => Err(OpenError::Option {
            name,
            value: u64::from(value),
            rule,
        }),
        None => Ok(()),
    }
}

/// Every write that the core makes must be a whole number of the host's units.
fn check_granule(file: &str, layout: &Layout, granule: u32) -> Result<(), OpenError> {
    let places = [
        ("the start of the data area", layout.data_start.bytes()),
        ("the cluster grid", layout.phase.bytes()),
        ("the end of a cluster", layout.cluster.bytes()),
    ];
    match places
        .into_iter()
        .find(|(_, at)| at % u64::from(granule) != 0)
    {
        Some((field, at)) => Err(OpenError::SubSector {
            file: file.to_owned(),
            field,
            at,
            granule,
        }),
        None => Ok(()),
    }
}

/// A raw file, read-only: clusters of 1 MiB that map to themselves.
fn raw_layout(file_len: u64) -> Layout {
    let cluster = Sectors(2048);
    let size = Sectors::covering(file_len);
    Layout {
        version: Version::V2,
        cluster,
        entries: size.0.div_ceil(cluster.0).min(u64::from(u32::MAX)) as u32,
        size,
        data_start: Sector(0),
        phase: Sectors::ZERO,
    }
}

/// A page's part of the merged map: for each guest cluster the newest delta that has it.
fn load_page(id: PageId, table: &Table, chain: &[LoadedDelta]) -> MdPage {
    let (first, count) = table.entries_of(id);
    let (at, image_len) = table.bytes_of(id);
    let mut map = vec![0; count].into_boxed_slice();
    let mut level = vec![NO_LEVEL; count].into_boxed_slice();
    let mut flight = vec![0; count].into_boxed_slice();
    for slot in 0..count {
        let clu = Clu(first.0 + slot as u32);
        for (number, delta) in chain.iter().enumerate() {
            if let Some(entry) = level::mapped(delta, clu, table.cluster()) {
                if level[slot] != NO_LEVEL && number + 1 == chain.len() {
                    flight[slot] = SHADOWS;
                }
                map[slot] = entry;
                level[slot] = number as u8;
            }
        }
    }
    let image: Option<&Expanded> = chain.last().and_then(LoadedDelta::expanded);
    let header = image.filter(|_| id.0 == 0).map(|image| {
        Box::new(HeaderCopy {
            bytes: image.header.to_bytes(),
            first: 0,
            latest: 0,
            riding: None,
        })
    });
    let known = header.as_ref().map_or(0, |header| header.bytes.len()) + 4 * count;
    let slack = image.map_or_else(Vec::new, |image| {
        let mut slack = vec![0; image_len.saturating_sub(known)];
        let from = (at + known as u64).saturating_sub(image.layout.bat_end()) as usize;
        for (to, byte) in slack.iter_mut().zip(image.bat_slack.iter().skip(from)) {
            *to = *byte;
        }
        slack
    });
    MdPage {
        id,
        map,
        level,
        flight,
        locks: ClusterLocks::default(),
        state: State::Clean,
        records: Vec::new(),
        header,
        slack: slack.into_boxed_slice(),
        changes: 0,
        want: 0,
        waiters: Vec::new(),
        queued: false,
        awaiting: false,
        failing: false,
        shorts: 0,
    }
}
