//! Copies as files: simulated ones, and what the model's naive reader sees in them.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use model::image::{Header, Image, Level, Place, find_sector};
use model::op::Value;
use ploop_core::drive::DeltaFile;

use crate::disk::fault::FaultPlan;
use crate::disk::sector::SECTOR;
use crate::disk::{BlockingFile, Geometry, Power, SimFile};
use crate::fuzzing::control::judge::Bytes;
use crate::report::Failure;
use crate::scenario::copies::edit::{Edited, Link};
use crate::scenario::copies::odd::Turns;
use crate::scenario::copies::wrong;
use crate::tape::{Choice, Tape};

/// Sectors that a copy may become longer.
const SPACE: u64 = 1 << 14;
/// So much of a file may tear finer than in sectors, if it is no data.
const META: u64 = 4096;
/// A header is written whole.
const GRANULE: u32 = 64;
/// A sector.
const WHOLE: u32 = 512;

/// A file of these bytes.
pub(super) fn sim_file(bytes: &[u8]) -> SimFile {
    torn_by(bytes, GRANULE)
}

fn torn_by(bytes: &[u8], granule: u32) -> SimFile {
    let mut file = SimFile::new();
    let data = Header::read(bytes).map_or(0, |header| header.data_start() * SECTOR as u64);
    let geometry = Geometry {
        meta_len: data.min(META),
        granule,
        limit_sectors: bytes.len() as u64 / 512 + SPACE,
    };
    file.reset_bytes(geometry, bytes);
    file
}

/// What a file holds.
pub(super) fn bytes_of(file: &SimFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len_bytes() as usize];
    file.view().read_bytes(0, &mut bytes);
    bytes
}

/// A sector as bytes.
pub(super) type Bytes512 = [u8; SECTOR];

/// Where the naive reader finds the sectors of a chain that is a disk of so many: a file and its sector.
fn places(
    files: &[SimFile],
    chain: &[Link],
    size: u64,
) -> Result<Vec<Option<(usize, u64)>>, Failure> {
    let bytes: Vec<Bytes<'_>> = chain
        .iter()
        .map(|link| Bytes(files[link.file].view()))
        .collect();
    let mut levels = Vec::new();
    for (link, file) in chain.iter().zip(&bytes) {
        levels.push(match link.raw {
            true => Level::Raw(file),
            false => {
                let image = Image::open(file);
                Level::Image(image.map_err(|why| wrong(format!("the model reads {why}")))?)
            }
        });
    }
    let place = |sector| match find_sector(&levels, sector) {
        Place::Hole => None,
        Place::At { level, sector } => Some((chain[level].file, sector)),
    };
    Ok((0..size).map(place).collect())
}

/// What the naive reader reads there.
pub(super) fn seen(files: &[SimFile], chain: &[Link], size: u64) -> Result<Vec<Bytes512>, Failure> {
    let read = |place: Option<(usize, u64)>| {
        let mut bytes = [0; SECTOR];
        if let Some((file, sector)) = place {
            let view = files[file].view();
            view.read_bytes(sector * SECTOR as u64, &mut bytes);
        }
        bytes
    };
    Ok(places(files, chain, size)?.into_iter().map(read).collect())
}

/// The same as values.
pub(super) fn values(files: &[SimFile], chain: &[Link], size: u64) -> Result<Vec<Value>, Failure> {
    let value = |place: Option<(usize, u64)>| match place {
        None => Value::ZERO,
        Some((file, sector)) => files[file].view().read_value(sector),
    };
    Ok(places(files, chain, size)?.into_iter().map(value).collect())
}

/// Sectors of the disk that an image says it is, or that a raw file is.
pub(super) fn size_of(file: &SimFile, raw: bool) -> u64 {
    match (raw, Image::open(&Bytes(file.view()))) {
        (false, Ok(image)) => image.header().size_sectors,
        _ => file.len_sectors(),
    }
}

/// What some files share: they fail as a plan says.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) files: Vec<SimFile>,
    pub(super) faults: FaultPlan,
    pub(super) changes: u32,
    /// Reads of this file find its end at this byte.
    pub(super) ends: Option<(usize, u64)>,
    odd: Turns,
    tape: Tape,
}

/// A file that may be kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    bench: Rc<RefCell<Bench>>,
    file: usize,
}

impl Bench {
    /// `drawn`: how the first fault goes.
    pub(super) fn new(
        edited: &Edited,
        faults: FaultPlan,
        drawn: Vec<Choice>,
    ) -> Rc<RefCell<Bench>> {
        let files = &edited.files;
        Rc::new(RefCell::new(Bench {
            // A write of a sector is never short.
            files: files.iter().map(|bytes| torn_by(bytes, WHOLE)).collect(),
            faults,
            changes: 0,
            ends: None,
            odd: edited.odd.turns(),
            tape: Tape::replay(drawn),
        }))
    }

    /// Something goes wrong, or has.
    pub(super) fn is_faulty(&self) -> bool {
        self.ends.is_some() || !self.faults.untouched()
    }

    /// From now on nothing goes wrong.
    pub(super) fn mend(&mut self) {
        (self.ends, self.faults) = (None, FaultPlan::none());
    }
}

impl Kept {
    pub(super) fn new(bench: &Rc<RefCell<Bench>>, file: usize) -> Kept {
        Kept {
            bench: Rc::clone(bench),
            file,
        }
    }

    fn call<T>(&self, call: impl FnOnce(&BlockingFile<'_, '_>) -> io::Result<T>) -> io::Result<T> {
        let bench = &mut *self.bench.borrow_mut();
        let power = Power::new(&mut bench.tape, &mut bench.faults, None);
        let done = call(&BlockingFile::new(&mut bench.files[self.file], &power));
        bench.changes += power.calls();
        done
    }
}

impl DeltaFile for Kept {
    fn len(&self) -> io::Result<u64> {
        self.call(|file| file.len())
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let ends = self.bench.borrow().ends;
        let end = ends.filter(|(file, _)| *file == self.file);
        let there = end.map_or(u64::MAX, |(_, end)| end.saturating_sub(at));
        let len = buf.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        match len {
            0 => Ok(0),
            _ => self.call(|file| file.read_at(at, &mut buf[..len])),
        }
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let len = self.bench.borrow().odd.next(buf.len());
        self.call(|file| file.write_at(at, &buf[..len]))
    }
    fn takes_space(&self, _at: u64, _len: u64) -> io::Result<bool> {
        Ok(self.bench.borrow().odd.is_dense())
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.call(|file| file.zero_at(at, len, punch))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(|file| file.set_len(len))
    }
    fn sync(&self) -> io::Result<()> {
        self.call(|file| file.sync())
    }
}
