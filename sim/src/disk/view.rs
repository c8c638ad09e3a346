//! What a file, or one crash image of it, reads as. Read only.

use super::cache::Stamp;
use super::sector::{Content, Contents, Layout, SECTOR};
use model::op::Value;
use ploop_core::drive::DeltaFile;
use ploop_core::units::SECTOR_BYTES;
use std::io;

/// A unit: what reads see, what is durable, and when each landed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) visible: Content,
    pub(super) durable: Content,
    pub(super) visible_at: Stamp,
    pub(super) durable_at: Stamp,
}

impl Cell {
    /// A cell of durable content.
    pub(super) fn durable(content: Content) -> Cell {
        Cell {
            visible: content,
            durable: content,
            visible_at: 0,
            durable_at: 0,
        }
    }
}

/// Whose units.
#[derive(Clone, Copy, Debug)]
pub(super) enum Units<'a> {
    /// The visible contents of a file.
    Visible(&'a [Cell]),
    /// The contents of a crash image.
    Image(&'a [Content]),
}

/// The content of a file at a moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) contents: &'a Contents,
    pub(super) layout: Layout,
    pub(super) units: Units<'a>,
    /// Units of the metadata area from this one on are zeros.
    pub(super) meta_used: usize,
    pub(super) len: u64,
}

impl View<'_> {
    /// Content of a unit; zeros where nothing was ever written.
    #[inline]
    pub(super) fn unit(&self, unit: usize) -> Content {
        match self.units {
            Units::Visible(cells) => cells.get(unit).map_or(Content::ZERO, |cell| cell.visible),
            Units::Image(contents) => contents.get(unit).copied().unwrap_or(Content::ZERO),
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Length in sectors, rounded up.
    #[must_use]
    pub fn len_sectors(&self) -> u64 {
        self.len.div_ceil(SECTOR_BYTES)
    }

    /// The value of a sector; zeros beyond the end. Metadata is a value that no guest wrote, unless it is zeros.
    #[must_use]
    pub fn read_value(&self, sector: u64) -> Value {
        if sector >= self.len_sectors() {
            return Value::ZERO;
        }
        let unit = self.layout.of_sector(sector);
        if self.layout.is_meta(unit) {
            let units = (unit..).take(self.layout.units_per_sector() as usize);
            return self
                .contents
                .meta_value(sector, units.map(|unit| self.unit(unit)));
        }
        Value(self.unit(unit).0)
    }

    /// Appends the values of `len` sectors at `at` to `out`.
    pub fn read_values(&self, at: u64, len: u64, out: &mut Vec<Value>) {
        out.extend((at..at + len).map(|sector| self.read_value(sector)));
    }

    /// The part of a read that lies in the metadata area, from the start of a granule on: granule by granule. Returns
    /// how many bytes were copied.
    fn read_meta(&self, at: u64, buf: &mut [u8]) -> usize {
        let granule = self.layout.granule();
        if !at.is_multiple_of(granule) {
            return 0;
        }
        let meta = self.layout.meta_bytes().saturating_sub(at);
        let meta = meta.min(buf.len() as u64) as usize;
        // Most of it is zeros.
        buf[..meta].fill(0);
        let first = (at / granule) as usize;
        let used = self.meta_used.saturating_sub(first);
        let out = buf[..meta].chunks_mut(granule as usize).take(used);
        match self.units {
            Units::Visible(cells) => {
                let cells = cells.get(first..).unwrap_or(&[]);
                self.copy_granules(cells.iter().map(|cell| cell.visible), out);
            }
            Units::Image(contents) => {
                let contents = contents.get(first..).unwrap_or(&[]);
                self.copy_granules(contents.iter().copied(), out);
            }
        }
        meta
    }

    /// Copies what is not zeros of a row of granules.
    #[inline]
    fn copy_granules<'b>(
        &self,
        row: impl Iterator<Item = Content>,
        out: impl Iterator<Item = &'b mut [u8]>,
    ) {
        for (content, out) in row.zip(out) {
            if content == Content::ZERO {
                continue;
            }
            let bytes = self.contents.granule(content);
            match (
                <&mut [u8; 16]>::try_from(&mut *out),
                <&[u8; 16]>::try_from(bytes),
            ) {
                // Those of tiny worlds.
                (Ok(out), Ok(bytes)) => *out = *bytes,
                _ => out.copy_from_slice(&bytes[..out.len()]),
            }
        }
    }

    /// A part of one unit. Returns how many bytes were copied.
    fn read_piece(&self, at: u64, buf: &mut [u8]) -> usize {
        let unit = self.layout.of_byte(at);
        let content = self.unit(unit);
        let offset = (at - self.layout.start(unit)) as usize;
        let take = (self.layout.size(unit) as usize - offset).min(buf.len());
        let out = &mut buf[..take];
        if content == Content::ZERO {
            out.fill(0);
        } else if self.layout.is_meta(unit) {
            out.copy_from_slice(&self.contents.granule(content)[offset..offset + take]);
        } else if let Ok(sector) = <&mut [u8; SECTOR]>::try_from(&mut *out) {
            self.contents.sector_bytes(content, 0, sector);
        } else {
            let mut sector = [0; SECTOR];
            self.contents.sector_bytes(content, 0, &mut sector);
            out.copy_from_slice(&sector[offset..offset + take]);
        }
        take
    }

    /// Copies the bytes at `at` into `buf`. Returns how many there were before the end.
    pub fn read_bytes(&self, at: u64, buf: &mut [u8]) -> usize {
        let len = usize::try_from(self.len.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let mut done = 0;
        while done < len {
            let byte = at + done as u64;
            let whole = self.read_meta(byte, &mut buf[done..len]);
            done += match whole {
                0 => self.read_piece(byte, &mut buf[done..len]),
                whole => whole,
            };
        }
        len
    }
}

/// Refuses what would change a view.
fn read_only() -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        "a view of a simulated file is read only",
    )
}

/// For loaders. Every change is refused.
impl DeltaFile for View<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_bytes(at, buf))
    }

    fn write_at(&self, _at: u64, _buf: &[u8]) -> io::Result<usize> {
        Err(read_only())
    }

    fn zero_at(&self, _at: u64, _len: u64, _punch: bool) -> io::Result<()> {
        Err(read_only())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Err(read_only())
    }
}
