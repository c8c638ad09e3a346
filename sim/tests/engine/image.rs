//! Small images in memory: a chain of files, what the core's loader makes of it, and what it reads as.

use std::cell::RefCell;
use std::io;

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
    pub(crate) shape: Shape,
    /// Bytes of each file.
    pub(crate) files: Vec<Vec<u8>>,
    /// What the loader made of them.
    pub(crate) chain: Vec<LoadedDelta>,
    /// What the disk reads as, by sector.
    pub(crate) initial: Vec<Value>,
}

impl Image {
    /// Builds the files and loads them.
    pub(crate) fn new(shape: Shape) -> Image {
        let mut image = Image {
            shape,
            files: Vec::new(),
            chain: Vec::new(),
            initial: vec![Value::ZERO; (shape.cluster * shape.clusters) as usize],
        };
        for (level, &mapped) in shape.mapped.iter().enumerate() {
            let top = level + 1 == shape.mapped.len();
            let spare = if top { shape.spare } else { 0 };
            let file = Memory(RefCell::new(image.file(level as u32, mapped, spare)));
            let loaded = load::load(&file, "memory").expect("a sound image");
            image.chain.push(loaded);
            image.files.push(file.0.into_inner());
        }
        image
    }

    fn file(&mut self, level: u32, mapped: &[u64], spare: u64) -> Vec<u8> {
        let Shape {
            cluster, clusters, ..
        } = self.shape;
        let file = Memory::default();
        let size = Sectors(cluster * clusters);
        load::new_image(&file, Version::V2, Sectors(cluster), size).expect("a fresh image");
        let mut bytes = file.0.into_inner();
        for &clu in mapped {
            let host = bytes.len() as u64 / SECTOR as u64 / cluster;
            let slot = BAT + 4 * clu as usize;
            bytes[slot..slot + 4].copy_from_slice(&(host as u32).to_le_bytes());
            for sector in clu * cluster..(clu + 1) * cluster {
                let value = Value::of(INITIAL + level, sector);
                self.initial[sector as usize] = value;
                bytes.extend_from_slice(&encode(value));
            }
        }
        // Free space is not zero: whoever believes so reads this.
        for sector in 0..spare * cluster {
            bytes.extend_from_slice(&encode(Value::of(0xDEAD, sector)));
        }
        bytes
    }
}

impl Image {
    /// What the deltas below the top say about a guest sector.
    pub(crate) fn lower(&self, sector: u64) -> Value {
        let clu = sector / self.shape.cluster;
        let below = &self.shape.mapped[..self.shape.mapped.len() - 1];
        match below.iter().rposition(|mapped| mapped.contains(&clu)) {
            Some(level) => Value::of(INITIAL + level as u32, sector),
            None => Value::ZERO,
        }
    }
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

#[derive(Default)]
struct Memory(RefCell<Vec<u8>>);

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
