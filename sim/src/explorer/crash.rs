//! The crash beside the interleaving: the simulated disk follows the rig's top file, and at each moment every distinct
//! image that a power cut could leave is opened, checked by the model's fsck, and compared with what the model allows.
//!
//! What is known from earlier moments, of this execution or another, is not judged again: see the head of the folder.

use super::core::IoOp;
use super::engine::disk::Control;
use super::engine::image::{Image, SECTOR, decode};
use super::engine::ledger::{Ended, Shadow};
use crate::check::bitmaps::Since;
use crate::check::extension::Kept;
use crate::check::image::{Expected, Images, Left};
use crate::disk::{Change, Effect, Geometry, IoId, SimFile, SyncEffect, SyncId, View};
use crate::tape::Tape;
use model::disk::Model;
use model::op::{End, Kind, Op, Value};
use ploop_core::format::Layout;
use ploop_core::load;
use serde::Serialize;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Granule of the metadata area: as in the rig's options.
const GRANULE: u32 = 16;
/// More sectors than a file of a configuration ever has.
const LIMIT: u64 = 1 << 10;

/// Crash images, and what was pruned of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Crashes {
    /// Moments at which the power could fail.
    pub moments: u64,
    /// Moments of which all had been seen before.
    pub known_moments: u64,
    /// Combinations of pending changes at all moments.
    pub nominal: u128,
    /// Distinct images at the moments that were new.
    pub distinct: u128,
    /// Images that differ only where no reader looks from one that was judged.
    pub unread: u64,
    /// Images that were opened, checked and compared.
    pub visited: u64,
}

/// Judges moments; kept over all executions.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) counts: Crashes,
    moments: HashSet<u64>,
    readings: HashSet<u64>,
    images: Images,
    layout: Layout,
    /// What lower levels say, by guest sector.
    below: Vec<Value>,
    kept: Kept,
    since: Since,
    /// The file as it is at first.
    fresh: SimFile,
}

impl Judge {
    pub(super) fn new(image: &Image) -> Judge {
        let bytes = image.files.last().map_or(&[][..], Vec::as_slice);
        let sectors = (bytes.len() / SECTOR) as u64;
        let below = image.below();
        let mut file = SimFile::new();
        let geometry = |meta_len| Geometry {
            meta_len,
            granule: GRANULE,
            limit_sectors: LIMIT,
        };
        file.reset_bytes(geometry(0), bytes);
        let layout = match load::load(&file.view(), "top")
            .map(|delta| delta.expanded().map(|image| image.layout))
        {
            Ok(Some(layout)) => layout,
            other => panic!("the image of a configuration: {other:?}"),
        };
        let meta_len = layout.data_start.bytes();
        let data: Vec<Value> = (layout.data_start.0..sectors)
            .map(|sector| decode(bytes, sector))
            .collect();
        let meta = &bytes[..meta_len as usize];
        file.reset(geometry(meta_len), meta, &data, bytes.len() as u64);
        Judge {
            counts: Crashes::default(),
            moments: HashSet::new(),
            readings: HashSet::new(),
            images: Images::default(),
            layout,
            below,
            kept: Kept::default(),
            since: Since::default(),
            fresh: file,
        }
    }

    /// The power could fail now. `closed`: what an image must hold that says it is closed, if one may.
    fn judge(&mut self, file: &SimFile, model: &Model, closed: Option<&Model>) {
        self.counts.moments += 1;
        let mut images = file.crash_images(u64::MAX);
        self.counts.nominal += images.nominal();
        let allowed = (allowed(model), closed.map(allowed));
        let mut moment = DefaultHasher::new();
        (images.fingerprint(), allowed).hash(&mut moment);
        if !self.moments.insert(moment.finish()) {
            self.counts.known_moments += 1;
            return;
        }
        self.counts.distinct += images.distinct();
        while images.advance() {
            if !self.readings.insert(self.reading(images.view(), allowed)) {
                self.counts.unread += 1;
                continue;
            }
            self.counts.visited += 1;
            let expected = Expected {
                below: &self.below,
                kept: &self.kept,
                since: &self.since,
                layout: &self.layout,
                left: Left::Either,
                model,
                closed,
            };
            if let Err(failure) = self.images.judge(images.view(), expected) {
                panic!(
                    "after a power cut: {}: {}",
                    failure.checker, failure.message
                );
            }
        }
    }

    /// The same for images that no reader can tell apart, and that the same is allowed for.
    fn reading(&self, view: View<'_>, allowed: (u64, Option<u64>)) -> u64 {
        let mut hasher = DefaultHasher::new();
        (allowed, view.len_bytes()).hash(&mut hasher);
        let mut meta = [0; SECTOR];
        for sector in 0..self.layout.data_start.0 {
            meta.fill(0);
            view.read_bytes(sector * SECTOR as u64, &mut meta);
            meta.hash(&mut hasher);
        }
        for clu in 0..u64::from(self.layout.entries) {
            let mut slot = [0; 4];
            view.read_bytes(64 + 4 * clu, &mut slot);
            let entry = u32::from_le_bytes(slot);
            if entry != 0 {
                let at = self.layout.entry_sector(entry).0;
                (at..at + self.layout.cluster.0)
                    .for_each(|sector| view.read_value(sector).hash(&mut hasher));
            }
        }
        hasher.finish()
    }
}

/// A hash of what the model allows after a crash now.
fn allowed(model: &Model) -> u64 {
    let mut sum = 0u64;
    model.for_each_after_crash(&mut |sector, value| {
        let mut hasher = DefaultHasher::new();
        (sector, value).hash(&mut hasher);
        sum = sum.wrapping_add(hasher.finish());
    });
    sum
}

/// An I/O in flight on the top.
#[derive(Clone, Copy, Debug)]
enum Flight {
    Change(IoId),
    Sync(SyncId),
}

/// The top file of one execution.
#[derive(Debug)]
pub(super) struct Pending {
    judge: Arc<Mutex<Judge>>,
    file: SimFile,
    /// By number of the I/O.
    flights: Vec<Option<Flight>>,
    tape: Tape,
}

impl Pending {
    pub(super) fn new(_image: &Image, judge: &Arc<Mutex<Judge>>) -> Pending {
        let fresh = &judge.lock().unwrap_or_else(PoisonError::into_inner).fresh;
        Pending {
            file: fresh.clone(),
            judge: Arc::clone(judge),
            flights: Vec::new(),
            tape: Tape::from_seed(0),
        }
    }

    fn submit(&mut self, op: &IoOp, values: &[Value]) -> Option<Flight> {
        let change = match op {
            IoOp::Read { .. } | IoOp::ReadHole { .. } => return None,
            IoOp::Sync { .. } => return Some(Flight::Sync(self.file.submit_sync())),
            IoOp::Write { at, fua: true, .. } => {
                let change = Change::Data { at: at.0, values };
                return Some(Flight::Change(self.file.submit_fua(change)));
            }
            IoOp::Write { at, .. } | IoOp::Copy { to: at, .. } => Change::Data { at: at.0, values },
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
        Some(Flight::Change(self.file.submit(change)))
    }

    fn judge_now(&self, model: &Model, closed: Option<&Model>) {
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        judge.judge(&self.file, model, closed);
    }
}

impl Shadow for Pending {
    fn begin(&mut self, io: usize, op: &IoOp, values: &[Value]) {
        let flight = self.submit(op, values);
        self.flights.resize(io + 1, None);
        self.flights[io] = flight;
    }

    fn end(&mut self, io: usize, end: Ended) {
        let (change, sync) = match end {
            Ended::Whole => (Effect::Done, SyncEffect::Done),
            Ended::First(bytes) => (Effect::Short(bytes), SyncEffect::Failed { evict: false }),
        };
        let mut nothing = Tape::replay(Vec::new());
        let tape = match end {
            Ended::Whole => &mut self.tape,
            // Of the rest nothing was done.
            Ended::First(_) => &mut nothing,
        };
        match self.flights[io].take() {
            Some(Flight::Change(id)) => self.file.complete(id, change, tape),
            Some(Flight::Sync(id)) => self.file.complete_sync(id, sync, tape),
            None => {}
        }
    }

    fn control(&mut self, change: Control<'_>, model: &Model) {
        let mut closed = model.clone();
        let flush = Op {
            kind: Kind::Flush,
            start: 0,
            len: 0,
        };
        let flush = closed.submit(flush, 0);
        closed
            .complete(flush, End::Ok, &[])
            .expect("nothing is read");
        let change = match change {
            Control::Write(at, bytes) => Change::Bytes { at, bytes },
            Control::SetLen(len) => Change::SetLen {
                bytes: len * SECTOR as u64,
            },
            Control::Sync => {
                let sync = self.file.submit_sync();
                self.file
                    .complete_sync(sync, SyncEffect::Done, &mut self.tape);
                return self.judge_now(model, Some(&closed));
            }
        };
        let change = self.file.submit(change);
        self.judge_now(model, Some(&closed));
        self.file.complete(change, Effect::Done, &mut self.tape);
        self.judge_now(model, Some(&closed));
    }

    fn judge(&mut self, model: &Model) {
        self.judge_now(model, None);
    }
}
