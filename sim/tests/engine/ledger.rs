//! What stands beside a device: its disk, the model, the requests in flight. Everything here happens in one step of the
//! engine, between two calls of the core.

use super::core::{Buf, Failure, IoOp};
use super::disk::Disk;
use super::image::Image;
use super::rig::{Io, Who};
use super::trace::{self, Step};
use std::collections::BTreeMap;
use std::fmt::Debug;

use model::disk::{Model, OpId};
use model::op::{End, Kind, Op, Value};

/// Beyond the numbers of what an image holds from the start.
const FIRST_WRITE: u32 = 1 << 20;

/// Is told what happens to the top file.
pub(crate) trait Shadow: Debug + Send {
    /// An I/O was handed out. `values`: what it puts into sectors, for a write or a copy.
    fn begin(&mut self, io: usize, op: &IoOp, values: &[Value]);
    /// It ended well.
    fn end(&mut self, io: usize, op: &IoOp);
    /// The power could fail now.
    fn judge(&mut self, model: &Model);
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
    /// What a power cut could leave, image by image.
    pub(crate) shadow: Option<Box<dyn Shadow>>,
    /// The clock, in milliseconds.
    pub(crate) now: u64,
    /// A failure was injected: requests may fail.
    pub(crate) faults: bool,
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) who: Who,
    pub(crate) op: Op,
    write: u32,
    id: OpId,
    read: Vec<Value>,
}

impl Ledger {
    pub(crate) fn new(image: &Image) -> Ledger {
        let mut model = Model::new(image.initial.len() as u64);
        model.reset(&image.initial);
        Ledger {
            disk: Disk::new(image),
            model,
            requests: Vec::new(),
            ended: Vec::new(),
            writes: BTreeMap::new(),
            shadow: None,
            now: 0,
            faults: false,
        }
    }

    /// A request is about to go in.
    pub(crate) fn submit(&mut self, who: Who, op: Op) {
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

    /// A request ended. Returns it.
    pub(crate) fn finish(&mut self, who: Who, outcome: Result<(), Failure>) -> Op {
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
        request.op
    }

    /// An I/O came out. Returns its number.
    pub(crate) fn begin(&mut self, op: &IoOp) -> usize {
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
    pub(crate) fn done(&mut self, io: &Io) {
        self.apply(&io.op);
        self.disk.end(io.id, &io.op, true, true);
        if let Some(shadow) = &mut self.shadow {
            shadow.end(io.id, &io.op);
        }
    }

    /// An I/O failed; it was carried out all the same, or not at all.
    pub(crate) fn failed(&mut self, io: &Io, applied: bool) {
        self.faults = true;
        if applied {
            self.apply(&io.op);
        }
        self.disk.end(io.id, &io.op, false, applied);
    }

    /// An I/O did `part` of it.
    pub(crate) fn short(&mut self, io: &Io, part: &IoOp) {
        self.faults = true;
        self.apply(part);
        self.disk.cut(io.id, &io.op, part);
        // The part that a write with FUA reports is durable (RWF_DSYNC).
        self.disk.end(io.id, &io.op, true, true);
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
