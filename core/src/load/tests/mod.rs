//! Tests of the loader. Images are built here, byte by byte, by code that shares nothing with the reader but
//! [`Header::to_bytes`].

mod chain;
pub(crate) mod extension;
mod forms;
mod hostile;
mod layouts;
mod rules;

use std::cell::RefCell;
use std::io;

use crate::delta::{Expanded, LoadedDelta};
use crate::drive::DeltaFile;
use crate::error::LoadError;
use crate::format::{Header, Version};
use crate::load::{Inspection, inspect, load};
use crate::units::Sectors;

/// A file in memory. `len` may be more than what is stored: the rest is a hole.
#[derive(Default)]
pub(crate) struct MemFile {
    pub(crate) bytes: RefCell<Vec<u8>>,
    pub(crate) len: RefCell<u64>,
}

impl MemFile {
    pub(crate) fn new(bytes: Vec<u8>) -> MemFile {
        let len = bytes.len() as u64;
        MemFile {
            bytes: RefCell::new(bytes),
            len: RefCell::new(len),
        }
    }
}

impl DeltaFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(*self.len.borrow())
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let n = (*self.len.borrow())
            .saturating_sub(at)
            .min(buf.len() as u64) as usize;
        let bytes = self.bytes.borrow();
        // At most seven bytes at a time beyond the first thousand, so that short reads are met.
        let n = if at > 1000 { n.min(1000) } else { n.min(7) };
        for (offset, byte) in buf[..n].iter_mut().enumerate() {
            *byte = bytes.get(at as usize + offset).copied().unwrap_or(0);
        }
        Ok(n)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(7);
        let mut bytes = self.bytes.borrow_mut();
        let end = at as usize + n;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(&buf[..n]);
        let len = (*self.len.borrow()).max(end as u64);
        *self.len.borrow_mut() = len;
        Ok(n)
    }
    fn zero_at(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.borrow_mut().resize(len as usize, 0);
        *self.len.borrow_mut() = len;
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An image to be built: public fields are set freely, then `bytes` writes them as they are.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) header: Header,
    pub(crate) bat: Vec<u32>,
    /// Length of the file in bytes.
    pub(crate) len: u64,
    /// Bytes written over everything else.
    pub(crate) patches: Vec<(u64, Vec<u8>)>,
}

impl Image {
    /// An empty image with room for `hosts` clusters behind the start of data.
    pub(crate) fn new(version: Version, cluster: u64, size: u64, hosts: u64) -> Image {
        let header =
            Header::create(version, Sectors(cluster), Sectors(size)).expect("valid geometry");
        Image {
            bat: vec![0; header.entries as usize],
            len: (u64::from(header.data_off) + hosts * cluster) * 512,
            header,
            patches: Vec::new(),
        }
    }

    /// Six clusters of four sectors; host clusters 1..=4 exist, and guest clusters 1, 2, 4 map 3, 1, 2.
    pub(crate) fn sample(version: Version) -> Image {
        let mut image = Image::new(version, 4, 24, 4);
        let unit = if version == Version::V1 { 4 } else { 1 };
        image.bat = vec![0, 3 * unit, unit, 0, 2 * unit, 0];
        image
    }

    pub(crate) fn patch(mut self, at: u64, bytes: impl AsRef<[u8]>) -> Image {
        self.patches.push((at, bytes.as_ref().to_vec()));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.to_bytes().to_vec();
        for entry in &self.bat {
            bytes.extend(entry.to_le_bytes());
        }
        bytes.resize(self.len as usize, 0);
        for (at, patch) in &self.patches {
            bytes[*at as usize..][..patch.len()].copy_from_slice(patch);
        }
        bytes
    }

    pub(crate) fn file(&self) -> MemFile {
        MemFile::new(self.bytes())
    }

    pub(crate) fn load(&self) -> Result<LoadedDelta, LoadError> {
        load(&self.file(), "test.hds")
    }

    pub(crate) fn expanded(&self) -> Expanded {
        expanded(self.load().expect("a sound image"))
    }

    pub(crate) fn inspect(&self) -> Result<Inspection, LoadError> {
        inspect(&self.file(), "test.hds")
    }
}

pub(crate) fn expanded(delta: LoadedDelta) -> Expanded {
    delta.expanded().expect("not raw").clone()
}

/// A small generator of test bytes (xorshift); its whole state is the seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
}
