//! Arbitrary operations on arbitrary chains, through the blocking driver on files of the simulator (see `power`), against the
//! model; and with the control plane's operations between them (see `control`), and power cuts in any call of both.
//!
//! After every step: the core's own invariants (`Device::verify`), the model's fsck of the top's bytes, and of what was
//! read, the model's judgement. After every flush and close, too: the model's own reader of the bytes sees what the disk
//! reads as. A failing case shrinks, and its seed is kept in `corpus/`.

mod control;
mod power;
mod start;

use control::Control;
use model::bitmap;
use model::disk::Model;
use model::fsck::Fsck;
use model::image::{Image, ImageBytes, InUse, Level as ModelLevel, read_sector};
use model::op::{End, Kind, Op, Value};
use ploop_core::control::files;
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::format::{Layout, Version};
use ploop_core::load;
use ploop_core::units::{Millis, Sector, Sectors};
use power::{PoweredFile, Supply};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use sim::disk::SimFile;
use sim::disk::sector::{fill_pattern, recognise};
use sim::world::chain::{self, Content};
use sim::world::shape::Shape;
use start::Start;
use std::collections::BTreeSet;

const SECTOR: usize = 512;
const MOST_LEVELS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Where it begins, how long it is, both in 1/256 of the disk or of three clusters.
    Op(Kind, u8, u8),
    Tick(u8),
    Reopen,
    AddDelta,
    Control(Control),
    /// The power is lost after so many calls of an operation, or right behind it; what becomes of what is not durable.
    Cut(u8, u64, Kind, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        3 => Just(Kind::Read),
        6 => (any::<bool>(), any::<bool>()).prop_map(|(fua, preflush)| Kind::Write { preflush: preflush && fua, fua }),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(fua, unmap)| Kind::WriteZeroes { fua, unmap }),
        3 => Just(Kind::Discard),
        2 => Just(Kind::Flush),
        1 => (0..3u8).prop_map(|lowest| Kind::Promote { lowest }),
    ];
    prop_oneof![
        17 => (kind, any::<u8>(), any::<u8>()).prop_map(|(kind, start, len)| Step::Op(kind, start, len)),
        2 => any::<u8>().prop_map(Step::Tick),
        2 => Just(Step::Reopen),
        1 => Just(Step::AddDelta),
    ]
}

/// As [`step`], with the control plane's operations between, and power cuts.
fn any_step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        1 => Just(Kind::Read),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(fua, preflush)| Kind::Write { preflush: preflush && fua, fua }),
        1 => Just(Kind::WriteZeroes { fua: false, unmap: true }),
        1 => Just(Kind::Discard),
        2 => Just(Kind::Flush),
    ];
    prop_oneof![
        16 => step(),
        4 => control::drawn().prop_map(Step::Control),
        1 => (0..20u8, any::<u64>(), kind, any::<u8>(), any::<u8>())
            .prop_map(|(calls, seed, kind, start, len)| Step::Cut(calls, seed, kind, start, len)),
    ]
}

/// What runs.
struct Run {
    shape: Shape,
    files: Vec<PoweredFile>,
    supply: Supply,
    disk: Disk,
    model: Model,
    fsck: Fsck,
    writes: u32,
    now: u64,
    changed: bool,
    /// Sectors changed since the top's dirty bitmap was started, if it has one that counts.
    dirty: Option<BTreeSet<u64>>,
    /// Of those, the ones when the disk was opened.
    dirty_before: Option<BTreeSet<u64>>,
}

type Judged = Result<(), TestCaseError>;

fn fail(why: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(why.to_string())
}

fn open(shape: &Shape, files: &[PoweredFile]) -> Result<Disk, TestCaseError> {
    let mut chain = Vec::new();
    for (level, file) in files.iter().enumerate() {
        let loaded = if level == 0 && shape.raw_base {
            load::load_raw(file, "raw")
        } else {
            load::load(file, "image")
        };
        chain.push(loaded.map_err(fail)?);
    }
    if let (Some(top), Some(file)) = (chain.last_mut(), files.last()) {
        files::settle(file, top).map_err(fail)?;
    }
    let boxed = files
        .iter()
        .map(|file| Box::new(file.clone()) as Box<dyn DeltaFile>)
        .collect();
    Disk::open(chain, boxed, shape.options).map_err(fail)
}

/// Bytes in front of the first data, in any version.
fn table_of(shape: &Shape) -> u64 {
    let cluster = Sectors(shape.cluster);
    Layout::lowest_data_start(Version::V1, cluster, shape.entries).bytes()
}

impl Run {
    fn new(start: &Start) -> Result<Run, TestCaseError> {
        let (mut lowers, mut top) = (Vec::new(), SimFile::new());
        let mut content = Content::default();
        chain::build(
            &start.shape,
            &start.lowers,
            &start.top,
            &mut lowers,
            &mut top,
            &mut content,
        );
        let supply = Supply::new(start.shape.options.granule);
        let table = table_of(&start.shape);
        let files: Vec<PoweredFile> = lowers
            .iter()
            .chain([&top])
            .enumerate()
            .map(|(level, file)| {
                let mut bytes = vec![0; file.len_bytes() as usize];
                file.view().read_bytes(0, &mut bytes);
                let raw = start.shape.raw_base && level == 0;
                supply.file(&bytes, if raw { 0 } else { table })
            })
            .collect();
        let mut model = Model::new(0);
        model.reset(&content.all);
        Ok(Run {
            disk: open(&start.shape, &files)?,
            shape: start.shape.clone(),
            files,
            supply,
            model,
            fsck: Fsck::default(),
            writes: 0,
            now: 0,
            changed: false,
            dirty: None,
            dirty_before: None,
        })
    }

    fn step(&mut self, step: &Step) -> Judged {
        match *step {
            Step::Op(kind, start, len) => {
                self.operate(self.op(kind, start, len))?;
            }
            Step::Cut(calls, seed, kind, start, len) => {
                let op = self.op(kind, start, len);
                self.supply.cut_after(calls.into(), seed);
                self.cut(op)?;
            }
            Step::Tick(passed) => {
                self.now += u64::from(passed);
                self.disk.tick(Millis(self.now));
            }
            Step::Reopen => self.close(false)?,
            Step::AddDelta => self.close(self.files.len() < MOST_LEVELS)?,
            Step::Control(ref control) => self.control(control)?,
        }
        self.disk.device().verify();
        self.check(None)?;
        if matches!(step, Step::Op(Kind::Flush, ..)) {
            self.compare()?;
        }
        Ok(())
    }

    fn op(&self, kind: Kind, start: u8, len: u8) -> Op {
        let start = u64::from(start) * self.shape.size / 256;
        let most = (self.shape.size - start).min(3 * self.shape.cluster);
        let len = match kind {
            Kind::Flush => 0,
            _ => 1 + u64::from(len) * (most - 1) / 255,
        };
        Op { kind, start, len }
    }

    /// The power is lost in an operation, or behind it.
    fn cut(&mut self, op: Op) -> Judged {
        match self.operate(op) {
            Ok(_) => {}
            // It is in flight for ever. It may have begun to change something.
            Err(_) if self.supply.is_lost() => self.changed |= op.kind != Kind::Read,
            Err(error) => return Err(error),
        }
        self.model.crash();
        self.supply.restore(&self.files);
        self.forget_bitmap()?;
        self.reopen()?;
        let seen = self.contents()?;
        self.model.restart(&seen).map_err(fail)?;
        prop_assert_eq!(self.read_all()?, seen);
        Ok(())
    }

    /// Opens what is there.
    fn reopen(&mut self) -> Judged {
        self.disk = open(&self.shape, &self.files)?;
        self.dirty_before.clone_from(&self.dirty);
        self.changed = false;
        Ok(())
    }

    /// The disk was not closed: a dirty bitmap counts if nothing was marked as in use, so that nothing has changed.
    fn forget_bitmap(&mut self) -> Judged {
        self.dirty = match self.vouched()? {
            false => None,
            true => self.dirty_before.clone(),
        };
        let known = self.dirty.is_some() || !self.vouched()?;
        prop_assert!(known, "a bitmap counts, and nobody knew of it");
        Ok(())
    }

    /// The top says that its dirty bitmap counts.
    fn vouched(&mut self) -> Result<bool, TestCaseError> {
        let Some(top) = self.files.last() else {
            return Ok(false);
        };
        let bytes = top.bytes();
        let marked = self.fsck.check(&bytes).in_use();
        Ok(marked == Some(InUse::Closed21) && bitmap::read(&bytes).is_ok_and(|b| !b.is_empty()))
    }

    fn operate(&mut self, op: Op) -> Result<Vec<Value>, TestCaseError> {
        let mut buffer = vec![0; op.len as usize * SECTOR];
        let mut write = 0;
        if matches!(op.kind, Kind::Write { .. }) {
            self.writes += 1;
            write = self.writes;
            for (sector, chunk) in (op.start..).zip(buffer.chunks_mut(SECTOR)) {
                fill_pattern(Value::of(write, sector), 0, chunk);
            }
        }
        let id = self.model.submit(op, write);
        let (start, len) = (Sector(op.start), Sectors(op.len));
        let done = match op.kind {
            Kind::Read => self.disk.read(start, &mut buffer),
            Kind::Write { fua, preflush } => {
                let flushed = if preflush { self.disk.flush() } else { Ok(()) };
                flushed.and_then(|()| self.disk.write(start, &buffer, fua))
            }
            Kind::WriteZeroes { fua, unmap } => self.disk.write_zeroes(start, len, fua, unmap),
            Kind::Discard => self.disk.discard(start, len),
            Kind::Flush => self.disk.flush(),
            Kind::Promote { lowest } => {
                self.disk
                    .promote(start, len, ploop_core::units::Level(lowest))
            }
        };
        prop_assert_eq!(done, Ok(()), "{:?}", op);
        if !matches!(op.kind, Kind::Read | Kind::Flush) {
            self.changed = true;
            let content = !matches!(op.kind, Kind::Promote { .. });
            if let Some(dirty) = self.dirty.as_mut().filter(|_| content) {
                dirty.extend(op.start..op.start + op.len);
            }
        }
        let read = if op.kind == Kind::Read {
            values(&buffer)
        } else {
            Vec::new()
        };
        self.model.complete(id, End::Ok, &read).map_err(fail)?;
        Ok(read)
    }

    fn read_all(&mut self) -> Result<Vec<Value>, TestCaseError> {
        self.operate(Op {
            kind: Kind::Read,
            start: 0,
            len: self.shape.size,
        })
    }

    /// Clean close; then, maybe, a new delta on top; and open again.
    fn close(&mut self, add: bool) -> Judged {
        let before = self.read_all()?;
        self.disk.close().map_err(fail)?;
        self.check_closed()?;
        if add {
            self.dirty = None;
            let file = self.supply.file(&[], table_of(&self.shape));
            let (cluster, size) = (Sectors(self.shape.cluster), Sectors(self.shape.size));
            load::new_image(&file, self.shape.version, cluster, size).map_err(fail)?;
            self.files.push(file);
        }
        self.reopen()?;
        prop_assert_eq!(self.read_all()?, before);
        self.compare()
    }

    /// After a clean close: the mark, and a dirty bitmap that has every change.
    fn check_closed(&mut self) -> Judged {
        let Some(dirty) = &self.dirty else {
            return self.check(self.changed.then_some(InUse::Closed));
        };
        let Some(top) = self.files.last() else {
            return Ok(());
        };
        let bitmaps = bitmap::read(&top.bytes());
        let bitmaps = bitmaps.map_err(fail)?;
        let [bitmap] = bitmaps.as_slice() else {
            return Err(fail(format!("{} bitmaps", bitmaps.len())));
        };
        let missing: Vec<&u64> = dirty.iter().filter(|at| !bitmap.has(**at)).collect();
        prop_assert!(missing.is_empty(), "changed, not dirty: {:?}", missing);
        self.check(Some(InUse::Closed21))
    }

    /// The top's bytes: never an alias, never an entry outside the data.
    fn check(&mut self, in_use: Option<InUse>) -> Judged {
        let Some(top) = self.files.last() else {
            return Ok(());
        };
        let report = self.fsck.check(&top.bytes()).clone();
        prop_assert!(report.problems.is_empty(), "fsck: {:?}", report.problems);
        if let Some(in_use) = in_use {
            prop_assert_eq!(report.in_use(), Some(in_use));
        }
        Ok(())
    }

    /// The model's reader of the bytes sees what the disk reads as: everything is in the index.
    fn compare(&mut self) -> Judged {
        let disk = self.read_all()?;
        prop_assert_eq!(self.contents()?, disk);
        Ok(())
    }

    /// What the model's reader of the bytes sees.
    fn contents(&self) -> Result<Vec<Value>, TestCaseError> {
        let bytes: Vec<Vec<u8>> = self.files.iter().map(PoweredFile::bytes).collect();
        let mut levels = Vec::new();
        for (level, bytes) in bytes.iter().enumerate() {
            let bytes: &dyn ImageBytes = bytes;
            levels.push(if level == 0 && self.shape.raw_base {
                ModelLevel::Raw(bytes)
            } else {
                ModelLevel::Image(Image::open(bytes).map_err(fail)?)
            });
        }
        let read = |sector| {
            let mut found = [0; SECTOR];
            read_sector(&levels, sector, &mut found);
            recognise(&found).unwrap_or(Value(u64::MAX))
        };
        Ok((0..self.shape.size).map(read).collect())
    }
}

fn values(buffer: &[u8]) -> Vec<Value> {
    let known = |sector| recognise(sector).unwrap_or(Value(u64::MAX));
    buffer.as_chunks::<SECTOR>().0.iter().map(known).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../corpus/proptest-random.txt"
        )))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_changes_of_chains_among_operations(
        start in start::drawn(),
        steps in prop::collection::vec(any_step(), 1..40),
    ) {
        let mut run = Run::new(&start)?;
        for step in &steps {
            run.step(step)?;
        }
        run.close(false)?;
    }

    #[test]
    fn arbitrary_operations_on_arbitrary_chains(
        start in start::drawn(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut run = Run::new(&start)?;
        for step in &steps {
            run.step(step)?;
        }
        run.close(false)?;
    }
}
