//! A file of any length that takes memory only for the sectors that were written.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use ploop_core::drive::DeltaFile;
use ploop_core::format::Version;

const SECTOR: u64 = 512;

/// See the module. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sparse {
    len: Rc<Cell<u64>>,
    sectors: Rc<RefCell<BTreeMap<u64, [u8; SECTOR as usize]>>>,
    /// Reads so far.
    pub(crate) reads: Rc<Cell<u64>>,
    /// Calls that change something, so far.
    pub(crate) changes: Rc<Cell<u64>>,
}

/// An image: header and BAT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture<'a> {
    /// Of the format.
    pub(crate) version: Version,
    /// Sectors.
    pub(crate) cluster: u32,
    /// BAT entries.
    pub(crate) entries: u32,
    /// Sectors of the file.
    pub(crate) file: u64,
    /// Slots that are not 0, with what they hold.
    pub(crate) slots: &'a [(u32, u32)],
}

impl Sparse {
    /// The file of an image whose disk is as large as its BAT covers.
    pub(crate) fn image(picture: Picture<'_>) -> Sparse {
        let Picture {
            version,
            cluster,
            entries,
            ..
        } = picture;
        let file = Sparse::default();
        let table = (64 + 4 * u64::from(entries)).div_ceil(SECTOR);
        let start = table.next_multiple_of(u64::from(cluster)) as u32;
        let magic = match version {
            Version::V1 => b"WithoutFreeSpace",
            Version::V2 => b"WithouFreSpacExt",
        };
        let mut header = magic.to_vec();
        for field in [2, 16, 7, cluster, entries] {
            header.extend(field.to_le_bytes());
        }
        let size = u64::from(entries) * u64::from(cluster);
        let size = match version {
            Version::V1 => size.min(u64::from(u32::MAX)),
            Version::V2 => size,
        };
        header.extend(size.to_le_bytes());
        for field in [0, start, 0, 0, 0] {
            header.extend(field.to_le_bytes());
        }
        file.len.set(picture.file * SECTOR);
        file.put(0, &header);
        for &(slot, entry) in picture.slots {
            file.put(64 + 4 * u64::from(slot), &entry.to_le_bytes());
        }
        file.changes.set(0);
        file
    }

    /// The version of most of them.
    pub(crate) const VERSION: Version = Version::V2;

    /// Puts bytes there, wherever that is.
    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        let mut sectors = self.sectors.borrow_mut();
        let mut done = 0;
        while done < bytes.len() {
            let within = (at as usize + done) % SECTOR as usize;
            let len = (SECTOR as usize - within).min(bytes.len() - done);
            let (number, piece) = ((at + done as u64) / SECTOR, &bytes[done..done + len]);
            done += len;
            // Zeros take no memory.
            if sectors.contains_key(&number) || piece.iter().any(|&byte| byte != 0) {
                let sector = sectors.entry(number).or_insert([0; SECTOR as usize]);
                sector[within..within + len].copy_from_slice(piece);
            }
        }
        self.changes.set(self.changes.get() + 1);
        self.len.set(self.len.get().max(at + bytes.len() as u64));
    }

    /// Makes it shorter, as somebody else would.
    pub(crate) fn cut(&self, bytes: u64) {
        self.len.set(bytes);
    }
}

impl DeltaFile for Sparse {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.get())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.set(self.reads.get() + 1);
        assert!(
            self.reads.get() < 100_000,
            "[progress] the file is read again and again (I36)"
        );
        let there = self.len.get().saturating_sub(at).min(buf.len() as u64) as usize;
        let sectors = self.sectors.borrow();
        for (at, byte) in (at..).zip(&mut buf[..there]) {
            let sector = sectors.get(&(at / SECTOR));
            *byte = sector.map_or(0, |sector| sector[(at % SECTOR) as usize]);
        }
        Ok(there)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.put(at, buf);
        Ok(buf.len())
    }

    fn zero_at(&self, at: u64, len: u64, _punch: bool) -> io::Result<()> {
        self.changes.set(self.changes.get() + 1);
        let mut sectors = self.sectors.borrow_mut();
        let gone: Vec<u64> = sectors
            .range(at / SECTOR..(at + len) / SECTOR)
            .map(|(&sector, _)| sector)
            .collect();
        for sector in gone {
            sectors.remove(&sector);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changes.set(self.changes.get() + 1);
        self.len.set(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
