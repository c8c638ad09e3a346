//! What stands beside a device: its disk, the model, the requests in flight. Everything here happens in one step of the
//! engine, between two calls of the core.

use super::core::{Buf, Failure, IoOp};
use super::disk::{Control, Disk};
use super::image::Image;
use super::rig::{Io, Who};
use super::trace::{self, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use model::disk::{Model, OpId};
use model::op::{End, Kind, Op, Value};

/// Beyond the numbers of what an image holds from the start.
const FIRST_WRITE: u32 = 1 << 20;

/// Is told what happens to the top file.
pub(crate) trait Shadow: Debug + Send {
    /// An I/O was handed out. `values`: what it puts into sectors, for a write or a copy.
    fn begin(&mut self, io: usize, op: &IoOp, values: &[Value]);
    /// It ended.
    fn end(&mut self, io: usize, end: Ended);
    /// The control plane is closing the image: the power could fail during this, and after it.
    fn control(&mut self, change: Control<'_>, model: &Model);
    /// The power could fail now.
    fn judge(&mut self, model: &Model);
}

/// How much of an I/O was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All.
    Whole,
    /// The first so many bytes.
    First(u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) disk: Disk,
    pub(crate) model: Model,
    pub(crate) requests: Vec<InFlight>,
    /// Ended requests, in order.
    pub(crate) ended: Vec<(Who, Result<(), Failure>)>,
    /// Writes submitted so far, by who did.
    writes: BTreeMap<Who, u32>,
    /// What the last read of each returned for its first sector.
    pub(crate) last_read: BTreeMap<Who, Value>,
    /// What a power cut could leave, image by image.
    pub(crate) shadow: Option<Box<dyn Shadow>>,
    /// The clock, in milliseconds.
    pub(crate) now: u64,
    /// A failure was injected: requests may fail.
    pub(crate) faults: bool,
    /// The device that is in use, the first one being 0.
    pub(crate) device: u32,
    /// Somebody was told that the device is drained, and requests have not been let go again.
    drained: bool,
    /// Sectors that were changed since a dirty bitmap was started, by the devices from this number on.
    pub(crate) changed: Option<(u32, BTreeSet<u64>)>,
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) who: Who,
    pub(crate) op: Op,
    /// The device that it was submitted to last.
    pub(crate) device: u32,
    write: u32,
    id: OpId,
    read: Vec<Value>,
}

impl Ledger {
    pub(crate) fn new(image: &Image) -> Ledger {
        let mut model = Model::new(image.initial.len() as u64);
        model.reset(&image.initial);
        let top = image.chain.last().and_then(|top| top.expanded());
        let tracked = top.is_some_and(|image| !image.bitmaps.is_empty());
        Ledger {
            disk: Disk::new(image),
            model,
            requests: Vec::new(),
            ended: Vec::new(),
            writes: BTreeMap::new(),
            last_read: BTreeMap::new(),
            shadow: None,
            now: 0,
            faults: false,
            device: 0,
            drained: false,
            changed: tracked.then(|| (0, BTreeSet::new())),
        }
    }

    /// Somebody was told that the device is drained: whoever is told so is alone with the files (I12, I35).
    pub(crate) fn drain(&mut self) {
        let in_flight = self.disk.ios.in_flight();
        assert_eq!(in_flight, 0, "drained with I/O in flight (I35)");
        self.drained = true;
    }

    /// Requests are let go again.
    pub(crate) fn let_go(&mut self) {
        self.drained = false;
    }

    /// A request is about to go in.
    pub(crate) fn submit(&mut self, device: u32, who: Who, op: Op) {
        let write = match op.kind {
            Kind::Write { .. } => self.number(who),
            _ => 0,
        };
        let id = self.model.submit(op, write);
        let read = match op.kind {
            Kind::Read => vec![Value(u64::MAX); op.len as usize],
            _ => Vec::new(),
        };
        self.requests.push(InFlight {
            who,
            op,
            device,
            write,
            id,
            read,
        });
    }

    /// A number for a write that does not depend on what others submitted meanwhile.
    fn number(&mut self, who: Who) -> u32 {
        let count = self.writes.entry(who).or_default();
        *count += 1;
        FIRST_WRITE | u32::from(who.0) << 16 | u32::from(who.1) << 8 | *count
    }

    /// The request in flight of `who`.
    pub(crate) fn request(&self, who: Who) -> Op {
        let found = self.requests.iter().find(|request| request.who == who);
        match found {
            Some(request) => request.op,
            None => panic!("{who:?} ended, but is not in flight (I33)"),
        }
    }

    /// From now on a device is in use. Returns what has not ended: it comes again there.
    pub(crate) fn take_over(&mut self, device: u32) -> Vec<(Who, Op)> {
        let late = self.requests.iter_mut();
        let late = late.filter(|request| request.device < device);
        late.map(|request| {
            request.device = device;
            (request.who, request.op)
        })
        .collect()
    }

    /// One that was sent to device `from` comes again on `to`; `None`: somebody else has seen to that.
    pub(crate) fn take_over_one(&mut self, who: Who, from: u32, to: u32) -> Option<Op> {
        let mut requests = self.requests.iter_mut();
        let found = requests.find(|request| request.who == who && request.device == from)?;
        found.device = to;
        Some(found.op)
    }

    /// The device that a request in flight was sent to.
    pub(crate) fn device_of(&self, who: Who) -> Option<u32> {
        let found = self.requests.iter().find(|request| request.who == who);
        found.map(|request| request.device)
    }

    /// A request ended on this device. Returns it.
    pub(crate) fn finish(&mut self, device: u32, who: Who, outcome: Result<(), Failure>) -> Op {
        trace::note(Step::Finish(who, outcome));
        let Some(index) = self.requests.iter().position(|request| request.who == who) else {
            panic!("{who:?} ended, but is not in flight (I33)");
        };
        let request = self.requests.swap_remove(index);
        let end = match outcome {
            Ok(()) => End::Ok,
            Err(Failure::NoSpace) => End::NoSpace,
            Err(_) => End::Io,
        };
        assert!(
            end == End::Ok || self.faults,
            "{who:?} {:?} failed: {outcome:?}",
            request.op
        );
        let read = if end == End::Ok { &*request.read } else { &[] };
        if let Err(violation) = self.model.complete(request.id, end, read) {
            panic!("{who:?} {:?}: {violation}", request.op);
        }
        self.ended.push((who, outcome));
        if let Some(&value) = request.read.first() {
            self.last_read.insert(who, value);
        }
        let modifies = !matches!(
            request.op.kind,
            Kind::Read | Kind::Flush | Kind::Promote { .. }
        );
        if let Some((since, changed)) = &mut self.changed
            && modifies
            && device >= *since
        {
            changed.extend(request.op.start..request.op.start + request.op.len);
        }
        request.op
    }

    /// An I/O came out of a device. Returns its number.
    pub(crate) fn begin(&mut self, device: u32, op: &IoOp) -> usize {
        assert!(
            !self.drained && device == self.device,
            "{op:?} of device {device} on a drained device {} (I35)",
            self.device
        );
        let requests = &self.requests;
        let id = self.disk.begin(op, &|buf, i| written(requests, buf, i));
        if let Some(shadow) = &mut self.shadow {
            let values = self.disk.values(op, &|buf, i| written(requests, buf, i));
            shadow.begin(id, op, &values);
        }
        trace::note(Step::Begin(id, op.clone()));
        id
    }

    fn apply(&mut self, op: &IoOp) {
        let mut read = Vec::new();
        let requests = &self.requests;
        self.disk.apply(
            op,
            &|buf, i| written(requests, buf, i),
            &mut |buf, i, value| read.push((buf, i, value)),
        );
        for (buf, i, value) in read {
            let who = (buf.origin.queue.0, buf.origin.tag.0);
            let found = self.requests.iter_mut().find(|request| request.who == who);
            let request = found.expect("a read into the buffer of an ended request (I33)");
            request.read[(buf.offset.0 + i) as usize] = value;
        }
    }

    /// An I/O is carried out.
    pub(crate) fn done(&mut self, id: usize, op: &IoOp) {
        self.apply(op);
        self.disk.end(id, op, true, true);
        if let Some(shadow) = &mut self.shadow {
            shadow.end(id, Ended::Whole);
        }
    }

    /// An I/O failed; it was carried out all the same, or not at all.
    pub(crate) fn failed(&mut self, io: &Io, applied: bool) {
        self.faults = true;
        if applied {
            self.apply(&io.op);
        }
        self.disk.end(io.id, &io.op, false, applied);
        if let Some(shadow) = &mut self.shadow {
            shadow.end(io.id, Ended::First(if applied { u64::MAX } else { 0 }));
        }
    }

    /// An I/O did `part` of it, so many bytes.
    pub(crate) fn short(&mut self, io: &Io, part: &IoOp, bytes: u64) {
        self.faults = true;
        if let Some(shadow) = &mut self.shadow {
            shadow.end(io.id, Ended::First(bytes));
        }
        self.apply(part);
        self.disk.cut(io.id, &io.op, part);
        // The part that a write with FUA reports is durable (RWF_DSYNC).
        self.disk.end(io.id, &io.op, true, true);
    }

    /// An operation of the control plane: done when this returns.
    pub(crate) fn control(&mut self, change: Control<'_>) {
        if let Some(shadow) = &mut self.shadow {
            shadow.control(change, &self.model);
        }
        self.disk.control(change);
    }

    /// What a power cut could leave right now is legal.
    pub(crate) fn check(&mut self) {
        if let Some(shadow) = &mut self.shadow {
            shadow.judge(&self.model);
        }
        self.disk.check_index();
        for sector in 0..self.model.sectors() {
            self.disk.after_power_cut(sector, &mut |value| {
                if let Err(violation) = self.model.check_after_crash(sector, value) {
                    panic!("after a power cut: {violation}");
                }
            });
        }
    }
}

/// What a guest buffer that is being written holds.
fn written(requests: &[InFlight], buf: Buf, i: u64) -> Value {
    let who = (buf.origin.queue.0, buf.origin.tag.0);
    let found = requests.iter().find(|request| request.who == who);
    let request = found.expect("a write from the buffer of an ended request (I33)");
    Value::of(request.write, request.op.start + buf.offset.0 + i)
}
