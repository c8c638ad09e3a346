//! A device with a disk behind it and the model beside it. Any thread may call it.
//!
//! * What a call of the device puts out is taken in hand at once: each `Finish` goes to the model (exactly one for each
//!   request, I33), each I/O is checked and given to the caller, who delivers its end when he likes, from any thread.
//! * After each call every sector that a power cut could leave is legal for the model (I19, I20, I24, I25, I26, I28), and
//!   so is the index (I27).
//! * A write is acknowledged only when a server that is killed then would know where it is.
//! * Unless a test injects faults, every request must succeed.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Events;
use super::core::units::{Level, Millis, QueueId, Sector, Sectors, Tag};
use super::core::{
    self as ploop, ActionKind, Actions, CloseError, ControlIo, Device, Failure, IoOp, Options,
    Origin, Outcome, Request, Ticket,
};
use super::disk::{Control, Reach, first_part};
use super::guard::Guard;
use super::image::Image;
use super::kept::Kept;
use super::ledger::{Ledger, Shadow};
use super::sick::Pauses;
use super::trace::{self, Step};
use model::op::{End, Kind, Op, Value};

/// Queue and tag of a request.
pub(crate) type Who = (u16, u16);

/// An I/O in flight.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) id: usize,
    pub(crate) op: IoOp,
    pub(super) ticket: Ticket,
    /// The device that it is of.
    device: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) device: Device,
    kept: Kept,
    events: Events,
    /// How many devices were there before on these files.
    pub(crate) number: u32,
    pub(crate) options: Options,
    /// A place to switch tasks (see `sick`).
    pub(crate) pauses: Pauses,
    /// The engine's own, if the barrier is watched: a place to switch threads (see `guard`).
    pub(crate) guard: Option<Guard>,
    /// The device that came after this one (see `switch`).
    pub(crate) next: OnceLock<Arc<Rig>>,
    /// Common to all devices that were on these files.
    pub(crate) state: Arc<Mutex<Ledger>>,
}

/// Options of a tiny device: four slots a metadata page beside the header, one cluster at a time.
pub(crate) fn options() -> Options {
    Options {
        queues: 2,
        depth: 8,
        prealloc: Sectors(1),
        page_bytes: 80,
        granule: 16,
        ..Options::default()
    }
}

impl Rig {
    /// A fresh device on a copy of `image`.
    pub(crate) fn new(image: &Image, options: Options) -> Arc<Rig> {
        Rig::first(image, options, false, None)
    }

    /// The same, and the barrier is watched (see `guard`).
    pub(crate) fn guarded(image: &Image, options: Options) -> Arc<Rig> {
        Rig::first(image, options, false, Some(Guard::new()))
    }

    /// The same, and its kept slots are watched (see `kept`).
    pub(crate) fn watched(image: &Image, options: Options) -> Arc<Rig> {
        Rig::first(image, options, true, None)
    }

    fn first(image: &Image, options: Options, watched: bool, guard: Option<Guard>) -> Arc<Rig> {
        trace::restart();
        let state = Arc::new(Mutex::new(Ledger::new(image)));
        let kept = Kept::new(image.clusters, image.cluster, watched);
        Arc::new(Rig::of(image, options, kept, guard, state))
    }

    /// A device on `image`, which the ledger knows.
    pub(crate) fn of(
        image: &Image,
        options: Options,
        kept: Kept,
        guard: Option<Guard>,
        state: Arc<Mutex<Ledger>>,
    ) -> Rig {
        let keep = ploop::Kept::From(Box::new(kept.clone()));
        let device = Device::open_kept(image.chain.clone(), options, keep).expect("opens");
        Rig {
            device,
            kept,
            events: Events::new(),
            number: 0,
            options,
            pauses: Pauses::new(),
            guard,
            next: OnceLock::new(),
            state,
        }
    }

    /// From now on `shadow` is told what happens to the top file. Before anything does.
    pub(crate) fn cast(&self, shadow: Option<Box<dyn Shadow>>) {
        self.state().shadow = shadow;
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Ledger> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request arrives.
    pub(crate) fn submit(&self, who: Who, op: Op) -> Vec<Io> {
        let (from, to) = about(op);
        self.events.submit(from, to);
        trace::note(Step::Submit(who, op));
        self.state().submit(self.number, who, op);
        self.send(who, op)
    }

    /// A request that is in the ledger goes in.
    pub(crate) fn send(&self, who: Who, op: Op) -> Vec<Io> {
        self.kept.submitted(op);
        self.call(|out| self.device.submit(origin(who), request(op), out))
    }

    /// An I/O is carried out, and its end delivered.
    pub(crate) fn done(&self, io: Io) -> Vec<Io> {
        let rig = self.device_of(&io);
        rig.announce_io(&io.op, false);
        trace::note(Step::End(io.id, Outcome::Done));
        rig.state().done(io.id, &io.op);
        rig.call(|out| rig.device.complete(io.ticket, Outcome::Done, out))
    }

    /// The rig of an I/O, this one or a later one.
    fn device_of(&self, io: &Io) -> &Rig {
        let mut rig = self;
        while rig.number != io.device {
            rig = rig
                .next
                .get()
                .expect("an I/O of this device, or a later one");
        }
        rig
    }

    /// An I/O fails, and nothing of it was done.
    pub(crate) fn fail(&self, io: Io, failure: Failure) -> Vec<Io> {
        self.fail_after(io, failure, false)
    }

    /// An I/O fails; all of it was done all the same, or nothing.
    pub(crate) fn fail_after(&self, io: Io, failure: Failure, applied: bool) -> Vec<Io> {
        let rig = self.device_of(&io);
        rig.announce_io(&io.op, false);
        trace::note(Step::End(io.id, Outcome::Failed(failure)));
        rig.state().failed(&io, applied);
        rig.call(|out| {
            rig.device
                .complete(io.ticket, Outcome::Failed(failure), out);
        })
    }

    /// An I/O ends short: about `keep` of its units were done (see [`first_part`]). What cannot be short is carried out.
    pub(crate) fn short(&self, io: Io, keep: u64) -> Vec<Io> {
        let Some((part, bytes)) = first_part(&io.op, keep) else {
            return self.done(io);
        };
        let outcome = Outcome::Short { bytes };
        let rig = self.device_of(&io);
        rig.announce_io(&io.op, false);
        trace::note(Step::End(io.id, outcome));
        rig.state().short(&io, &part, bytes);
        rig.call(|out| rig.device.complete(io.ticket, outcome, out))
    }

    /// An I/O succeeds, or fails.
    pub(crate) fn end(&self, io: Io, result: Result<(), Failure>) -> Vec<Io> {
        match result {
            Ok(()) => self.done(io),
            Err(failure) => self.fail(io, failure),
        }
    }

    /// The end of a batch on a queue.
    pub(crate) fn turn(&self, queue: u16) -> Vec<Io> {
        self.call(|out| self.device.turn(QueueId(queue), out))
    }

    /// So many milliseconds pass.
    pub(crate) fn tick(&self, millis: u64) -> Vec<Io> {
        trace::note(Step::Call("tick"));
        let now = {
            let mut state = self.state();
            state.now += millis;
            state.now
        };
        self.call(|out| {
            self.device.tick(Millis(now), out);
        })
    }

    /// Requests are held back from now on.
    pub(crate) fn suspend(&self) -> Vec<Io> {
        trace::note(Step::Call("suspend"));
        self.call(|out| self.device.suspend(out))
    }

    /// Requests go again.
    pub(crate) fn resume(&self) -> Vec<Io> {
        trace::note(Step::Call("resume"));
        if let Some(guard) = &self.guard {
            guard.decided();
        }
        self.state().let_go();
        self.call(|out| self.device.resume(out))
    }

    pub(super) fn call(&self, f: impl FnOnce(&mut Actions)) -> Vec<Io> {
        let mut out = Actions::new();
        f(&mut out);
        let mut list = Vec::new();
        for action in out.drain() {
            match action.kind {
                ActionKind::Io { ticket, op } => {
                    self.announce_io(&op, true);
                    if let Some(guard) = &self.guard {
                        guard.begins();
                    }
                    let id = self.state().begin(self.number, &op);
                    let device = self.number;
                    list.push(Io {
                        id,
                        op,
                        ticket,
                        device,
                    });
                }
                ActionKind::Finish {
                    tag,
                    outcome: Err(Failure::Closed),
                } => list.extend(self.closed((action.queue.0, tag.0))),
                ActionKind::Finish { tag, outcome } => {
                    let who = (action.queue.0, tag.0);
                    let op = self.state().request(who);
                    let (from, to) = about(op);
                    self.events.finish(from, to);
                    let op = self.state().finish(self.number, who, outcome);
                    if outcome.is_ok() {
                        self.kept.acknowledged(op);
                    }
                }
            }
            self.state().check();
        }
        if list.is_empty() {
            self.state().check();
        }
        list
    }

    /// The disk is about to hear of an I/O: that it is handed out (`begins`), or that it ended.
    pub(super) fn announce_io(&self, op: &IoOp, begins: bool) {
        let top = Level((self.device.geometry().levels - 1) as u8);
        if let Some(reach) = Reach::of(op, top, begins) {
            self.events.file(reach);
        }
    }

    /// Carries everything out that is in `pool` and what follows from it, until nothing does. `last`: the newest first.
    pub(crate) fn drain(&self, pool: &mut Vec<Io>, last: bool) {
        loop {
            while !pool.is_empty() {
                let io = pool.remove(if last { pool.len() - 1 } else { 0 });
                pool.extend(self.done(io));
            }
            pool.extend(self.turn(0));
            if pool.is_empty() {
                return;
            }
        }
    }

    /// Submits a request and carries everything out. Returns how it ended.
    pub(crate) fn run(&self, who: Who, op: Op) -> Result<(), Failure> {
        let mut pool = self.submit(who, op);
        self.drain(&mut pool, false);
        self.outcome(who)
    }

    /// How the last request of `who` ended.
    pub(crate) fn outcome(&self, who: Who) -> Result<(), Failure> {
        let state = self.state();
        let last = state.ended.iter().rev().find(|(ended, _)| *ended == who);
        match last {
            Some((_, outcome)) => *outcome,
            None => panic!("the request of {who:?} never ended (I34)"),
        }
    }

    /// What the last read of `who` returned for its first sector.
    pub(crate) fn read_by(&self, who: Who) -> Option<Value> {
        self.state().last_read.get(&who).copied()
    }

    /// What a sector of the disk reads as, without a request.
    pub(crate) fn content(&self, sector: u64) -> Option<Value> {
        self.state().disk.shows(sector)
    }

    /// From now on requests may fail though nothing was injected.
    pub(crate) fn expect_failures(&self) {
        self.state().faults = true;
    }

    /// I/Os that were handed out and not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.state().disk.ios.in_flight()
    }

    /// The top file as it is.
    pub(crate) fn top(&self) -> Vec<u8> {
        self.state().disk.top().to_vec()
    }

    /// Everything is at rest: no request is left, all invariants hold, and the whole disk reads as the model says.
    pub(crate) fn check_at_rest(&self) {
        {
            let state = self.state();
            let left: Vec<Who> = state.requests.iter().map(|request| request.who).collect();
            assert!(
                left.is_empty(),
                "requests that never end (I34): {left:?}\n{}",
                self.device.dump()
            );
            assert_eq!(state.disk.ios.in_flight(), 0, "the test lost an I/O");
        }
        self.device.verify();
        let len = self.device.geometry().size.0;
        let read = Op {
            kind: Kind::Read,
            start: 0,
            len,
        };
        assert_eq!(self.run((0, 7), read), Ok(()));
    }

    /// Flushes, suspends and closes a device at rest. The map is on the disk then, the image loads, and reads as the model
    /// says (I5, I37).
    pub(crate) fn check_close(&self) {
        let flush = Op {
            kind: Kind::Flush,
            start: 0,
            len: 0,
        };
        assert_eq!(self.run((0, 7), flush), Ok(()), "flush");
        self.device.verify();
        self.check_map();
        self.check_close_now(false);
    }

    /// The same, but nobody flushes. `judged`: the power may fail during the close.
    pub(crate) fn check_close_now(&self, judged: bool) {
        let mut pool = self.suspend();
        self.drain(&mut pool, false);
        // Else the control plane, whose I/O is no ticket's, has its own checks.
        let shadow = self.state().shadow.take().filter(|_| judged);
        self.cast(shadow);
        assert_eq!(self.close(), Some(Ok(())), "{}", self.device.dump());
        self.read_closed();
    }

    /// Closes a drained device. `None`: it is not quiesced.
    pub(crate) fn close(&self) -> Option<Result<(), CloseError>> {
        trace::note(Step::Call("close"));
        let quiesced = self.device.try_quiesce()?;
        let closed = quiesced.close(&mut Top(self));
        let mut out = Actions::new();
        quiesced.shut(&mut out);
        assert!(out.is_empty(), "{out:?}");
        Some(closed)
    }

    fn check_map(&self) {
        let cluster = self.device.geometry().cluster.0;
        let state = self.state();
        for clu in 0..u64::from(self.device.geometry().entries) {
            let top = self.device.geometry().levels - 1;
            let entry = match self.device.locate(Sector(clu * cluster)) {
                ploop::control::inspect::Mapping::Mapped { level, at }
                    if usize::from(level) == top =>
                {
                    at.0 / cluster
                }
                _ => 0,
            };
            assert_eq!(
                u64::from(state.disk.slot(clu)),
                entry,
                "slot {clu} on the disk, and in memory (I5)"
            );
        }
    }

    fn read_closed(&self) {
        let mut state = self.state();
        let seen = super::closed::read(state.disk.top(), state.changed.as_ref());
        let op = Op {
            kind: Kind::Read,
            start: 0,
            len: seen.len() as u64,
        };
        let id = state.model.submit(op, 0);
        let seen: Vec<Value> = (0u64..)
            .zip(seen)
            .map(|(sector, value)| value.unwrap_or_else(|| state.disk.lower(sector)))
            .collect();
        if let Err(violation) = state.model.complete(id, End::Ok, &seen) {
            panic!("after the close: {violation}");
        }
    }
}

/// The guest sectors that an operation is about.
fn about(op: Op) -> (u64, u64) {
    match op.kind {
        Kind::Flush | Kind::Write { preflush: true, .. } => (0, u64::MAX),
        _ => (op.start, op.start + op.len),
    }
}

fn origin((queue, tag): Who) -> Origin {
    Origin {
        queue: QueueId(queue),
        tag: Tag(tag),
    }
}

fn request(op: Op) -> Request {
    let kind = match op.kind {
        Kind::Read => ploop::Op::Read,
        Kind::Write { preflush, fua } => ploop::Op::Write { preflush, fua },
        Kind::WriteZeroes { fua, unmap } => ploop::Op::WriteZeroes { fua, unmap },
        Kind::Discard => ploop::Op::Discard,
        Kind::Flush => ploop::Op::Flush,
        Kind::Promote { lowest } => ploop::Op::Promote {
            lowest: Level(lowest),
        },
    };
    Request {
        op: kind,
        start: Sector(op.start),
        len: Sectors(op.len),
    }
}

/// The control plane's view of the top file.
pub(crate) struct Top<'a>(pub(crate) &'a Rig);

impl ControlIo for Top<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.0.state().control(Control::Write(at, bytes));
        Ok(())
    }
    fn punch(&mut self, _: Sector, _: Sectors) -> Result<(), Failure> {
        // This disk cannot.
        Ok(())
    }
    fn set_len(&mut self, len: Sectors) -> Result<(), Failure> {
        self.0.state().control(Control::SetLen(len.0));
        Ok(())
    }
    fn sync(&mut self) -> Result<(), Failure> {
        self.0.state().control(Control::Sync);
        Ok(())
    }
}
