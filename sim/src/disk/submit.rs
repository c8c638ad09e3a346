//! Submission: what a change is, and how it goes in flight.

use super::cache::Stamp;
use super::file::SimFile;
use super::length::LengthChange;
use super::sector::{Content, SECTOR, fill_pattern};
use super::view::Cell;
use model::op::Value;
use ploop_core::units::SECTOR_BYTES;

/// A change to a file. Positions in sectors, but for bytes.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Writes values. Extends the file if need be.
    Data {
        /// First sector.
        at: u64,
        /// One value a sector.
        values: &'a [Value],
    },
    /// Makes a range read as zeros, inside the length: zero range and punch hole alike.
    Zero {
        /// First sector.
        at: u64,
        /// Number of sectors.
        len: u64,
    },
    /// Writes bytes. Extends the file if need be. In the metadata area a partly covered granule is written whole with
    /// what reads see of the rest; behind it a sector likewise.
    Bytes {
        /// First byte.
        at: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Makes the file at least this long.
    Extend {
        /// Length in sectors.
        sectors: u64,
    },
    /// Makes the file exactly this long.
    SetLen {
        /// Length in bytes.
        bytes: u64,
    },
}

/// A change in flight on one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoId(pub(super) Stamp);

impl SimFile {
    /// True if a change stays inside the longest length. [`SimFile::submit`] panics otherwise: the caller has to take
    /// such an I/O for what it is, a broken core.
    #[must_use]
    pub fn fits(&self, change: &Change<'_>) -> bool {
        let end = match *change {
            Change::Data { at, values } => at.checked_add(values.len() as u64),
            Change::Zero { at, len } => at.checked_add(len),
            Change::Bytes { at, bytes } => at
                .checked_add(bytes.len() as u64)
                .map(|end| end.div_ceil(SECTOR_BYTES)),
            Change::Extend { sectors } => Some(sectors),
            Change::SetLen { bytes } => Some(bytes.div_ceil(SECTOR_BYTES)),
        };
        end.is_some_and(|end| end <= self.limit)
    }

    /// Puts a change in flight: from now on any part of it may be seen, and may survive a crash.
    pub fn submit(&mut self, change: Change<'_>) -> IoId {
        IoId(self.add(change, false))
    }

    /// As [`SimFile::submit`]; durable in its own range when it completes with [`Effect::Done`](super::Effect::Done).
    pub fn submit_fua(&mut self, change: Change<'_>) -> IoId {
        IoId(self.add(change, true))
    }

    fn add(&mut self, change: Change<'_>, fua: bool) -> Stamp {
        assert!(self.fits(&change), "a change beyond the limit of the file");
        let visible = self.length.visible;
        let grow = |end: u64| {
            if end > visible {
                LengthChange::AtLeast(end)
            } else {
                LengthChange::None
            }
        };
        match change {
            Change::Data { at, values } => {
                let end = at + values.len() as u64;
                let units = self.prepare(at * SECTOR_BYTES, end * SECTOR_BYTES);
                let begin = self.cache.begin();
                let in_meta = (self.layout.meta_bytes() / SECTOR_BYTES)
                    .saturating_sub(at)
                    .min(values.len() as u64);
                let (meta, data) = values.split_at(in_meta as usize);
                let mut unit = units.0;
                for &value in meta {
                    let mut bytes = [0; SECTOR];
                    fill_pattern(value, 0, &mut bytes);
                    for granule in bytes.chunks_exact(self.layout.granule() as usize) {
                        self.push_granule(unit, granule);
                        unit += 1;
                    }
                }
                data.iter()
                    .for_each(|value| self.cache.push_content(Content(value.0)));
                self.cache
                    .add(units, Some(begin), grow(end * SECTOR_BYTES), fua)
            }
            Change::Zero { at, len } => {
                // Beyond the length there may be writes in flight.
                let end = visible.max(self.layout.start(self.cells.len()));
                let units = self.prepare(at * SECTOR_BYTES, ((at + len) * SECTOR_BYTES).min(end));
                self.cache.add(units, None, LengthChange::None, fua)
            }
            Change::Bytes { at, bytes } => {
                let end = at + bytes.len() as u64;
                let units = self.prepare(at, end);
                let begin = self.cache.begin();
                (units.0..units.1).for_each(|unit| self.push_bytes(unit, at, bytes));
                self.cache.add(units, Some(begin), grow(end), fua)
            }
            Change::Extend { sectors } => {
                self.cache
                    .add((0, 0), None, grow(sectors * SECTOR_BYTES), fua)
            }
            Change::SetLen { bytes } => {
                let units = match self.layout.units_below(bytes) {
                    first if bytes < visible && first < self.cells.len() => {
                        (first, self.cells.len())
                    }
                    _ => (0, 0),
                };
                let length = if bytes == visible {
                    LengthChange::None
                } else {
                    LengthChange::Exact(bytes)
                };
                self.cache.add(units, None, length, fua)
            }
        }
    }

    /// The units of a range of bytes, with cells made for them.
    fn prepare(&mut self, from: u64, to: u64) -> (usize, usize) {
        if from >= to {
            return (0, 0);
        }
        let (first, end) = (self.layout.of_byte(from), self.layout.units_below(to));
        if end > self.cells.len() {
            self.cells.resize(end, Cell::default());
        }
        if self.layout.is_meta(first) {
            self.meta_used = self.meta_used.max(end.min(self.layout.meta_units()));
        }
        (first, end)
    }

    fn push_granule(&mut self, unit: usize, bytes: &[u8]) {
        let cell = self.cells[unit];
        let content = self
            .contents
            .keep_granule(bytes, [cell.visible, cell.durable]);
        self.cache.push_content(content);
    }

    /// Pushes the content of one unit of a write of `bytes` at byte `at`.
    fn push_bytes(&mut self, unit: usize, at: u64, bytes: &[u8]) {
        let (start, size) = (self.layout.start(unit), self.layout.size(unit) as usize);
        if let Some(skip) = start.checked_sub(at)
            && let Some(whole) = bytes.get(skip as usize..skip as usize + size)
        {
            return self.push_unit(unit, whole);
        }
        let mut whole = [0; SECTOR];
        self.view().read_bytes(start, &mut whole[..size]);
        let from = at.max(start);
        let to = (at + bytes.len() as u64).min(start + size as u64);
        whole[(from - start) as usize..(to - start) as usize]
            .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
        self.push_unit(unit, &whole[..size]);
    }

    fn push_unit(&mut self, unit: usize, bytes: &[u8]) {
        if self.layout.is_meta(unit) {
            self.push_granule(unit, bytes);
        } else if let Some((sector, _)) = bytes.split_first_chunk::<SECTOR>() {
            let content = self.contents.keep_sector(sector);
            self.cache.push_content(content);
        }
    }
}
