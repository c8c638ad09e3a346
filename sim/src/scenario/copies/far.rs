//! Files that are longer than any disk: most of them is a hole, and only what is written takes memory. They stand instead of the
//! copies, and have nothing to do with the disk of the scenario.
//!
//! What an image maps is zeros, but for the first sector of each cluster that stands at the end of a list of slots: that holds a
//! number of its own, and so do the sectors of a raw file that are named.

use ploop_core::control::files::{Merge, Source, grow, repair};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::format::extension::{DIRTY_BITMAP, MAGIC};
use ploop_core::format::{InUse, Layout, Version};
use ploop_core::units::{SECTOR_BYTES, Sector, Sectors};
use ploop_core::{Options, load};

use crate::fuzzing::far::Sparse;
use crate::report::Failure;
use crate::scenario::copies::{Outcome, wrong};

/// Type, heads, cylinders.
const FIRST_FIELDS: [u32; 3] = [2, 16, 0];
/// Where the BAT begins.
const BAT: u64 = 64;
/// Bytes of an extension that the checksum does not cover.
const HEAD: usize = 24;
const SECTOR: usize = SECTOR_BYTES as usize;

/// Clusters of a disk and where they are: from a guest cluster to another one, in clusters of the data area from this one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The first guest cluster.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// The cluster of the first one; 0 is the first of the data area.
    pub host: u32,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FarImage {
    /// Of the format.
    pub version: Version,
    /// Sectors of a cluster.
    pub cluster: u32,
    /// Slots.
    pub entries: u32,
    /// Sectors of the disk.
    pub size: u64,
    /// Where data starts; without: behind the BAT.
    pub start: Option<u32>,
    /// Sectors of the file.
    pub file: Option<u64>,
    /// What is mapped.
    pub slots: Vec<Slots>,
    /// Its extension is in this cluster of the data area.
    pub extension: Option<u32>,
    /// Dirty bitmaps in it, a bit a sector, all clean. None: it is all zeros, which is no extension.
    pub bitmaps: u32,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FarFile {
    /// A raw one: its sectors, and those that are not zeros.
    Raw(u64, Vec<u64>),
    /// An image.
    Image(FarImage),
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FarDeed {
    /// The top is looked at.
    Look,
    /// All are opened for reading, and read.
    Read,
    /// All are opened, and these sectors are written, one after the other.
    Write(Vec<u64>),
    /// The top is repaired.
    Repair,
    /// It becomes so many sectors larger.
    Grow(u64),
    /// The two become one, which is the upper.
    Merge,
}

/// Files, and what is done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Far {
    /// Bottom to top.
    pub files: Vec<FarFile>,
    /// Each with files of its own.
    pub checks: Vec<(FarDeed, Outcome)>,
}

/// What is told.
#[derive(Debug, Default)]
struct Told {
    said: Vec<String>,
    left: Vec<String>,
}

type Bytes = [u8; SECTOR];

/// What stands in this sector of a file.
fn pattern(sector: u64) -> Bytes {
    let mut bytes = [0; SECTOR];
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = (sector + 1).to_le_bytes();
    }
    bytes
}

fn why(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn put(file: &Sparse, at: u64, bytes: &[u8]) -> Result<(), String> {
    file.write_at(at, bytes).map(drop).map_err(why)
}

impl Slots {
    fn host_of(&self, clu: u64) -> Option<u32> {
        let within = clu.checked_sub(u64::from(self.first))?;
        let inside = clu <= u64::from(self.last);
        inside.then(|| self.host + within as u32)
    }
}

impl FarImage {
    fn start(&self) -> u64 {
        let cluster = Sectors(u64::from(self.cluster));
        let lowest = Layout::lowest_data_start(self.version, cluster, self.entries);
        self.start.map_or(lowest.0, u64::from)
    }

    /// Sector of the file where a cluster of the data area begins.
    fn sector(&self, host: u32) -> u64 {
        self.start() + u64::from(host) * u64::from(self.cluster)
    }

    fn entry(&self, host: u32) -> u32 {
        let sector = self.sector(host);
        match self.version {
            Version::V1 => sector as u32,
            Version::V2 => (sector / u64::from(self.cluster)) as u32,
        }
    }

    /// The clusters of the data area that hold a number.
    fn marked(&self) -> impl Iterator<Item = (u32, u32)> {
        let ends = |slots: &Slots| {
            let last = slots.host + (slots.last - slots.first);
            [(slots.first, slots.host), (slots.last, last)]
        };
        self.slots.iter().flat_map(ends)
    }

    /// What a sector of the disk reads as, if it is mapped.
    fn content(&self, sector: u64) -> Option<Bytes> {
        let (clu, within) = (
            sector / u64::from(self.cluster),
            sector % u64::from(self.cluster),
        );
        let host = self.slots.iter().find_map(|slots| slots.host_of(clu))?;
        let marked = within == 0 && self.marked().any(|(_, other)| other == host);
        Some(match marked {
            true => pattern(self.sector(host)),
            false => [0; SECTOR],
        })
    }

    fn build(&self) -> Result<Sparse, String> {
        let file = Sparse::default();
        let mut raw = match self.version {
            Version::V1 => b"WithoutFreeSpace".to_vec(),
            Version::V2 => b"WithouFreSpacExt".to_vec(),
        };
        for field in FIRST_FIELDS.into_iter().chain([self.cluster, self.entries]) {
            raw.extend(field.to_le_bytes());
        }
        raw.extend(self.size.to_le_bytes());
        let mark = match self.extension {
            Some(_) => InUse::ClosedV21,
            None => InUse::Closed0,
        };
        for field in [mark.raw(), self.start() as u32, 0] {
            raw.extend(field.to_le_bytes());
        }
        let extension = self.extension.map(|host| self.sector(host));
        raw.extend(extension.unwrap_or(0).to_le_bytes());
        put(&file, 0, &raw)?;
        for slots in &self.slots {
            let entries = (slots.first..=slots.last).zip(slots.host..);
            let entries = entries.flat_map(|(_, host)| self.entry(host).to_le_bytes());
            let at = BAT + 4 * u64::from(slots.first);
            put(&file, at, &entries.collect::<Vec<u8>>())?;
        }
        for (_, host) in self.marked() {
            let sector = self.sector(host);
            put(&file, sector * SECTOR_BYTES, &pattern(sector))?;
        }
        let ends = self.marked().map(|(_, host)| host).chain(self.extension);
        let behind = ends.max().map_or(0, |host| host + 1);
        let len = self.file.unwrap_or(self.sector(behind));
        file.set_len(len * SECTOR_BYTES).map_err(why)?;
        if let Some(at) = extension.filter(|_| self.bitmaps > 0) {
            put(&file, at * SECTOR_BYTES, &self.extension_bytes())?;
        }
        file.forget_changes();
        Ok(file)
    }

    /// The extension, as far as it is not zeros.
    fn extension_bytes(&self) -> Vec<u8> {
        let cluster = self.cluster as usize * SECTOR;
        let table = self.size.div_ceil(8 * cluster as u64) as usize;
        let mut list = Vec::new();
        for id in 0..self.bitmaps {
            list.extend(DIRTY_BITMAP.to_le_bytes());
            list.extend(0_u64.to_le_bytes());
            list.extend((32 + 8 * table as u32).to_le_bytes());
            list.extend([0; 4]);
            list.extend(self.size.to_le_bytes());
            list.extend([id as u8; 16]);
            list.extend(1_u32.to_le_bytes());
            list.extend((table as u32).to_le_bytes());
            list.resize(list.len() + 8 * table, 0);
        }
        let mut all = list.clone();
        all.resize(cluster - HEAD, 0);
        let sum = md5::compute(&all).0;
        [&MAGIC.to_le_bytes()[..], &sum, &list].concat()
    }
}

impl FarFile {
    fn build(&self) -> Result<Sparse, String> {
        match self {
            FarFile::Image(image) => image.build(),
            FarFile::Raw(sectors, data) => {
                let file = Sparse::default();
                for &sector in data {
                    put(&file, sector * SECTOR_BYTES, &pattern(sector))?;
                }
                file.set_len(sectors * SECTOR_BYTES).map_err(why)?;
                file.forget_changes();
                Ok(file)
            }
        }
    }

    fn is_raw(&self) -> bool {
        matches!(self, FarFile::Raw(..))
    }

    fn content(&self, sector: u64) -> Option<Bytes> {
        match self {
            FarFile::Image(image) => image.content(sector),
            FarFile::Raw(sectors, data) => (sector < *sectors).then(|| {
                let there = data.contains(&sector);
                if there { pattern(sector) } else { [0; SECTOR] }
            }),
        }
    }

    /// Sectors of the disk that hold a number of their own, if no other level hides them.
    fn places(&self) -> Vec<u64> {
        match self {
            FarFile::Raw(_, data) => data.clone(),
            FarFile::Image(image) => {
                let places = image.marked();
                let places = places.map(|(clu, _)| u64::from(clu) * u64::from(image.cluster));
                places.filter(|&place| place < image.size).collect()
            }
        }
    }
}

impl Far {
    pub(super) fn play(&self) -> Result<u64, Failure> {
        let mut sum = 0_u64;
        for (deed, outcome) in &self.checks {
            let files: Result<Vec<Sparse>, String> =
                self.files.iter().map(FarFile::build).collect();
            let files = files.map_err(wrong)?;
            let told = self.run(deed, &files);
            let changes = files.iter().map(Sparse::changes).sum::<u64>();
            let held = match &told {
                Err(why) if changes > 0 && !matches!(deed, FarDeed::Write(_)) => {
                    Err(wrong(format!("ended after {changes} calls: {why}")))
                }
                Err(why) => outcome.holds(Some(why), &[], &[]),
                Ok(told) => outcome.holds(None, &told.said, &told.left),
            };
            held.map_err(|mut failure| {
                failure.message = format!("{deed:?}: {}", failure.message);
                failure
            })?;
            sum = sum.wrapping_mul(1_000_003).wrapping_add(changes);
        }
        Ok(sum)
    }

    fn run(&self, deed: &FarDeed, files: &[Sparse]) -> Result<Told, String> {
        let mut told = Told::default();
        let (Some(top), Some(last)) = (files.last(), self.files.last()) else {
            return Err("no files".to_owned());
        };
        match deed {
            FarDeed::Look => {
                let found = load::inspect(top, "top").map_err(why)?;
                told.left = found.problems.iter().map(why).collect();
                told.left.extend(found.read_only.iter().map(why));
                return Ok(told);
            }
            FarDeed::Read => self.see(files, 0, &[])?,
            FarDeed::Write(sectors) => self.write(files, sectors)?,
            FarDeed::Repair => {
                let done = repair(top, "top").map_err(why)?;
                told.said = done.fixes.iter().map(why).collect();
                told.left = done.left.iter().map(why).collect();
                self.see(files, 0, &[])?;
            }
            FarDeed::Grow(more) => {
                let FarFile::Image(image) = last else {
                    return Err("a raw file does not grow".to_owned());
                };
                let grown = grow(top, "top", Sectors(image.size + more)).map_err(why)?;
                told.said.push(format!("{grown:?}"));
                self.see(files, 0, &[])?;
            }
            FarDeed::Merge => {
                let [lower, upper] = files else {
                    return Err("not two files".to_owned());
                };
                let source = |file, name, raw| Source { file, name, raw };
                let lower = source(lower, "lower", self.files[0].is_raw());
                let merge = Merge::forward(lower, source(upper, "upper", false));
                let mut merge = merge.map_err(why)?;
                while !merge.step(u32::MAX).map_err(why)?.finished {}
                self.see(files, 1, &[])?;
            }
        }
        Ok(told)
    }

    fn open(&self, files: &[Sparse], from: usize, write: bool) -> Result<Disk, String> {
        let (mut chain, mut opened): (Vec<_>, Vec<Box<dyn DeltaFile>>) = Default::default();
        for (level, file) in files.iter().enumerate().skip(from) {
            let name = format!("level-{level}");
            let loaded = match self.files[level].is_raw() {
                true => load::load_raw(file, &name),
                false => load::load(file, &name),
            };
            chain.push(loaded.map_err(why)?);
            opened.push(Box::new(file.clone()));
        }
        let options = Options {
            write,
            ..Options::default()
        };
        Disk::open(chain, opened, options).map_err(why)
    }

    /// The files from this one on read as all of them did, and where something was written as that.
    fn see(&self, files: &[Sparse], from: usize, written: &[u64]) -> Result<(), String> {
        let mut disk = self.open(files, from, false)?;
        let places = self.files.iter().flat_map(FarFile::places);
        for place in places.chain(written.iter().copied()) {
            let shown = self.files.iter().rev().find_map(|file| file.content(place));
            let expected = match written.contains(&place) {
                true => pattern(place),
                false => shown.unwrap_or([0; SECTOR]),
            };
            let mut found = [0xEE; SECTOR];
            let read = disk.read(Sector(place), &mut found);
            read.map_err(|failure| format!("a read: {failure:?}"))?;
            if found != expected {
                let (found, expected) = (&found[..8], &expected[..8]);
                let told = format!("sector {place} reads as {found:?}, not {expected:?}");
                return Err(told);
            }
        }
        Ok(())
    }

    /// What is written before something is refused, stays.
    fn write(&self, files: &[Sparse], sectors: &[u64]) -> Result<(), String> {
        let mut disk = self.open(files, 0, true)?;
        let mut refused = None;
        let mut done = sectors.len();
        for (index, &sector) in sectors.iter().enumerate() {
            if let Err(failure) = disk.write(Sector(sector), &pattern(sector), false) {
                (refused, done) = (Some(failure), index);
                break;
            }
        }
        disk.close().map_err(why)?;
        drop(disk);
        self.see(files, 0, &sectors[..done])?;
        match refused {
            Some(failure) if done + 1 == sectors.len() => Err(format!("{failure:?}")),
            Some(failure) => Err(format!("write {done} ended as {failure:?} already")),
            None => Ok(()),
        }
    }
}
