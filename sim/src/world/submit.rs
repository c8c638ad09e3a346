//! Clients: which operation comes next, and how it goes to the core and to the model.

use model::op::{End, Kind as OpKind, Op, Value};
use ploop_core::units::{Level, QueueId, Sector, Sectors, Tag};
use ploop_core::{Device, Failure as CoreFailure, Op as CoreOp, Origin, Request, WriteBack};

use crate::check::{failure, immediate, outcome, tickets};
use crate::report::Failure;
use crate::tape::{Event, Kind, Label};
use crate::world::Run;
use crate::world::log::Happening;
use crate::world::named::{self, object};

/// Disks of up to so many clusters are promoted as a whole, too.
const PROMOTED_WHOLE: u32 = 64;
/// An idle tag's buffer holds this where nothing was read.
const UNREAD: Value = Value(u64::MAX - 1);

impl Run<'_> {
    /// Draws an operation.
    fn draw_op(&mut self) -> Op {
        let mut weights = self.swarm.ops;
        let below = u32::from(self.shape.levels - 1);
        if below == 0 {
            weights[7] = 0;
        }
        let kind = match self
            .tape
            .weighted_by_name(Kind::Op, &weights, named::operation)
        {
            0 => OpKind::Read,
            1 => OpKind::Write {
                preflush: false,
                fua: false,
            },
            2 => OpKind::Write {
                preflush: false,
                fua: true,
            },
            3 => OpKind::Write {
                preflush: true,
                fua: self.tape.choose(Kind::Arg, 2) == 1,
            },
            4 => OpKind::WriteZeroes {
                fua: self.tape.choose(Kind::Arg, 3) == 2,
                unmap: self.tape.choose(Kind::Arg, 2) == 0,
            },
            5 => OpKind::Discard,
            6 => {
                return Op {
                    kind: OpKind::Flush,
                    start: 0,
                    len: 0,
                };
            }
            _ => {
                let lowest = self.tape.choose(Kind::Arg, below) as u8;
                let kind = OpKind::Promote { lowest };
                if self.shape.entries <= PROMOTED_WHOLE && self.tape.choose(Kind::Arg, 2) == 0 {
                    let (start, len) = (0, self.shape.size);
                    return Op { kind, start, len };
                }
                kind
            }
        };
        let cluster = self.shape.cluster;
        let clu = self.draw_cluster();
        let base = u64::from(clu) * cluster;
        let whole = matches!(kind, OpKind::Discard) || self.tape.choose(Kind::Arg, 2) == 0;
        let (start, len) = if whole {
            let count = 1 + u64::from(self.tape.choose(Kind::Arg, 8) / 6);
            (base, cluster * count)
        } else {
            let start = base + u64::from(self.tape.choose(Kind::Arg, cluster as u32));
            (
                start,
                1 + u64::from(self.tape.choose(Kind::Arg, cluster as u32 + 1)),
            )
        };
        let start = start.min(self.shape.size - 1);
        Op {
            kind,
            start,
            len: len.min(self.shape.size - start),
        }
    }

    /// Draws the first guest cluster of an operation. A replay finds it again by its name.
    fn draw_cluster(&mut self) -> u32 {
        let clusters = self.shape.size.div_ceil(self.shape.cluster) as u32;
        // The hot clusters stand where pages meet: 4, 1008, ... are the first of a page.
        let first = if clusters > 1008 { 1006 } else { 2 };
        let hot = |pick: u32| (first + pick) % clusters;
        let hottest = self.swarm.hot;
        let picks = |clu: u32| (0..hottest).find(|&pick| hot(pick) == clu);
        if hottest > 0
            && self.tape.choose_named(Kind::Arg, 4, |label, recorded| {
                let clu = named::cluster(label)?;
                // Every cluster can be drawn as a cold one.
                recorded
                    .filter(|&k| k == 3 || picks(clu).is_some())
                    .or(Some(3))
            }) != 3
        {
            let pick = self
                .tape
                .choose_named(Kind::Arg, hottest, |label, recorded| {
                    let clu = named::cluster(label)?;
                    recorded.filter(|&k| hot(k) == clu).or_else(|| picks(clu))
                });
            return hot(pick);
        }
        self.tape
            .choose_named(Kind::Arg, clusters, |label, _| named::cluster(label))
    }

    /// True if a modifying operation in flight overlaps this modifying one.
    fn is_overlapped(&self, op: Op) -> bool {
        let modifies = |op: &Op| {
            !matches!(
                op.kind,
                OpKind::Read | OpKind::Flush | OpKind::Promote { .. }
            )
        };
        let meets = |other: &Op| {
            modifies(other) && other.start < op.start + op.len && op.start < other.start + other.len
        };
        modifies(&op)
            && self
                .world
                .tags
                .iter()
                .any(|tag| tag.active.is_some_and(|(_, other)| meets(&other)))
    }

    /// Submits an operation on an idle tag of some queue, if there is one.
    pub(super) fn submit_some(&mut self, device: &Device) -> Result<bool, Failure> {
        let queues = u32::from(self.shape.options.queues);
        let queue = self
            .tape
            .choose_named(Kind::Thread, queues, |label, _| named::client(label));
        let queue = QueueId(queue as u16);
        let depth = self.shape.options.depth;
        let idle = (0..depth)
            .map(|tag| Origin {
                queue,
                tag: Tag(tag),
            })
            .find(|origin| self.world.tags[self.tag_index(*origin)].active.is_none());
        let Some(origin) = idle else { return Ok(false) };
        let op = self.draw_op();
        if !self.overlaps && self.is_overlapped(op) {
            return Ok(false);
        }
        let cluster = self.shape.cluster;
        self.tape.name(|| Label {
            event: Event::Submit,
            queue: Some(origin.queue.0),
            object: object(op, cluster),
            ..Label::default()
        });
        self.submit(device, origin, op)?;
        Ok(true)
    }

    /// Submits an operation.
    pub(super) fn submit(
        &mut self,
        device: &Device,
        origin: Origin,
        op: Op,
    ) -> Result<(), Failure> {
        let mut write = 0;
        let index = self.tag_index(origin);
        let poisoned = self.poisoned;
        let tag = &mut self.world.tags[index];
        tag.poisoned = poisoned;
        tag.buffer.clear();
        match op.kind {
            OpKind::Write { .. } => {
                self.writes += 1;
                write = self.writes;
                tag.buffer
                    .extend((op.start..op.start + op.len).map(|sector| Value::of(write, sector)));
            }
            OpKind::Read => tag.buffer.resize(op.len as usize, UNREAD),
            OpKind::WriteZeroes { .. }
            | OpKind::Discard
            | OpKind::Flush
            | OpKind::Promote { .. } => {}
        }
        let id = self.world.model.submit(op, write);
        self.world.tags[index].active = Some((id, op));
        self.stats.ops += 1;
        self.trace.push(
            0x51 << 56
                | u64::from(origin.queue.0) << 40
                | u64::from(origin.tag.0) << 32
                | op.start << 8
                | op.len,
        );
        self.note(|_| Happening::Submit {
            origin,
            op,
            write,
            again: false,
        });
        self.request(device, origin, op)
    }

    /// Hands an operation to the core.
    pub(super) fn request(
        &mut self,
        device: &Device,
        origin: Origin,
        op: Op,
    ) -> Result<(), Failure> {
        let request = Request {
            op: core_op(op.kind),
            start: Sector(op.start),
            len: Sectors(op.len),
        };
        device.submit(origin, request, &mut self.world.out);
        self.carry_out()?;
        self.watch(device);
        Ok(())
    }

    /// A request has ended.
    pub(super) fn finished(
        &mut self,
        queue: QueueId,
        tag: Tag,
        ended: Result<(), CoreFailure>,
    ) -> Result<(), Failure> {
        let origin = Origin { queue, tag };
        let index = self.tag_index(origin);
        let entry = self.world.tags[index].active.take();
        tickets::ended(origin, entry.is_some())?;
        let Some((id, op)) = entry else { return Ok(()) };
        let end = match ended {
            Ok(()) => End::Ok,
            Err(CoreFailure::NoSpace) => End::NoSpace,
            Err(CoreFailure::Io | CoreFailure::Unsupported) => End::Io,
            Err(other) => {
                return Err(failure(
                    "tickets",
                    format!("{origin:?}: a legal request ended with {other:?}"),
                ));
            }
        };
        self.world.tags[index].ended = Some(end);
        outcome::check(end, self.world.faults.injected())?;
        self.failed |= end != End::Ok;
        if end == End::Ok {
            outcome::check_promise(op.kind, self.world.tags[index].poisoned)?;
            self.check_slot(op)?;
        }
        if let OpKind::Promote { lowest } = op.kind
            && end == End::Ok
            && op.len == self.shape.size
        {
            self.promoted = Some(self.promoted.map_or(lowest, |before| before.min(lowest)));
        }
        let read = if op.kind == OpKind::Read && end == End::Ok {
            &self.world.tags[index].buffer[..]
        } else {
            &[]
        };
        self.stats.sectors_compared += read.len() as u64;
        self.trace
            .push(0xF1 << 56 | u64::from(queue.0) << 40 | u64::from(tag.0) << 32 | end as u64);
        for value in read {
            self.trace.push(value.0);
        }
        let judged = self.world.model.complete(id, end, read);
        self.note(|run| Happening::Finish {
            origin,
            op,
            end,
            read: if op.kind == OpKind::Read {
                run.world.tags[index].buffer.clone()
            } else {
                Vec::new()
            },
        });
        judged.map_err(|violation| failure("linear", violation.to_string()))
    }
}

impl Run<'_> {
    /// Without delayed write-back: the slot that a request has changed is durable now.
    fn check_slot(&self, op: Op) -> Result<(), Failure> {
        if self.shape.options.write_back != WriteBack::Immediate || self.failed {
            return Ok(());
        }
        let Some(clu) = immediate::promised(op, self.shape.cluster) else {
            return Ok(());
        };
        let cluster = self.shape.cluster;
        let meets = |other: Op| {
            let (first, end) = (
                other.start / cluster,
                (other.start + other.len).div_ceil(cluster),
            );
            (first..end).contains(&u64::from(clu.0))
        };
        let mut others = self.world.tags.iter().filter_map(|tag| tag.active);
        if others.any(|(_, other)| meets(other)) {
            return Ok(());
        }
        let visible = self.world.slots.get(clu);
        immediate::check(clu, visible, &self.world.top)
    }
}

fn core_op(kind: OpKind) -> CoreOp {
    match kind {
        OpKind::Read => CoreOp::Read,
        OpKind::Write { preflush, fua } => CoreOp::Write { preflush, fua },
        OpKind::WriteZeroes { fua, unmap } => CoreOp::WriteZeroes { fua, unmap },
        OpKind::Discard => CoreOp::Discard,
        OpKind::Flush => CoreOp::Flush,
        OpKind::Promote { lowest } => CoreOp::Promote {
            lowest: Level(lowest),
        },
    }
}
