//! A chain of copies is opened by the blocking driver: read, written, closed, opened and read again.
//!
//! * What is read is what the model's naive reader reads in the files before.
//! * Without a fault every sector is what was written last, and the top is sound and closed. With one, a sector may be what
//!   any write that was tried made of it, and the files can be opened all the same.

use std::cell::RefCell;
use std::rc::Rc;

use model::op::Value;
use ploop_core::delta::LoadedDelta;
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::units::{Clu, Level, Millis, SECTOR_BYTES, Sector, Sectors};
use ploop_core::{
    Actions, CloseError, Device, Failure as CoreFailure, Kept as Slots, Options, VisibleMap, load,
};

use crate::disk::fault::{FaultKind, FaultPlan};
use crate::disk::sector::{SECTOR, fill_pattern, recognise};
use crate::fuzzing::control::judge;
use crate::report::Failure;
use crate::scenario::copies::edit::Edited;
use crate::scenario::copies::files::{Bench, Bytes512, Kept, seen, sim_file};
use crate::scenario::copies::{Check, Deed, Under, wrong};
use crate::tape::{Choice, Kind};

/// More calls than any session makes.
const MOST_CALLS: u32 = 5000;
/// What is drawn if a call that fails has been done.
const ALL_OF_IT: Choice = Choice {
    kind: Kind::Fault,
    n: 4,
    k: 1,
};
/// Numbers of writes that no client uses.
const FIRST_WRITE: u32 = 0xE000_0000;

/// What was loaded, and the files.
type Loaded = (Vec<LoadedDelta>, Vec<Box<dyn DeltaFile>>);

/// Why a chain was not opened.
enum Stopped {
    Refused(String),
    Wrong(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Wrong(failure)
    }
}

/// The slots that a killed device kept.
#[derive(Debug)]
struct Map(Vec<u32>);

impl VisibleMap for Map {
    fn set(&self, _: Clu, _: u32) {}
    fn get(&self, clu: Clu) -> u32 {
        self.0.get(clu.0 as usize).copied().unwrap_or(0)
    }
    fn set_poisoned(&self) {}
    fn is_poisoned(&self) -> bool {
        false
    }
}

pub(super) fn play(check: &Check, edited: &Edited) -> Result<u64, Failure> {
    let (kind, refusals) = match check.under {
        Under::Faults(kind, refusals) => (kind, refusals),
        Under::Applied => (FaultKind::Io, 1),
        under => {
            let session = Session::new(check, edited, FaultPlan::none());
            if let Under::Ends(end) = under {
                session.bench.borrow_mut().ends = Some((edited.level, end));
            }
            let (refused, left) = match session.run() {
                Ok(()) => (None, Vec::new()),
                Err(Stopped::Refused(why)) => (Some(why), Vec::new()),
                Err(Stopped::Wrong(failure)) => return Err(failure),
            };
            let changes = session.bench.borrow().changes;
            if refused.is_some() && changes > 0 {
                return Err(wrong(format!(
                    "refused: {refused:?}, after {changes} calls"
                )));
            }
            check.outcome.holds(refused.as_deref(), &[], &left)?;
            return Ok(u64::from(changes));
        }
    };
    for nth in 1..MOST_CALLS {
        let session = Session::new(check, edited, FaultPlan::at(kind, nth, refusals));
        match session.run() {
            Err(Stopped::Wrong(mut failure)) => {
                let told = format!("{} at I/O {nth}: {}", kind.name(), failure.message);
                failure.message = told;
                return Err(failure);
            }
            Err(Stopped::Refused(why)) if session.bench.borrow().faults.untouched() => {
                return Err(wrong(format!("refused without a fault: {why}")));
            }
            _ => {}
        }
        let untouched = session.bench.borrow().faults.untouched();
        if untouched || kind == FaultKind::Unsupported {
            return Ok(nth.into());
        }
    }
    Err(wrong(format!("no end after {MOST_CALLS} calls")))
}

/// A delta of which all is known to be durable is the same one. Its bitmaps say sector by sector what they say in ranges, and do
/// not go beyond the disk.
fn known(delta: &LoadedDelta) -> Result<(), String> {
    let durable = delta.clone().known_durable();
    let Some(image) = durable.expanded() else {
        return match durable.size() == delta.size() {
            true => Ok(()),
            false => Err("a raw file became another one".to_owned()),
        };
    };
    if !image.settled {
        return Err("known to be durable, and not settled".to_owned());
    }
    for bitmap in &image.bitmaps {
        let size = bitmap.size().0;
        let ranges: Vec<_> = bitmap.ranges().collect();
        let covered = |at: u64| {
            let mut ranges = ranges.iter();
            ranges.any(|(start, len)| (start.0..start.0 + len.0).contains(&at))
        };
        if let Some(at) = (0..=size).find(|&at| bitmap.is_dirty(Sector(at)) != covered(at)) {
            return Err(format!("sector {at} of a bitmap is dirty, and is not"));
        }
        let mut other = bitmap.clone();
        other.mark(Sector(size), Sectors(1));
        if size > 0 && other.grow(Sectors(size - 1)) || other != *bitmap {
            return Err("a bitmap went beyond the disk, or became smaller".to_owned());
        }
    }
    Ok(())
}

struct Session<'a> {
    edited: &'a Edited,
    write: bool,
    /// Something is to fail.
    fails: bool,
    /// It is only that files cannot zero or punch.
    unable: bool,
    bench: Rc<RefCell<Bench>>,
    /// What each sector may be.
    allowed: RefCell<Vec<Vec<Bytes512>>>,
}

impl<'a> Session<'a> {
    fn new(check: &Check, edited: &'a Edited, faults: FaultPlan) -> Session<'a> {
        let drawn = match check.under {
            Under::Applied => vec![ALL_OF_IT],
            _ => Vec::new(),
        };
        Session {
            edited,
            write: check.deed == Deed::Open,
            fails: check.under != Under::Nothing,
            unable: matches!(check.under, Under::Faults(FaultKind::Unsupported, _)),
            bench: Bench::new(edited, faults, drawn),
            allowed: RefCell::default(),
        }
    }

    fn is_faulty(&self) -> bool {
        self.bench.borrow().is_faulty()
    }

    fn load(&self) -> Result<Loaded, String> {
        let (mut chain, mut files) = (Vec::new(), Vec::new());
        for link in &self.edited.chain {
            let file = Kept::new(&self.bench, link.file);
            let name = format!("level-{}", link.file);
            let loaded = match link.raw {
                true => load::load_raw(&file, &name),
                false => load::load(&file, &name),
            };
            let known = load::sniff(&file);
            let loaded = loaded.map_err(|error| error.to_string())?;
            if !link.raw && known.is_ok_and(|known| !known) {
                return Err(format!("{name}: loaded, and not known for an image"));
            }
            chain.push(loaded);
            files.push(Box::new(file) as Box<dyn DeltaFile>);
        }
        Ok((chain, files))
    }

    /// The slots of a killed device, if any were kept, are looked at; the disk that goes on is another one.
    fn recover(&self, chain: &[LoadedDelta], options: Options) -> Result<(), String> {
        let top = chain.last().and_then(LoadedDelta::expanded);
        let (Some(image), false) = (top, self.edited.kept.is_empty()) else {
            return Ok(());
        };
        let mut slots = image.bat.clone();
        for &(slot, entry) in &self.edited.kept {
            if let Some(there) = slots.get_mut(slot as usize) {
                *there = entry;
            }
        }
        let kept = Slots::Recovered(Box::new(Map(slots.clone())));
        let device = Device::open_kept(chain.to_vec(), options, kept);
        let device = device.map_err(|error| error.to_string())?;
        device.verify();
        Ok(())
    }

    fn open(&self, write: bool) -> Result<Disk, String> {
        let (chain, files) = self.load()?;
        let options = Options {
            write,
            ..self.edited.options
        };
        let told = |error: ploop_core::OpenError| error.to_string();
        Device::check(&chain, &options).map_err(told)?;
        chain.iter().try_for_each(known)?;
        self.recover(&chain, options)?;
        let settled = chain.last().and_then(LoadedDelta::expanded);
        let settled = settled.is_none_or(|image| image.settled);
        if write && Device::open(chain.clone(), options).is_ok() != settled {
            return Err(format!("opened, and not settled; or not: {settled}"));
        }
        if Disk::open(chain.clone(), Vec::new(), options).is_ok() {
            return Err("opened without files".to_owned());
        }
        Disk::open(chain, files, options).map_err(told)
    }

    /// Reads all, and holds it against what it may be.
    fn read(&self, disk: &mut Disk) -> Result<(), Failure> {
        let allowed = self.allowed.borrow();
        let mut bytes = vec![0; allowed.len() * SECTOR_BYTES as usize];
        if let Err(error) = disk.read(Sector(0), &mut bytes) {
            return self.excused("a read", error);
        }
        let (sectors, _) = bytes.as_chunks::<{ SECTOR_BYTES as usize }>();
        for (sector, (found, allowed)) in sectors.iter().zip(allowed.iter()).enumerate() {
            if !allowed.contains(found) {
                let told = |bytes: &Bytes512| match recognise(bytes) {
                    Some(value) => format!("{value:?}"),
                    None => format!("{:?}...", &bytes[..8]),
                };
                let (found, allowed) = (told(found), allowed.iter().map(told));
                let allowed: Vec<String> = allowed.collect();
                return Err(wrong(format!(
                    "sector {sector} reads as {found}, not {allowed:?}"
                )));
            }
        }
        Ok(())
    }

    fn excused(&self, what: &str, error: CoreFailure) -> Result<(), Failure> {
        match self.is_faulty() {
            true => Ok(()),
            false => Err(wrong(format!("{what} failed without a fault: {error:?}"))),
        }
    }

    /// Sectors become what this write makes of them, or zeros if there is none; or, if that fails, they may have become it.
    fn change(
        &self,
        disk: &mut Disk,
        (start, len): (u64, u64),
        write: Option<u32>,
        deed: impl FnOnce(&mut Disk, &[u8]) -> Result<(), CoreFailure>,
    ) -> Result<(), Failure> {
        let mut bytes = vec![0; (len * SECTOR_BYTES) as usize];
        if let Some(write) = write {
            for (sector, chunk) in (start..).zip(bytes.chunks_mut(SECTOR)) {
                fill_pattern(Value::of(write, sector), 0, chunk);
            }
        }
        let done = deed(disk, &bytes);
        let (sectors, _) = bytes.as_chunks::<SECTOR>();
        let mut allowed = self.allowed.borrow_mut();
        for (allowed, new) in allowed[start as usize..].iter_mut().zip(sectors) {
            // What is not durable yet goes with a sync that fails later on.
            if !self.fails {
                allowed.clear();
            }
            allowed.push(*new);
        }
        drop(allowed);
        done.or_else(|error| self.excused("a change", error))
    }

    /// What is no request of this disk is refused, whatever fails; nothing at all is done at once.
    fn limits(&self, disk: &mut Disk, size: u64) -> Result<(), Failure> {
        let beyond = (Sector(size), Sectors(1));
        let mut sector = [0; SECTOR];
        let refused = [
            disk.read(beyond.0, &mut sector),
            disk.write(beyond.0, &sector, false),
            disk.write(Sector(0), &sector[..100], false),
            disk.write(Sector(u64::MAX), &sector, true),
            disk.discard(beyond.0, beyond.1),
            disk.write_zeroes(Sector(u64::MAX), beyond.1, true, false),
        ];
        if let Some(at) = refused.iter().position(Result::is_ok) {
            return Err(wrong(format!("request {at} beyond the disk was done")));
        }
        let nothing = [
            disk.read(Sector(size), &mut []),
            disk.discard(Sector(size), Sectors(0)),
        ];
        if self.write {
            let nothing = nothing.into_iter().chain([
                disk.write(Sector(size), &[], false),
                disk.write(Sector(0), &[], true),
            ]);
            let mut failed = nothing.filter_map(Result::err);
            return failed.try_for_each(|error| self.excused("a request of nothing", error));
        }
        let done = disk.flush();
        done.or_else(|error| self.excused("a flush of nothing", error))?;
        match disk.write(Sector(0), &sector, false) {
            Err(CoreFailure::ReadOnly) => Ok(()),
            other => Err(wrong(format!("written, opened for reading: {other:?}"))),
        }
    }

    fn write(&self, disk: &mut Disk) -> Result<(), Failure> {
        let geometry = disk.device().geometry();
        let (size, cluster) = (geometry.size.0, geometry.cluster.0);
        let range = |start: u64, len: u64| (start, len.min(size - start));
        let (first, last) = (range(0, 1), range(size - 1, 1));
        let (zeros, again) = (range(size / 3, cluster + 1), range(size / 3, cluster));
        self.change(disk, first, Some(FIRST_WRITE), |disk, bytes| {
            disk.write(Sector(first.0), bytes, true)
        })?;
        self.change(disk, last, Some(FIRST_WRITE + 1), |disk, bytes| {
            disk.write(Sector(last.0), bytes, false)
        })?;
        self.change(disk, zeros, None, |disk, _| {
            disk.write_zeroes(Sector(zeros.0), Sectors(zeros.1), false, true)
        })?;
        self.change(disk, again, Some(FIRST_WRITE + 2), |disk, bytes| {
            disk.write(Sector(again.0), bytes, false)
        })?;
        if self.edited.chain.len() > 1 {
            let done = disk.promote(Sector(0), Sectors(size), Level(0));
            done.or_else(|error| self.excused("a promotion", error))?;
        }
        disk.tick(Millis(1000));
        let done = disk.flush();
        done.or_else(|error| self.excused("a flush", error))?;
        // What is discarded may read as before, where there is something below, or of a part of a cluster.
        let half = range(size / 2, cluster);
        for allowed in &mut self.allowed.borrow_mut()[half.0 as usize..(half.0 + half.1) as usize] {
            allowed.push([0; SECTOR]);
        }
        let done = disk.discard(Sector(half.0), Sectors(half.1));
        done.or_else(|error| self.excused("a discard", error))
    }

    /// Once more, if not everything was durable: space may have returned.
    fn close(&self, disk: &mut Disk) -> Result<(), Failure> {
        let closed = match disk.close() {
            Err(CloseError::NotDurable { .. }) => disk.close(),
            closed => closed,
        };
        let may_come_true = matches!(closed, Err(CloseError::NotDurable { .. }));
        if !may_come_true {
            // Nobody opens it again so.
            let mut out = Actions::new();
            disk.device().resume(&mut out);
            if !out.is_empty() {
                return Err(wrong("closed, resumed, and goes on".to_owned()));
            }
        }
        if !may_come_true && disk.close() != closed || disk.flush().is_ok() {
            return Err(wrong(format!("closed once more, it is not {closed:?}")));
        }
        match closed {
            // A file that gives no space back is closed all the same.
            Err(error) if self.unable || !self.is_faulty() => {
                Err(wrong(format!("the close: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn run(&self) -> Result<(), Stopped> {
        let opened = self.open(self.write);
        let mut disk = opened.map_err(Stopped::Refused)?;
        let size = disk.device().geometry().size.0;
        let files: Vec<_> = self.edited.files.iter().map(|b| sim_file(b)).collect();
        let before = seen(&files, &self.edited.chain, size)?;
        *self.allowed.borrow_mut() = before.into_iter().map(|bytes| vec![bytes]).collect();
        self.read(&mut disk)?;
        self.limits(&mut disk, size)?;
        if self.write {
            self.write(&mut disk)?;
            self.read(&mut disk)?;
        }
        disk.device().verify();
        if disk.device().has_deadline() && !self.write {
            return Err(wrong("opened for reading, and waits for a date".to_owned()).into());
        }
        let dump = disk.device().dump().to_string();
        if dump.is_empty() {
            return Err(wrong("an open device has nothing to tell".to_owned()).into());
        }
        self.close(&mut disk)?;
        drop(disk);
        let faulty = self.is_faulty();
        // Whoever comes next has no faults.
        let faults = self.bench.borrow().faults.clone();
        self.bench.borrow_mut().mend();
        let again = self.again(faulty);
        self.bench.borrow_mut().faults = faults;
        Ok(again?)
    }

    /// It is opened anew, and read.
    fn again(&self, faulty: bool) -> Result<(), Failure> {
        if !self.write {
            return match self.bench.borrow().changes {
                0 => Ok(()),
                calls => Err(wrong(format!("opened for reading, and {calls} calls"))),
            };
        }
        let again = self.open(false);
        let mut disk = again.map_err(|why| wrong(format!("not opened again: {why}")))?;
        self.read(&mut disk)?;
        if faulty {
            return Ok(());
        }
        let top = self.edited.chain.last().map_or(0, |link| link.file);
        let bench = self.bench.borrow();
        let view = bench.files[top].view();
        judge::sound_but(view, "the top", true)?;
        judge::closed(view, "the top")
    }
}
