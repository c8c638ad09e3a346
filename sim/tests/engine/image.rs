//! Small images in memory: a chain of files, what the core's loader makes of it, and what it reads as.

use std::cell::RefCell;
use std::io;

use super::core::control::files;
use super::core::delta::LoadedDelta;
use super::core::drive::DeltaFile;
use super::core::format::Version;
use super::core::load;
use super::core::units::Sectors;
use model::op::Value;

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
/// Byte position of the first BAT slot.
pub(crate) const BAT: usize = 64;
/// Byte position of the number of BAT entries.
const ENTRIES: usize = 32;
/// A dirty bitmap, one bit a sector.
pub(crate) const START: files::Change = files::Change::Start {
    id: [7; 16],
    granularity: 1,
};
/// "Write numbers" of what is there from the start, by level.
const INITIAL: u32 = 0xF000;

/// A chain. All files have the same geometry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Sectors of a cluster.
    pub(crate) cluster: u64,
    /// Guest clusters.
    pub(crate) clusters: u64,
    /// Guest clusters mapped in each file, oldest file first; the last file is the top.
    pub(crate) mapped: &'static [&'static [u64]],
    /// Free host clusters that the top has from the start.
    pub(crate) spare: u64,
}

/// A chain in memory.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Sectors of a cluster.
    pub(crate) cluster: u64,
    /// Guest clusters of the top.
    pub(crate) clusters: u64,
    /// Bytes of each file, oldest first.
    pub(crate) files: Vec<Vec<u8>>,
    /// What the loader made of them.
    pub(crate) chain: Vec<LoadedDelta>,
    /// What the disk reads as, by sector.
    pub(crate) initial: Vec<Value>,
}

impl Image {
    /// Builds the files and loads them.
    pub(crate) fn new(shape: Shape) -> Image {
        let top = shape.mapped.len() - 1;
        let file = |(level, &mapped): (usize, &&[u64])| {
            let spare = if level == top { shape.spare } else { 0 };
            shape.file(level as u32, mapped, spare)
        };
        let files = shape.mapped.iter().enumerate().map(file).collect();
        Image::load(shape.cluster, files)
    }

    /// The same, and the top has a dirty bitmap in which nothing is dirty.
    pub(crate) fn tracked(shape: Shape) -> Image {
        let Image { mut files, .. } = Image::new(shape);
        let top = Memory::new(files.pop().expect("a top"));
        files::change_bitmaps(&top, "memory", START).expect("a bitmap");
        files.push(top.bytes());
        Image::load(shape.cluster, files)
    }

    /// What the levels below the top show, by guest sector.
    pub(crate) fn below(&self) -> Vec<Value> {
        let levels = &self.files[..self.files.len() - 1];
        shown(levels, self.cluster, self.clusters)
    }

    /// A chain of these files.
    pub(crate) fn load(cluster: u64, files: Vec<Vec<u8>>) -> Image {
        let (files, chain): (Vec<_>, Vec<LoadedDelta>) = files
            .into_iter()
            .map(|bytes| {
                let file = Memory::new(bytes);
                let loaded = load::load(&file, "memory").expect("a sound image");
                (file.bytes(), loaded)
            })
            .unzip();
        let top = chain.last().and_then(LoadedDelta::expanded);
        let layout = top.expect("an image").layout;
        let (clusters, size) = (u64::from(layout.entries), layout.size.0);
        let mut initial = shown(&files, cluster, clusters);
        initial.truncate(size as usize);
        Image {
            cluster,
            clusters,
            files,
            chain,
            initial,
        }
    }
}

impl Shape {
    fn file(&self, level: u32, mapped: &[u64], spare: u64) -> Vec<u8> {
        let Shape {
            cluster, clusters, ..
        } = *self;
        let file = Memory::default();
        let size = Sectors(cluster * clusters);
        load::new_image(&file, Version::V2, Sectors(cluster), size).expect("a fresh image");
        let mut bytes = file.bytes();
        for &clu in mapped {
            let host = bytes.len() as u64 / SECTOR as u64 / cluster;
            let slot = BAT + 4 * clu as usize;
            bytes[slot..slot + 4].copy_from_slice(&(host as u32).to_le_bytes());
            for sector in clu * cluster..(clu + 1) * cluster {
                bytes.extend_from_slice(&encode(Value::of(INITIAL + level, sector)));
            }
        }
        // Free space is not zero: whoever believes so reads this.
        for sector in 0..spare * cluster {
            bytes.extend_from_slice(&encode(Value::of(0xDEAD, sector)));
        }
        bytes
    }
}

/// What a chain of files shows, by guest sector of so many clusters: a reader of our own.
pub(crate) fn shown(files: &[Vec<u8>], cluster: u64, clusters: u64) -> Vec<Value> {
    let place = |file: &Vec<u8>, clu: u64| {
        let there = clu < u64::from(le32(file, ENTRIES));
        let host = there.then(|| le32(file, BAT + 4 * clu as usize));
        host.filter(|&host| host != 0)
    };
    let sectors = 0..cluster * clusters;
    let value = |sector: u64| {
        let (clu, within) = (sector / cluster, sector % cluster);
        let mut levels = files.iter().rev();
        let found = levels.find_map(|file| Some((file, place(file, clu)?)));
        found.map_or(Value::ZERO, |(file, host)| {
            decode(file, u64::from(host) * cluster + within)
        })
    };
    sectors.map(value).collect()
}

/// A sector with this content.
pub(crate) fn encode(value: Value) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    for piece in bytes.chunks_exact_mut(8) {
        piece.copy_from_slice(&value.0.to_le_bytes());
    }
    bytes
}

/// The content of a sector; the end of a file reads as zeros.
pub(crate) fn decode(file: &[u8], sector: u64) -> Value {
    let at = sector as usize * SECTOR;
    file.get(at..at + 8)
        .map_or(Value::ZERO, |bytes| Value(le64(bytes)))
}

fn le64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// A 32-bit field.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    le64(&bytes[at..at + 4]) as u32
}

/// A file in memory.
#[derive(Default)]
pub(crate) struct Memory(RefCell<Vec<u8>>);

impl Memory {
    /// With this content.
    pub(crate) fn new(bytes: Vec<u8>) -> Memory {
        Memory(RefCell::new(bytes))
    }

    /// Its content.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner()
    }
}

impl DeltaFile for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.borrow();
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let mut bytes = self.0.borrow_mut();
        let end = (at as usize + buf.len()).max(bytes.len());
        bytes.resize(end, 0);
        bytes[at as usize..at as usize + buf.len()].copy_from_slice(buf);
        Ok(buf.len())
    }
    fn zero_at(&self, _at: u64, _len: u64, _punch: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.borrow_mut().resize(len as usize, 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
