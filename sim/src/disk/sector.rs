//! What a unit of a file holds: bytes in the metadata area, a [`Value`] per sector behind it; and how one becomes the
//! other.
//!
//! * A value other than zero is, as bytes, a *pattern*: 64 words, `value + i * SPREAD`. So bytes tell which value they
//!   are, and a pattern can be recognised wherever it turns up.
//! * Bytes in the data area that are neither zeros nor a pattern are kept in a table of *blobs*; their value has
//!   [`BLOB`] set and is an index into the table of the one file it was read from.
//! * Metadata read as data is a value with [`FOREIGN`] set, which no write of a guest ever makes.
//! * A metadata granule is an index into a table too. Tables only grow until the next crash or reset.

use model::op::Value;
use ploop_core::units::SECTOR_BYTES;

/// Bytes of a sector, for arrays.
pub const SECTOR: usize = SECTOR_BYTES as usize;
/// Set in the value of a sector of bytes that are no pattern.
pub const BLOB: u64 = 1 << 63;
/// Set (both bits) in the value of metadata that is read as data. The rest is the sector.
pub const FOREIGN: u64 = 3 << 62;

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const ZEROS: [u8; SECTOR] = [0; SECTOR];

/// Fills `out` with the bytes of a sector of `value` from byte `from` (a multiple of 8) on.
pub fn fill_pattern(value: Value, from: usize, out: &mut [u8]) {
    if value == Value::ZERO {
        return out.fill(0);
    }
    let mut word = value.0.wrapping_add(SPREAD.wrapping_mul((from / 8) as u64));
    let (whole, rest) = out.as_chunks_mut::<8>();
    for chunk in whole {
        *chunk = word.to_le_bytes();
        word = word.wrapping_add(SPREAD);
    }
    let len = rest.len();
    rest.copy_from_slice(&word.to_le_bytes()[..len]);
}

/// The value that these bytes of a sector are: zeros, or a whole pattern. `None`: no value has these bytes.
#[must_use]
pub fn recognise(bytes: &[u8; SECTOR]) -> Option<Value> {
    let (first, _) = bytes.split_first_chunk::<8>()?;
    let value = Value(u64::from_le_bytes(*first));
    let mut expected = [0; SECTOR];
    fill_pattern(value, 0, &mut expected);
    (*bytes == expected).then_some(value)
}

/// What a unit holds: an index into the granules (0: zeros) in the metadata area, a raw value behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content(pub(super) u64);

impl Content {
    pub(super) const ZERO: Content = Content(0);
}

/// Where the metadata area ends and how it is cut into units. A file is a row of units: the granules of the metadata
/// area, then one sector each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    granule: u64,
    meta_sectors: u64,
    meta_units: u64,
}

impl Layout {
    /// `meta_len` in bytes, a multiple of 512; `granule` in bytes, a multiple of 8 that divides 512.
    pub(super) fn new(meta_len: u64, granule: u32) -> Layout {
        let granule = u64::from(granule);
        assert!(
            granule >= 8 && granule.is_multiple_of(8) && SECTOR_BYTES.is_multiple_of(granule),
            "granule {granule}"
        );
        assert!(
            meta_len.is_multiple_of(SECTOR_BYTES),
            "metadata area of {meta_len} bytes"
        );
        Layout {
            granule,
            meta_sectors: meta_len / SECTOR_BYTES,
            meta_units: meta_len / granule,
        }
    }

    pub(super) fn granule(self) -> u64 {
        self.granule
    }

    pub(super) fn meta_units(self) -> usize {
        self.meta_units as usize
    }

    pub(super) fn meta_bytes(self) -> u64 {
        self.meta_sectors * SECTOR_BYTES
    }

    pub(super) fn is_meta(self, unit: usize) -> bool {
        (unit as u64) < self.meta_units
    }

    /// Units in a sector of the metadata area.
    pub(super) fn units_per_sector(self) -> u64 {
        SECTOR_BYTES / self.granule
    }

    /// First unit of a sector.
    pub(super) fn of_sector(self, sector: u64) -> usize {
        if sector < self.meta_sectors {
            (sector * self.units_per_sector()) as usize
        } else {
            (self.meta_units + (sector - self.meta_sectors)) as usize
        }
    }

    /// The unit that holds a byte.
    pub(super) fn of_byte(self, byte: u64) -> usize {
        if byte < self.meta_bytes() {
            (byte / self.granule) as usize
        } else {
            self.of_sector(byte / SECTOR_BYTES)
        }
    }

    /// First byte of a unit.
    pub(super) fn start(self, unit: usize) -> u64 {
        let unit = unit as u64;
        if unit <= self.meta_units {
            unit * self.granule
        } else {
            (self.meta_sectors + (unit - self.meta_units)) * SECTOR_BYTES
        }
    }

    /// Bytes in a unit.
    pub(super) fn size(self, unit: usize) -> u64 {
        if self.is_meta(unit) {
            self.granule
        } else {
            SECTOR_BYTES
        }
    }

    /// Number of units that begin before byte `len`.
    pub(super) fn units_below(self, len: u64) -> usize {
        if len == 0 {
            0
        } else {
            self.of_byte(len - 1) + 1
        }
    }
}

/// The tables behind contents: granules of the metadata area, blobs of the data area.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    granule: usize,
    granules: Vec<u8>,
    blobs: Vec<u8>,
    sums: Vec<u64>,
}

impl Contents {
    /// Empties the tables, keeping their memory.
    pub(super) fn reset(&mut self, layout: Layout) {
        self.granule = layout.granule() as usize;
        self.granules.clear();
        self.blobs.clear();
        self.sums.clear();
    }

    /// Becomes a copy of `other`, keeping its memory.
    pub(super) fn copy_from(&mut self, other: &Contents) {
        self.granule = other.granule;
        self.granules.clone_from(&other.granules);
        self.blobs.clone_from(&other.blobs);
        self.sums.clone_from(&other.sums);
    }

    /// Bytes that the granules take.
    pub(super) fn granule_bytes(&self) -> usize {
        self.granules.len()
    }

    /// Forgets all granules but those of `live`, which are renumbered.
    pub(super) fn retain_granules<'a>(&mut self, live: impl Iterator<Item = &'a mut Content>) {
        let mut kept = Vec::with_capacity(self.granules.len() / 4);
        for content in live {
            if *content != Content::ZERO {
                kept.extend_from_slice(self.granule(*content));
                *content = Content((kept.len() / self.granule) as u64);
            }
        }
        self.granules = kept;
    }

    /// The bytes of a granule.
    pub(super) fn granule(&self, content: Content) -> &[u8] {
        match content.0 as usize {
            0 => &ZEROS[..self.granule],
            index => &self.granules[(index - 1) * self.granule..index * self.granule],
        }
    }

    /// The content of a granule of these bytes; one of `known` if that is the same.
    pub(super) fn keep_granule(&mut self, bytes: &[u8], known: [Content; 2]) -> Content {
        debug_assert_eq!(bytes.len(), self.granule);
        // Most are zeros, and zeros are never in the table.
        if bytes.as_chunks::<8>().0.iter().all(|word| *word == [0; 8]) {
            return Content::ZERO;
        }
        if let Some(&same) = known
            .iter()
            .find(|&&content| self.granule(content) == bytes)
        {
            return same;
        }
        self.granules.extend_from_slice(bytes);
        Content((self.granules.len() / self.granule) as u64)
    }

    /// The content of a data sector of these bytes.
    pub(super) fn keep_sector(&mut self, bytes: &[u8; SECTOR]) -> Content {
        if let Some(value) = recognise(bytes) {
            return Content(value.0);
        }
        let mut sum = crate::trace::TraceHash::new();
        sum.push_bytes(bytes);
        let sum = sum.value();
        let same = |&index: &usize| {
            self.sums[index] == sum && self.blobs[index * SECTOR..][..SECTOR] == bytes[..]
        };
        if let Some(index) = (0..self.sums.len()).find(same) {
            return Content(BLOB | index as u64);
        }
        self.sums.push(sum);
        self.blobs.extend_from_slice(bytes);
        Content(BLOB | (self.sums.len() - 1) as u64)
    }

    /// Bytes of a data sector from byte `from` (a multiple of 8) on.
    pub(super) fn sector_bytes(&self, content: Content, from: usize, out: &mut [u8]) {
        let index = (content.0 & !BLOB) as usize;
        if content.0 & BLOB != 0 && index < self.sums.len() {
            out.copy_from_slice(&self.blobs[index * SECTOR + from..][..out.len()]);
        } else {
            fill_pattern(Value(content.0), from, out);
        }
    }

    /// The value of a metadata sector whose granules are `units`.
    pub(super) fn meta_value(&self, sector: u64, units: impl Iterator<Item = Content>) -> Value {
        let mut bytes = [0; SECTOR];
        let mut zero = true;
        for (out, content) in bytes.chunks_mut(self.granule).zip(units) {
            zero &= content == Content::ZERO;
            out.copy_from_slice(self.granule(content));
        }
        if zero {
            Value::ZERO
        } else {
            recognise(&bytes).unwrap_or(Value(FOREIGN | sector))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_recognised_and_nothing_else() {
        for value in [Value::ZERO, Value(1), Value::of(3, 77), Value(u64::MAX)] {
            let mut bytes = [0; SECTOR];
            fill_pattern(value, 0, &mut bytes);
            assert_eq!(recognise(&bytes), Some(value));
            let mut part = [0; 48];
            fill_pattern(value, 64, &mut part);
            assert_eq!(part, bytes[64..112]);
            bytes[511] ^= 1;
            assert_eq!(recognise(&bytes), None, "{value:?}");
        }
    }

    #[test]
    fn blobs_are_kept_once_and_read_back() {
        let mut contents = Contents::default();
        contents.reset(Layout::new(512, 16));
        let one = contents.keep_sector(&[1; SECTOR]);
        let two = contents.keep_sector(&[2; SECTOR]);
        assert_ne!(one, two);
        assert_eq!(contents.keep_sector(&[1; SECTOR]), one);
        let mut bytes = [0; 8];
        contents.sector_bytes(two, 8, &mut bytes);
        assert_eq!(bytes, [2; 8]);
        // A blob of another file is some pattern, never a panic.
        contents.sector_bytes(Content(BLOB | 99), 0, &mut bytes);
    }

    #[test]
    fn units_and_bytes_agree() {
        let layout = Layout::new(1024, 16);
        assert_eq!(layout.meta_units(), 64);
        for (byte, unit) in [
            (0, 0),
            (15, 0),
            (16, 1),
            (1023, 63),
            (1024, 64),
            (1535, 64),
            (1536, 65),
        ] {
            assert_eq!(layout.of_byte(byte), unit, "byte {byte}");
            assert!((layout.start(unit)..layout.start(unit) + layout.size(unit)).contains(&byte));
        }
        for (len, units) in [
            (0, 0),
            (1, 1),
            (16, 1),
            (17, 2),
            (1024, 64),
            (1025, 65),
            (1536, 65),
        ] {
            assert_eq!(layout.units_below(len), units, "{len} bytes");
        }
        assert_eq!(layout.of_sector(1), 32);
        assert_eq!(layout.of_sector(3), 65);
    }
}
