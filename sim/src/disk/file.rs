//! One simulated file: its state, how it begins, what reads of it see. The rules are in the folder's head.

use super::cache::{Cache, Stamp};
use super::length::{Length, LengthChange};
use super::sector::{Content, Contents, Layout, SECTOR};
use super::view::{Cell, Units, View};
use crate::tape::{Kind, Tape};
use model::op::Value;
use ploop_core::drive::DeltaFile;
use ploop_core::format::geometry::HEADER_BYTES;
use std::io;

/// Shape of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the metadata area at the front (header and BAT): a multiple of 512.
    pub meta_len: u64,
    /// What is written at once in the metadata area, in bytes: a multiple of 8 that divides 512.
    pub granule: u32,
    /// Longest length in sectors, as a file system has one; see [`SimFile::fits`]. A sector written takes 24 bytes of
    /// memory, and so does each before it: keep the limit small.
    pub limit_sectors: u64,
}

/// A simulated file.
#[derive(Clone, Debug)]
pub struct SimFile {
    pub(super) layout: Layout,
    pub(super) limit: u64,
    pub(super) contents: Contents,
    /// Units up to the last one ever written; zeros behind.
    pub(super) cells: Vec<Cell>,
    /// Behind the last unit of the metadata area that was ever written: zeros from there on.
    pub(super) meta_used: usize,
    pub(super) length: Length,
    pub(super) cache: Cache,
    pub(super) syncs: Vec<Stamp>,
    pub(super) scratch: super::crash::Scratch,
}

impl Default for SimFile {
    fn default() -> SimFile {
        SimFile::new()
    }
}

impl SimFile {
    /// An empty file without a metadata area. Call one of the resets before use.
    #[must_use]
    pub fn new() -> SimFile {
        SimFile {
            layout: Layout::default(),
            limit: 0,
            contents: Contents::default(),
            cells: Vec::new(),
            meta_used: 0,
            length: Length::default(),
            cache: Cache::default(),
            syncs: Vec::new(),
            scratch: super::crash::Scratch::default(),
        }
    }

    /// Becomes a file of this content and length in bytes, all durable, keeping its memory. `meta` are the first bytes
    /// of the metadata area, `data` the first sectors behind it; zeros follow.
    pub fn reset(&mut self, geometry: Geometry, meta: &[u8], data: &[Value], len: u64) {
        self.clear(geometry, len);
        assert!(
            meta.len() as u64 <= self.layout.meta_bytes(),
            "metadata beyond its area"
        );
        let (whole, rest) = meta.split_at(meta.len() - meta.len() % self.layout.granule() as usize);
        for bytes in whole.chunks_exact(self.layout.granule() as usize) {
            let content = self.contents.keep_granule(bytes, [Content::ZERO; 2]);
            self.cells.push(Cell::durable(content));
        }
        if !rest.is_empty() {
            let mut bytes = rest.to_vec();
            bytes.resize(self.layout.granule() as usize, 0);
            let content = self.contents.keep_granule(&bytes, [Content::ZERO; 2]);
            self.cells.push(Cell::durable(content));
        }
        self.meta_used = self.cells.len();
        if !data.is_empty() {
            self.cells.resize(self.layout.meta_units(), Cell::default());
            self.cells
                .extend(data.iter().map(|value| Cell::durable(Content(value.0))));
        }
        self.cells.truncate(self.layout.units_below(len));
    }

    /// Becomes a file of these bytes, all durable, keeping its memory. Data that is no pattern of a value becomes
    /// blobs, so whole images with extensions can be simulated.
    pub fn reset_bytes(&mut self, geometry: Geometry, image: &[u8]) {
        let (meta, data) = image.split_at(
            image
                .len()
                .min(usize::try_from(geometry.meta_len).unwrap_or(usize::MAX)),
        );
        self.reset(geometry, meta, &[], image.len() as u64);
        if !data.is_empty() {
            self.cells.resize(self.layout.meta_units(), Cell::default());
        }
        for chunk in data.chunks(SECTOR) {
            let mut bytes = [0; SECTOR];
            bytes[..chunk.len()].copy_from_slice(chunk);
            let content = self.contents.keep_sector(&bytes);
            self.cells.push(Cell::durable(content));
        }
    }

    pub(super) fn clear(&mut self, geometry: Geometry, len: u64) {
        self.layout = Layout::new(geometry.meta_len, geometry.granule);
        self.limit = geometry.limit_sectors;
        let units = (self.layout.meta_units() as u64).saturating_add(self.limit);
        assert!(
            units < u64::from(u32::MAX),
            "a limit of {} sectors",
            self.limit
        );
        self.contents.reset(self.layout);
        self.cells.clear();
        self.length = Length::durable(len);
        self.cache.reset();
        self.syncs.clear();
    }

    /// From now on it may become so long.
    pub fn set_limit(&mut self, sectors: u64) {
        let units = (self.layout.meta_units() as u64).saturating_add(sectors);
        assert!(units < u64::from(u32::MAX), "a limit of {sectors} sectors");
        self.limit = sectors;
    }

    /// The same bytes, all durable, under another geometry: the metadata area has another size now.
    ///
    /// # Panics
    /// If anything is pending.
    pub fn relay(&mut self, geometry: Geometry) {
        assert_eq!(self.pending(), 0, "changes are pending");
        let mut bytes = vec![0; usize::try_from(self.len_bytes()).unwrap_or(usize::MAX)];
        self.view().read_bytes(0, &mut bytes);
        self.reset_bytes(geometry, &bytes);
    }

    /// The same bytes, all durable; so many bytes of metadata are written whole from now on.
    ///
    /// # Panics
    /// If anything is pending.
    pub fn set_granule(&mut self, granule: u32) {
        let geometry = Geometry {
            meta_len: self.layout.meta_bytes(),
            granule,
            limit_sectors: self.limit,
        };
        self.relay(geometry);
    }

    /// Becomes a copy of `other` with all its changes in flight, keeping its memory.
    pub fn copy_from(&mut self, other: &SimFile) {
        self.layout = other.layout;
        self.limit = other.limit;
        self.contents.copy_from(&other.contents);
        self.cells.clone_from(&other.cells);
        self.meta_used = other.meta_used;
        self.length = other.length;
        self.cache.copy_from(&other.cache);
        self.syncs.clone_from(&other.syncs);
    }

    /// The content and length that reads see, changes in flight left out but for what a read has already seen.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            contents: &self.contents,
            layout: self.layout,
            units: Units::Visible(&self.cells),
            meta_used: self.meta_used,
            len: self.length.visible,
        }
    }

    /// The BAT slot of a guest cluster, as it is on the medium.
    #[must_use]
    pub fn durable_slot(&self, clu: u32) -> u32 {
        let at = HEADER_BYTES + 4 * u64::from(clu);
        let unit = self.layout.of_byte(at);
        let content = self
            .cells
            .get(unit)
            .map_or(Content::ZERO, |cell| cell.durable);
        let offset = (at - self.layout.start(unit)) as usize;
        let granule = self.contents.granule(content);
        let bytes = granule.get(offset..).and_then(<[u8]>::first_chunk::<4>);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Length in sectors, rounded up.
    #[must_use]
    pub fn len_sectors(&self) -> u64 {
        self.view().len_sectors()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.length.visible
    }

    /// See [`View::read_value`]: changes in flight are left out.
    #[must_use]
    pub fn read_value(&self, sector: u64) -> Value {
        self.view().read_value(sector)
    }

    /// See [`View::read_values`]: changes in flight are left out.
    pub fn read_values(&self, at: u64, len: u64, out: &mut Vec<Value>) {
        self.view().read_values(at, len, out);
    }

    /// As [`SimFile::read_values`], but unit by unit the tape says whether a change in flight is seen. What was seen
    /// once has happened: later reads see it too.
    pub fn observe(&mut self, at: u64, len: u64, out: &mut Vec<Value>, tape: &mut Tape) {
        let range = self.layout.of_sector(at)..self.layout.of_sector(at.saturating_add(len));
        for index in 0..self.cache.list.len() {
            let p = self.cache.list[index];
            if !p.in_flight() {
                continue;
            }
            for unit in p.units().start.max(range.start)..p.units().end.min(range.end) {
                if self.cache.landed(&p, unit) == 0 && tape.choose(Kind::Land, 2) == 1 {
                    let stamp = self.cache.tick();
                    self.cells[unit].visible = self.cache.content(&p, unit);
                    self.cells[unit].visible_at = stamp;
                    self.cache.land_unit(index, unit, stamp);
                    if let LengthChange::AtLeast(len) = p.length {
                        let end = self.layout.start(unit) + self.layout.size(unit);
                        self.length.land(LengthChange::AtLeast(end.min(len)));
                    }
                }
            }
        }
        self.read_values(at, len, out);
    }

    /// Number of changes in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.cache.list.iter().filter(|p| p.in_flight()).count()
    }

    /// Number of changes that a crash may undo, those in flight included.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.cache.list.iter().filter(|p| !p.dead).count()
    }
}

/// For loaders: reads what is visible. Changes go through [`SimFile::submit`] or a
/// [`BlockingFile`](super::BlockingFile) and are refused here.
impl DeltaFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        DeltaFile::len(&self.view())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.view().read_at(at, buf)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.view().write_at(at, buf)
    }

    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.view().zero_at(at, len, punch)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.view().set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.view().sync()
    }
}
