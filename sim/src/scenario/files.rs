//! The operations of a scenario, one after the other, on files, through the core's blocking driver; judged by the model.
//! What a line says about completions, faults and power cuts is left out, and of the changes of a chain all but growth: they change
//! no content, but for a rollback, which nobody misses then. Lines about copies and about tracking are played as they stand, but
//! which cluster is copied next is not held against them: nothing is in flight here. Copies are left out as soon as a line has made
//! another chain of it. All that is left out is counted ([`FilesReport::left_out`]).
//!
//! After the last operation: the whole disk is read, the image is closed, checked by the model's fsck, opened anew and
//! read again.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use model::disk::Model;
use model::fsck::fsck;
use model::image::{ImageBytes, InUse};
use model::op::{End, Kind, Op, Value};
use ploop_core::drive::file::read_padded;
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::units::{Level, SECTOR_BYTES, Sector, Sectors};
use ploop_core::{Failure as CoreFailure, control, load};

use crate::check::failure;
use crate::disk::SimFile;
use crate::disk::sector::{fill_pattern, recognise};
use crate::report::Failure;
use crate::scenario::copies::{Closed, OnCopies};
use crate::scenario::{LeftOut, Scenario, Step, Track};
use crate::world::chain::{self, Content};
use crate::world::switch::Switch;

/// Files to run on, one a level, bottom to top.
pub trait Files {
    /// Makes the file of a level with this content.
    fn create(&mut self, level: usize, bytes: &[u8]) -> io::Result<()>;
    /// Opens the file of a level.
    fn open(&self, level: usize) -> io::Result<Box<dyn DeltaFile>>;
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(Vec<MemoryFile>);

/// A file in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryFile(Rc<RefCell<Vec<u8>>>);

impl MemoryFile {
    /// A file of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> MemoryFile {
        MemoryFile(Rc::new(RefCell::new(bytes)))
    }

    /// Shows the content to `f`.
    pub fn with<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(&self.0.borrow())
    }
}

impl Files for MemoryFiles {
    fn create(&mut self, level: usize, bytes: &[u8]) -> io::Result<()> {
        self.0
            .resize_with(self.0.len().max(level + 1), MemoryFile::default);
        self.0[level] = MemoryFile::new(bytes.to_vec());
        Ok(())
    }

    fn open(&self, level: usize) -> io::Result<Box<dyn DeltaFile>> {
        match self.0.get(level) {
            Some(file) => Ok(Box::new(file.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Bytes of a file from `at` on, in numbers that fit.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl DeltaFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.borrow();
        let rest = bytes.get(index(at)..).unwrap_or(&[]);
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let mut bytes = self.0.borrow_mut();
        let end = index(at) + buf.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[index(at)..end].copy_from_slice(buf);
        Ok(buf.len())
    }

    fn zero_at(&self, at: u64, len: u64, _punch: bool) -> io::Result<()> {
        let mut bytes = self.0.borrow_mut();
        let end = index(at + len).min(bytes.len());
        if let Some(range) = bytes.get_mut(index(at)..end) {
            range.fill(0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.borrow_mut().resize(index(len), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What a run on files has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesReport {
    /// Operations.
    pub ops: u64,
    /// Sectors read and compared with the model.
    pub sectors_compared: u64,
    /// Lines that mean nothing here, or cannot be done.
    pub left_out: LeftOut,
    /// Hash of everything that was read.
    pub trace: u64,
}

/// Runs the operations of a scenario on files.
///
/// # Errors
/// The model does not allow an answer, an operation fails, or the image is not sound in the end.
pub fn run_on_files(scenario: &Scenario, files: &mut dyn Files) -> Result<FilesReport, Failure> {
    let mut run = FilesRun::new(scenario, files)?;
    for line in &scenario.steps {
        match line.step {
            Step::Submit(_, op) => run.operate(op)?,
            Step::Tick(passed) => {
                run.now.0 += passed.0;
                let now = run.now;
                run.disk()?.tick(now);
            }
            Step::Close(cut) => {
                run.close()?;
                if cut.is_some() {
                    run.leave_out(&line.step);
                }
            }
            Step::Switch(Switch::Grow(more), _) => run.grow(more)?,
            Step::Track(track @ (Track::Refused | Track::Marked(_))) => {
                run.track(track)?;
                run.leave_out(&line.step);
            }
            Step::Track(track) => run.track(track)?,
            Step::Switch(
                Switch::Snapshot | Switch::Forward | Switch::Backward | Switch::Rollback,
                _,
            ) => {
                run.same_chain = false;
                run.leave_out(&line.step);
            }
            Step::Copies(ref copies) if run.same_chain => run.on_copies(copies)?,
            _ => run.leave_out(&line.step),
        }
    }
    run.read_all()?;
    run.close()?;
    run.read_all()?;
    run.report.trace = run.trace.value();
    Ok(run.report)
}

struct FilesRun<'a> {
    scenario: &'a Scenario,
    files: &'a mut dyn Files,
    disk: Option<Disk>,
    model: Model,
    /// Sectors of the disk now.
    size: u64,
    writes: u32,
    changed: bool,
    now: ploop_core::units::Millis,
    /// The files are those that the scenario has now.
    same_chain: bool,
    /// A live copy that is being made.
    copy: Option<Vec<u8>>,
    report: FilesReport,
    trace: crate::trace::TraceHash,
}

fn io_failed(error: io::Error) -> Failure {
    failure("files", error.to_string())
}

impl<'a> FilesRun<'a> {
    fn new(scenario: &'a Scenario, files: &'a mut dyn Files) -> Result<FilesRun<'a>, Failure> {
        let (mut lowers, mut top) = (Vec::new(), SimFile::new());
        let mut content = Content::default();
        chain::build(
            &scenario.shape,
            &scenario.lowers,
            &scenario.top,
            &mut lowers,
            &mut top,
            &mut content,
        );
        for (level, file) in lowers.iter().chain([&top]).enumerate() {
            let mut bytes = vec![0; index(file.len_bytes())];
            file.view().read_bytes(0, &mut bytes);
            files.create(level, &bytes).map_err(io_failed)?;
        }
        let mut model = Model::new(0);
        model.reset(&content.all);
        Ok(FilesRun {
            scenario,
            files,
            disk: None,
            model,
            size: scenario.shape.size,
            writes: 0,
            changed: false,
            now: ploop_core::units::Millis(0),
            same_chain: true,
            copy: None,
            report: FilesReport::default(),
            trace: crate::trace::TraceHash::new(),
        })
    }

    fn leave_out(&mut self, step: &Step) {
        if let Some(what) = step.missed() {
            self.report.left_out.note(what);
        }
    }

    fn disk(&mut self) -> Result<&mut Disk, Failure> {
        let disk = match self.disk.take() {
            Some(disk) => disk,
            None => self.open()?,
        };
        Ok(self.disk.insert(disk))
    }

    fn open(&self) -> Result<Disk, Failure> {
        let shape = &self.scenario.shape;
        let refused = |error: String| failure("open", error);
        let mut chain = Vec::new();
        let mut files = Vec::new();
        for level in 0..usize::from(shape.levels) {
            let file = self.files.open(level).map_err(io_failed)?;
            let loaded = if level == 0 && shape.raw_base {
                load::load_raw(&*file, "base")
            } else {
                load::load(&*file, "image")
            };
            chain.push(loaded.map_err(|error| refused(error.to_string()))?);
            files.push(file);
        }
        Disk::open(chain, files, shape.options).map_err(|error| refused(error.to_string()))
    }

    fn operate(&mut self, op: Op) -> Result<(), Failure> {
        let mut buffer = vec![0; index(op.len * SECTOR_BYTES)];
        let sectors = |buffer: &mut [u8]| -> Vec<Value> {
            let (chunks, _) = buffer.as_chunks::<{ SECTOR_BYTES as usize }>();
            let known = |chunk| recognise(chunk).unwrap_or(Value(u64::MAX));
            chunks.iter().map(known).collect()
        };
        let mut write = 0;
        if matches!(op.kind, Kind::Write { .. }) {
            self.writes += 1;
            write = self.writes;
            let numbers = op.start..op.start + op.len;
            for (sector, chunk) in numbers.zip(buffer.chunks_mut(SECTOR_BYTES as usize)) {
                fill_pattern(Value::of(write, sector), 0, chunk);
            }
        }
        let id = self.model.submit(op, write);
        let (start, len) = (Sector(op.start), Sectors(op.len));
        let disk = self.disk()?;
        let result = match op.kind {
            Kind::Read => disk.read(start, &mut buffer),
            Kind::Write { preflush, fua } => {
                let flushed = if preflush { disk.flush() } else { Ok(()) };
                flushed.and_then(|()| disk.write(start, &buffer, fua))
            }
            Kind::WriteZeroes { fua, unmap } => disk.write_zeroes(start, len, fua, unmap),
            Kind::Discard => disk.discard(start, len),
            Kind::Flush => disk.flush(),
            Kind::Promote { lowest } => disk.promote(start, len, Level(lowest)),
        };
        disk.device().verify();
        self.changed |= !matches!(op.kind, Kind::Read | Kind::Flush);
        self.report.ops += 1;
        let end = match result {
            Ok(()) => End::Ok,
            Err(CoreFailure::NoSpace) => End::NoSpace,
            Err(_) => End::Io,
        };
        let read = if op.kind == Kind::Read {
            sectors(&mut buffer)
        } else {
            Vec::new()
        };
        self.report.sectors_compared += read.len() as u64;
        read.iter().for_each(|value| self.trace.push(value.0));
        let judged = self.model.complete(id, end, &read);
        judged.map_err(|violation| failure("linear", violation.to_string()))?;
        result.map_err(|error| failure("files", format!("{op:?} failed: {error:?}")))
    }

    /// The disk becomes larger: closed, grown, opened by whatever comes next.
    fn grow(&mut self, more: u64) -> Result<(), Failure> {
        self.close()?;
        let top = usize::from(self.scenario.shape.levels) - 1;
        let file = self.files.open(top).map_err(io_failed)?;
        let grown = control::files::grow(&*file, "image", Sectors(self.size + more));
        grown.map_err(|error| failure("control", error.to_string()))?;
        self.model.grow(more);
        self.size += more;
        Ok(())
    }

    /// A live copy. Which cluster is next depends on what has ended, so that is not held against the line.
    fn track(&mut self, track: Track) -> Result<(), Failure> {
        let (size, cluster) = (self.size, self.scenario.shape.cluster);
        let mut copy = self.copy.take();
        let disk = self.disk()?;
        let next = |disk: &Disk| disk.device().next_tracked().ok().flatten();
        let read = |disk: &mut Disk, start: u64, into: &mut [u8]| {
            let read = disk.read(Sector(start), into);
            read.map_err(|error| failure("files", format!("a copy: {error:?}")))
        };
        let some = |disk: &mut Disk, copy: &mut [u8], clu: u64| {
            let len = cluster.min(size - clu * cluster) * SECTOR_BYTES;
            let at = index(clu * cluster * SECTOR_BYTES);
            read(disk, clu * cluster, &mut copy[at..at + index(len)])
        };
        match track {
            Track::Start => {
                disk.device().start_tracking();
                copy = Some(vec![0; index(size * SECTOR_BYTES)]);
            }
            Track::Next(_) => {
                if let (Some(clu), Some(copy)) = (next(disk), &mut copy) {
                    some(disk, copy, clu.0.into())?;
                }
            }
            Track::Same => {
                let mut copy = copy.take().unwrap_or_default();
                while let Some(clu) = next(disk) {
                    some(disk, &mut copy, clu.0.into())?;
                }
                let mut seen = vec![0; copy.len()];
                read(disk, 0, &mut seen)?;
                disk.device().stop_tracking();
                if copy != seen {
                    return Err(failure("tracking", "the copy is not the disk".to_owned()));
                }
            }
            Track::Clear => {
                disk.device().clear_tracking();
                copy = None;
            }
            Track::Stop => {
                disk.device().stop_tracking();
                copy = None;
            }
            Track::Refused | Track::Marked(_) => {}
        }
        self.copy = copy;
        Ok(())
    }

    /// Closed; something is done to copies; opened by whatever comes next.
    fn on_copies(&mut self, copies: &OnCopies) -> Result<(), Failure> {
        self.close()?;
        let shape = &self.scenario.shape;
        let mut files = Vec::new();
        for level in 0..usize::from(shape.levels) {
            let file = self.files.open(level).map_err(io_failed)?;
            let mut bytes = vec![0; index(file.len().map_err(io_failed)?)];
            read_padded(&*file, 0, &mut bytes).map_err(io_failed)?;
            files.push(bytes);
        }
        let sum = copies.play(&Closed {
            files,
            raw: shape.raw_base,
            options: shape.options,
        })?;
        self.trace.push(sum);
        Ok(())
    }

    fn read_all(&mut self) -> Result<(), Failure> {
        self.operate(Op {
            kind: Kind::Read,
            start: 0,
            len: self.size,
        })
    }

    /// Closes the image; it must be sound, and closed if it was changed.
    fn close(&mut self) -> Result<(), Failure> {
        let closed = self.disk()?.close();
        closed.map_err(|error| failure("files", format!("the close failed: {error}")))?;
        (self.disk, self.copy) = (None, None);
        let top = usize::from(self.scenario.shape.levels) - 1;
        let file = self.files.open(top).map_err(io_failed)?;
        let mut bytes = vec![0; index(file.len().map_err(io_failed)?)];
        read_padded(&*file, 0, &mut bytes).map_err(io_failed)?;
        let report = fsck(&bytes as &dyn ImageBytes);
        if let Some(problem) = report.problems.first() {
            return Err(failure("image", format!("fsck: {problem}")));
        }
        let closed = matches!(report.in_use(), Some(InUse::Closed | InUse::Closed21));
        if self.changed && !closed {
            return Err(failure(
                "image",
                format!("closed, but marked {:?} (I31)", report.in_use()),
            ));
        }
        Ok(())
    }
}
