//! A device with a disk behind it and the model beside it. Any thread may call it.
//!
//! * What a call of the device puts out is taken in hand at once: each `Finish` goes to the model (exactly one for each
//!   request, I33), each I/O is checked and given to the caller, who delivers its end when he likes, from any thread.
//! * After each call every sector that a power cut could leave is legal for the model (I19, I20, I24, I25, I26, I28), and
//!   so is the index (I27).
//! * A write is acknowledged only when a server that is killed then would know where it is.
//! * Unless a test injects faults, every request must succeed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Control, first_part};
use super::image::Image;
use super::kept::Kept;
use super::ledger::Ledger;
use super::trace::{self, Step};
use crate::core::units::{Level, Millis, QueueId, Sector, Sectors, Tag};
use crate::core::{
    self as ploop, ActionKind, Actions, CloseError, ControlIo, Device, Failure, IoOp, Options,
    Origin, Outcome, Request, Ticket,
};
use model::op::{End, Kind, Op, Value};

/// Queue and tag of a request.
pub(crate) type Who = (u16, u16);

/// An I/O in flight.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) id: usize,
    pub(crate) op: IoOp,
    ticket: Ticket,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) device: Device,
    kept: Kept,
    state: Mutex<Ledger>,
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
        Rig::of(image, options, false)
    }

    /// The same, and its kept slots are watched (see `kept`).
    pub(crate) fn watched(image: &Image, options: Options) -> Arc<Rig> {
        Rig::of(image, options, true)
    }

    fn of(image: &Image, options: Options, watched: bool) -> Arc<Rig> {
        trace::restart();
        let kept = Kept::new(image.shape.clusters, image.shape.cluster, watched);
        let keep = ploop::Kept::From(Box::new(kept.clone()));
        let device = Device::open_kept(image.chain.clone(), options, keep).expect("opens");
        Arc::new(Rig {
            device,
            kept,
            state: Mutex::new(Ledger::new(image)),
        })
    }

    fn state(&self) -> MutexGuard<'_, Ledger> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request arrives.
    pub(crate) fn submit(&self, who: Who, op: Op) -> Vec<Io> {
        trace::note(Step::Submit(who, op));
        self.state().submit(who, op);
        self.kept.submitted(op);
        self.call(|out| self.device.submit(origin(who), request(op), out))
    }

    /// An I/O is carried out, and its end delivered.
    pub(crate) fn done(&self, io: Io) -> Vec<Io> {
        trace::note(Step::End(io.id, Outcome::Done));
        self.state().done(&io);
        self.call(|out| self.device.complete(io.ticket, Outcome::Done, out))
    }

    /// An I/O fails, and nothing of it was done.
    pub(crate) fn fail(&self, io: Io, failure: Failure) -> Vec<Io> {
        self.fail_after(io, failure, false)
    }

    /// An I/O fails; all of it was done all the same, or nothing.
    pub(crate) fn fail_after(&self, io: Io, failure: Failure, applied: bool) -> Vec<Io> {
        trace::note(Step::End(io.id, Outcome::Failed(failure)));
        self.state().failed(&io, applied);
        self.call(|out| {
            self.device
                .complete(io.ticket, Outcome::Failed(failure), out);
        })
    }

    /// An I/O ends short: about `keep` of its units were done (see [`first_part`]). What cannot be short is carried out.
    pub(crate) fn short(&self, io: Io, keep: u64) -> Vec<Io> {
        let Some((part, bytes)) = first_part(&io.op, keep) else {
            return self.done(io);
        };
        let outcome = Outcome::Short { bytes };
        trace::note(Step::End(io.id, outcome));
        self.state().short(&io, &part);
        self.call(|out| self.device.complete(io.ticket, outcome, out))
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
        self.call(|out| self.device.resume(out))
    }

    /// True if the barrier is complete. Whoever sees that is alone with the files: nothing is in flight, nor will be.
    pub(crate) fn is_quiesced(&self) -> bool {
        self.device.try_quiesce().is_some()
    }

    fn call(&self, f: impl FnOnce(&mut Actions)) -> Vec<Io> {
        let mut out = Actions::new();
        f(&mut out);
        let mut state = self.state();
        let mut list = Vec::new();
        for action in out.drain() {
            match action.kind {
                ActionKind::Io { ticket, op } => {
                    let id = state.begin(&op);
                    list.push(Io { id, op, ticket });
                }
                ActionKind::Finish { tag, outcome } => {
                    let op = state.finish((action.queue.0, tag.0), outcome);
                    if outcome.is_ok() {
                        self.kept.acknowledged(op);
                    }
                }
            }
        }
        state.check();
        list
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
        let mut pool = self.suspend();
        self.drain(&mut pool, false);
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
        let seen = super::closed::read(state.disk.top());
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
struct Top<'a>(&'a Rig);

impl ControlIo for Top<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.0.state().disk.control(Control::Write(at, bytes));
        Ok(())
    }
    fn punch(&mut self, _: Sector, _: Sectors) -> Result<(), Failure> {
        // This disk cannot.
        Ok(())
    }
    fn set_len(&mut self, len: Sectors) -> Result<(), Failure> {
        self.0.state().disk.control(Control::SetLen(len.0));
        Ok(())
    }
    fn sync(&mut self) -> Result<(), Failure> {
        self.0.state().disk.control(Control::Sync);
        Ok(())
    }
}
