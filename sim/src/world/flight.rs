//! I/O in flight: handed out by the core, under way in the simulated files, delivered in any order.

use std::fmt;

use model::op::Value;
use ploop_core::units::{Level, QueueId};
use ploop_core::{ActionKind, Buf, Device, Failure as CoreFailure, IoOp, Origin, Outcome, Ticket};

use crate::check::in_use::Mark;
use crate::check::{clusters, extension, failure, in_use};
use crate::disk::fault::{Fault, IoKind};
use crate::disk::{Change, Effect, IoId, SyncEffect, SyncId};
use crate::report::Failure;
use crate::tape::{Choice, Event, Kind, Label, Object, Tape};
use crate::world::log::{Happening, describe};
use crate::world::{Canary, Run, World};

/// What is under way in the top file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing {
    /// Nothing: it reads, or fills a hole.
    Nothing,
    Change(IoId),
    /// With what the sync will have made of the mark.
    Sync(SyncId, Mark),
}

/// What a failed I/O did all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The tape says.
    Drawn,
    /// All of it.
    All,
    /// Nothing. Of a failed sync: what it covers is seen, and no later sync covers it.
    Nothing,
}

/// An I/O in flight.
#[derive(Debug)]
pub(super) struct Flight {
    /// Its number in this run.
    io: u32,
    /// Who carries it out.
    queue: QueueId,
    ticket: Ticket,
    op: IoOp,
    doing: Doing,
}

impl Flight {
    /// The change that is under way, if it is one.
    pub(super) fn change(&self) -> Option<IoId> {
        match self.doing {
            Doing::Change(id) => Some(id),
            Doing::Nothing | Doing::Sync(..) => None,
        }
    }

    pub(super) fn doing(&self) -> Doing {
        self.doing
    }

    pub(super) fn io(&self) -> u32 {
        self.io
    }

    pub(super) fn op(&self) -> &IoOp {
        &self.op
    }

    /// What kind of I/O it is; none for filling a hole, which touches no file.
    pub(super) fn kind(&self) -> Option<IoKind> {
        size_of(&self.op, 1).0
    }

    /// How many bytes it is about; 0 for those that are done or not done.
    pub(super) fn bytes(&self) -> u64 {
        size_of(&self.op, 1).1
    }

    /// Whose buffer it reads into or writes from, if it is an I/O of a request.
    pub(super) fn origin(&self) -> Option<Origin> {
        match &self.op {
            IoOp::Read { buf, .. } | IoOp::ReadHole { buf, .. } | IoOp::Write { buf, .. } => {
                Some(buf.origin)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(&self.op))
    }
}

impl Run<'_> {
    /// Takes what the core wants done and puts it under way.
    pub(super) fn carry_out(&mut self) -> Result<(), Failure> {
        let mut actions = std::mem::take(&mut self.world.out);
        let result = actions.drain().try_for_each(|action| match action.kind {
            ActionKind::Finish { tag, outcome } => self.finished(action.queue, tag, outcome),
            ActionKind::Io { ticket, op } => self.begin(action.queue, ticket, op),
        });
        self.world.out = actions;
        result
    }

    fn begin(&mut self, queue: QueueId, ticket: Ticket, op: IoOp) -> Result<(), Failure> {
        self.ios += 1;
        let io = self.ios;
        self.note(|_| Happening::Begin {
            io,
            queue: queue.0,
            op: op.clone(),
        });
        let top = Level(self.shape.levels - 1);
        let len = self.world.top.len_sectors();
        clusters::check(&op, top, &self.layout, self.shape.options.granule, len)?;
        in_use::check(&op, self.mark)?;
        extension::check(&op, &self.world.content.kept)?;
        let doing = self.start(&op)?;
        self.world.flights.push(Flight {
            io,
            queue,
            ticket,
            op,
            doing,
        });
        Ok(())
    }

    /// Submits an I/O's change to the top file.
    fn start(&mut self, op: &IoOp) -> Result<Doing, Failure> {
        let World {
            top,
            lowers,
            values,
            ..
        } = &mut *self.world;
        let change = match op {
            IoOp::Read { .. } | IoOp::ReadHole { .. } => return Ok(Doing::Nothing),
            IoOp::Sync { .. } => return Ok(Doing::Sync(top.submit_sync(), self.mark)),
            IoOp::Write {
                at, len, buf, fua, ..
            } => {
                let index = self.tag_index(buf.origin);
                let from = buf.offset.0 as usize;
                let world = &mut *self.world;
                let Some(values) = world.tags[index].buffer.get(from..from + len.0 as usize) else {
                    return Err(failure(
                        "tickets",
                        format!("writes from beyond its buffer: {op:?}"),
                    ));
                };
                let change = Change::Data { at: at.0, values };
                let id = if *fua {
                    world.top.submit_fua(change)
                } else {
                    world.top.submit(change)
                };
                return Ok(Doing::Change(id));
            }
            IoOp::Copy {
                level,
                from,
                from_len,
                to,
                len,
                ..
            } => {
                values.clear();
                lowers[usize::from(level.0)].read_values(from.0, from_len.0, values);
                values.resize(len.0 as usize, Value::ZERO);
                Change::Data { at: to.0, values }
            }
            IoOp::Zero { at, len, .. } | IoOp::PunchHole { at, len, .. } => Change::Zero {
                at: at.0,
                len: len.0,
            },
            IoOp::SetLen { len, .. } => Change::Extend { sectors: len.0 },
            IoOp::WriteIndex { at, image, .. } => Change::Bytes {
                at: *at,
                bytes: image,
            },
        };
        if !top.fits(&change) {
            return Err(failure(
                "clusters",
                format!("beyond any length that the file may have: {op:?}"),
            ));
        }
        Ok(Doing::Change(top.submit(change)))
    }

    /// Delivers the completion of some I/O in flight.
    pub(super) fn deliver_some(&mut self, device: &Device) -> Result<(), Failure> {
        let flights = &self.world.flights;
        let index = self
            .tape
            .index_named(Kind::Event, flights.len(), |index| object(&flights[index]));
        self.deliver(device, index)
    }

    /// Delivers the completion of an I/O in flight, which may meet a fault.
    pub(super) fn deliver(&mut self, device: &Device, index: usize) -> Result<(), Failure> {
        let op = &self.world.flights[index].op;
        let (kind, bytes, step) = size_of(op, self.shape.options.granule);
        let fault = kind.and_then(|kind| self.world.faults.next(kind, bytes, step, self.tape));
        if fault.is_some() {
            self.tape.name_fault();
        }
        let outcome = match fault {
            None => Outcome::Done,
            Some(Fault::Io) => Outcome::Failed(CoreFailure::Io),
            Some(Fault::NoSpace) => Outcome::Failed(CoreFailure::NoSpace),
            Some(Fault::Unsupported) => Outcome::Failed(CoreFailure::Unsupported),
            Some(Fault::Short(bytes)) => Outcome::Short { bytes },
        };
        self.deliver_as(device, index, outcome, Applied::Drawn)
    }

    /// Delivers the completion of an I/O in flight, with this outcome.
    pub(super) fn deliver_as(
        &mut self,
        device: &Device,
        index: usize,
        outcome: Outcome,
        applied: Applied,
    ) -> Result<(), Failure> {
        let flight = self.world.flights.remove(index);
        self.tape.name(|| Label {
            event: Event::Deliver,
            queue: Some(flight.queue.0),
            object: object(&flight),
            ..Label::default()
        });
        let Flight {
            io,
            queue,
            ticket,
            op,
            doing,
        } = flight;
        let (_, bytes, _) = size_of(&op, 1);
        self.stats.steps += 1;
        self.trace.push(0xC0 << 56 | (index as u64) << 32 | bytes);
        self.note(|_| Happening::Deliver {
            io,
            queue: queue.0,
            op: op.clone(),
            outcome,
        });
        self.take_effect(&op, doing, outcome, applied)?;
        self.poisoned |= poisons(&op, outcome);
        device.complete(ticket, outcome, &mut self.world.out);
        self.carry_out()?;
        self.watch(device);
        Ok(())
    }

    /// What the completion does to the file, or brings from it.
    fn take_effect(
        &mut self,
        op: &IoOp,
        doing: Doing,
        outcome: Outcome,
        applied: Applied,
    ) -> Result<(), Failure> {
        let world = &mut *self.world;
        match (doing, outcome) {
            (Doing::Change(id), Outcome::Done) => {
                world.top.complete(id, Effect::Done, self.tape);
                if self.mark == Mark::Unmarked && in_use::carries_mark(op) {
                    self.mark = Mark::Written;
                }
            }
            (Doing::Change(id), Outcome::Short { bytes }) => {
                world.top.complete(id, Effect::Short(bytes), self.tape);
            }
            (Doing::Change(id), Outcome::Failed(_)) => {
                let mut nothing = Tape::replay(Vec::new());
                let (effect, tape) = match applied {
                    Applied::Drawn => (Effect::Failed, &mut *self.tape),
                    Applied::All => (Effect::Short(u64::MAX), &mut *self.tape),
                    Applied::Nothing => (Effect::Failed, &mut nothing),
                };
                world.top.complete(id, effect, tape);
            }
            (Doing::Sync(id, mark), Outcome::Done) => {
                if world.canary == Canary::Off {
                    world.top.complete_sync(id, SyncEffect::Done, self.tape);
                }
                if mark != Mark::Unmarked {
                    self.mark = Mark::Durable;
                }
            }
            (Doing::Sync(id, _), _) => {
                // One fate for all: the second of durable, seen. Or the first.
                let fate = |k| {
                    [0, k]
                        .map(|k| Choice {
                            kind: Kind::Fault,
                            n: 2,
                            k,
                        })
                        .to_vec()
                };
                let mut fixed = Tape::replay(fate(u32::from(applied == Applied::Nothing)));
                let tape = match applied {
                    Applied::Drawn => &mut *self.tape,
                    Applied::All | Applied::Nothing => &mut fixed,
                };
                world
                    .top
                    .complete_sync(id, SyncEffect::Failed { evict: false }, tape);
            }
            (Doing::Nothing, Outcome::Failed(_)) => {}
            (Doing::Nothing, Outcome::Done) => return self.read(op, u64::MAX),
            (Doing::Nothing, Outcome::Short { bytes }) => return self.read(op, bytes / 512),
        }
        Ok(())
    }

    /// Brings what was read into the guest's buffer, `most` sectors at the most.
    fn read(&mut self, op: &IoOp, most: u64) -> Result<(), Failure> {
        let world = &mut *self.world;
        world.values.clear();
        let buf: Buf = match op {
            IoOp::ReadHole { len, buf } => {
                world.values.resize(len.0 as usize, Value::ZERO);
                *buf
            }
            IoOp::Read {
                level,
                at,
                len,
                zero_tail,
                buf,
            } => {
                let len = len.0.min(most);
                match world.lowers.get(usize::from(level.0)) {
                    Some(lower) => lower.read_values(at.0, len, &mut world.values),
                    None => world.top.observe(at.0, len, &mut world.values, self.tape),
                }
                if most == u64::MAX {
                    let end = world.values.len() + zero_tail.0 as usize;
                    world.values.resize(end, Value::ZERO);
                }
                *buf
            }
            _ => return Ok(()),
        };
        let from = buf.offset.0 as usize;
        let index = self.tag_index(buf.origin);
        let world = &mut *self.world;
        let Some(into) = world.tags[index]
            .buffer
            .get_mut(from..from + world.values.len())
        else {
            return Err(failure(
                "tickets",
                format!("reads beyond its buffer: {op:?}"),
            ));
        };
        into.copy_from_slice(&world.values);
        Ok(())
    }
}

/// After this nothing is durable any more: a sync, or a synchronous write, has failed.
fn poisons(op: &IoOp, outcome: Outcome) -> bool {
    match (op, outcome) {
        (IoOp::Sync { .. }, Outcome::Failed(_)) => true,
        (IoOp::Write { fua: true, .. }, Outcome::Failed(why)) => why != CoreFailure::NoSpace,
        _ => false,
    }
}

/// What a fault plan needs to know: kind (none for what touches no file), bytes, and the unit in which it may be short.
fn size_of(op: &IoOp, granule: u32) -> (Option<IoKind>, u64, u64) {
    match op {
        IoOp::ReadHole { .. } => (None, 0, 1),
        IoOp::Read { len, .. } => (Some(IoKind::Read), len.bytes(), 512),
        IoOp::Write { len, .. } => (Some(IoKind::Write), len.bytes(), 512),
        IoOp::Zero { len, .. } => (Some(IoKind::Zero), len.bytes(), 512),
        IoOp::Copy { len, .. } => (Some(IoKind::Copy), len.bytes(), 512),
        IoOp::SetLen { .. } => (Some(IoKind::SetLen), 0, 1),
        IoOp::WriteIndex { image, .. } => {
            (Some(IoKind::Index), image.len() as u64, u64::from(granule))
        }
        IoOp::PunchHole { .. } => (Some(IoKind::Punch), 0, 1),
        IoOp::Sync { .. } => (Some(IoKind::Sync), 0, 1),
    }
}

/// The name of an I/O in flight.
pub(super) fn object(flight: &Flight) -> Object {
    let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let of = |buf: &Buf| (buf.origin.queue.0, buf.origin.tag.0);
    match &flight.op {
        IoOp::Read { buf, .. } => Object::Fetch(of(buf).0, of(buf).1),
        IoOp::ReadHole { buf, .. } => Object::Hole(of(buf).0, of(buf).1),
        IoOp::Write { buf, .. } => Object::Data(of(buf).0, of(buf).1),
        IoOp::Zero { at, .. } => Object::Zero(short(at.0)),
        IoOp::Copy { to, .. } => Object::Copy(short(to.0)),
        IoOp::SetLen { .. } => Object::Length,
        IoOp::WriteIndex { page, .. } => Object::Index(page.0),
        IoOp::PunchHole { at, .. } => Object::Punch(short(at.0)),
        IoOp::Sync { .. } => Object::Sync,
    }
}
