//! A dirty bitmap in memory: which granules of the virtual disk changed since somebody started it (I32).
//!
//! * Bits are numbered as in the file: bit `n` is granule `n`, in byte `n / 8`, lowest bit first. No bit behind the end of
//!   the disk is ever set.
//! * It is kept in pieces, and a piece of which nothing or everything is dirty takes no space: memory follows what is
//!   written in the file, not what its header claims. A mixed piece ends with the byte of the last granule.
//! * It only grows dirtier, until somebody clears it: what is marked stays marked.

use crate::units::{Sector, Sectors};

/// Bytes of a piece.
const PIECE_BYTES: u64 = 4096;
/// Bits of a piece.
const PIECE: u64 = PIECE_BYTES * 8;
/// Most bits of a bitmap: 2 TiB by the sector, 256 TiB by the usual 64 KiB and far more.
pub const MAX_BITS: u64 = 1 << 32;
/// The granularity that ploop uses: 64 KiB.
pub const USUAL_GRANULARITY: u32 = 128;

/// A part of the bits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Clean,
    Dirty,
    Mixed(Box<[u8]>),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyBitmap {
    id: [u8; 16],
    size: Sectors,
    granularity: u32,
    pieces: Vec<Piece>,
}

impl DirtyBitmap {
    /// A bitmap in which nothing is dirty, for a disk of this size. `None`: the granularity (in sectors) is no power of two,
    /// or there would be more than [`MAX_BITS`].
    #[must_use]
    pub fn new(id: [u8; 16], size: Sectors, granularity: u32) -> Option<DirtyBitmap> {
        if !granularity.is_power_of_two() {
            return None;
        }
        let bits = bits_of(size, granularity);
        (bits <= MAX_BITS).then(|| DirtyBitmap {
            id,
            size,
            granularity,
            pieces: vec![Piece::Clean; bits.div_ceil(PIECE) as usize],
        })
    }

    /// Its name: a GUID.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Size of the disk that it covers.
    #[must_use]
    pub fn size(&self) -> Sectors {
        self.size
    }

    /// Sectors that a bit covers.
    #[must_use]
    pub fn granularity(&self) -> u32 {
        self.granularity
    }

    /// Number of bits.
    #[must_use]
    pub fn bits(&self) -> u64 {
        bits_of(self.size, self.granularity)
    }

    /// Marks every granule that has one of these sectors. What lies behind the end of the disk is left out.
    pub fn mark(&mut self, start: Sector, len: Sectors) {
        let end = start.after(len).0.min(self.size.0);
        if start.0 < end {
            let granularity = u64::from(self.granularity);
            self.set(start.0 / granularity, end.div_ceil(granularity));
        }
    }

    /// Makes everything clean.
    pub fn clear(&mut self) {
        self.pieces.fill(Piece::Clean);
    }

    /// The disk becomes larger; what is new is dirty. False, and nothing is changed: it would need more than [`MAX_BITS`],
    /// or the disk would become smaller.
    pub fn grow(&mut self, size: Sectors) -> bool {
        let bits = bits_of(size, self.granularity);
        if size < self.size || bits > MAX_BITS {
            return false;
        }
        let old = std::mem::replace(&mut self.size, size);
        // The last piece was whole as far as its bits went.
        if let Some(index) = self.pieces.len().checked_sub(1) {
            let last = &mut self.pieces[index];
            let old_bits = bits_of(old, self.granularity) - index as u64 * PIECE;
            let mut bytes = match last {
                Piece::Clean => Vec::new(),
                Piece::Dirty => {
                    let mut bytes = vec![0; old_bits.div_ceil(8) as usize];
                    set_bits(&mut bytes, 0, old_bits);
                    bytes
                }
                Piece::Mixed(bytes) => std::mem::take(bytes).into_vec(),
            };
            if *last != Piece::Clean {
                bytes.resize(piece_bytes(bits, index), 0);
                *last = Piece::Mixed(bytes.into());
            }
        }
        self.pieces
            .resize(bits.div_ceil(PIECE) as usize, Piece::Clean);
        self.mark(Sector(old.0), size.minus(old));
        true
    }

    /// Whether a sector is dirty.
    #[must_use]
    pub fn is_dirty(&self, sector: Sector) -> bool {
        sector.0 < self.size.0 && self.get(sector.0 / u64::from(self.granularity))
    }

    /// What is dirty, as ascending ranges that do not touch.
    pub fn ranges(&self) -> impl Iterator<Item = (Sector, Sectors)> + '_ {
        let (mut at, granularity) = (0, u64::from(self.granularity));
        std::iter::from_fn(move || {
            let first = self.find(at, true)?;
            at = self.find(first, false).unwrap_or(self.bits());
            let start = first * granularity;
            let end = (at * granularity).min(self.size.0);
            Some((Sector(start), Sectors(end - start)))
        })
    }

    /// How many sectors are dirty.
    #[must_use]
    pub fn dirty(&self) -> Sectors {
        Sectors(self.ranges().map(|(_, len)| len.0).sum())
    }

    /// True if all of these bits are alike, and how. `first < end`.
    pub(crate) fn alike(&self, first: u64, end: u64) -> Option<bool> {
        let bit = self.get(first);
        let other = self.find(first, !bit).is_some_and(|other| other < end);
        (!other).then_some(bit)
    }

    /// The bytes of the bitmap from this one on; zeros behind its end.
    pub(crate) fn bytes(&self, at: u64, into: &mut [u8]) {
        let bits = self.bits();
        for (byte, place) in (at..).zip(into) {
            *place = match self.pieces.get((byte / PIECE_BYTES) as usize) {
                None | Some(Piece::Clean) => 0,
                Some(Piece::Dirty) => {
                    let there = bits.saturating_sub(byte * 8).min(8);
                    ((1_u16 << there) - 1) as u8
                }
                Some(Piece::Mixed(bytes)) => {
                    let byte = (byte % PIECE_BYTES) as usize;
                    bytes.get(byte).copied().unwrap_or(0)
                }
            };
        }
    }

    /// Takes in bytes that stand at this byte of the bitmap in a file. False: a bit behind the end is set.
    pub(crate) fn take(&mut self, at: u64, bytes: &[u8]) -> bool {
        let bits = self.bits();
        for (byte, &value) in (at..).zip(bytes) {
            if value == 0 {
                continue;
            }
            let there = bits.saturating_sub(byte * 8).min(8);
            if u16::from(value) >> there != 0 {
                return false;
            }
            let index = (byte / PIECE_BYTES) as usize;
            if let Some(bytes) = self.pieces[index].mixed(piece_bytes(bits, index)) {
                bytes[(byte % PIECE_BYTES) as usize] |= value;
            }
        }
        true
    }

    /// Sets bits.
    pub(crate) fn set(&mut self, first: u64, end: u64) {
        let all = self.bits();
        let (mut bit, end) = (first, end.min(all));
        while bit < end {
            let index = bit / PIECE;
            let until = ((index + 1) * PIECE).min(end);
            let piece = &mut self.pieces[index as usize];
            if bit == index * PIECE && until == ((index + 1) * PIECE).min(all) {
                *piece = Piece::Dirty;
            } else if let Some(bytes) = piece.mixed(piece_bytes(all, index as usize)) {
                set_bits(bytes, bit % PIECE, until - index * PIECE);
            }
            bit = until;
        }
    }

    fn get(&self, bit: u64) -> bool {
        match self.pieces.get((bit / PIECE) as usize) {
            None | Some(Piece::Clean) => false,
            Some(Piece::Dirty) => bit < self.bits(),
            Some(Piece::Mixed(bytes)) => bytes[(bit % PIECE / 8) as usize] >> (bit % 8) & 1 != 0,
        }
    }

    /// The first bit from this one on that is so.
    fn find(&self, from: u64, dirty: bool) -> Option<u64> {
        let all = self.bits();
        let mut bit = from;
        while bit < all {
            let index = bit / PIECE;
            let end = ((index + 1) * PIECE).min(all);
            match &self.pieces[index as usize] {
                Piece::Clean | Piece::Dirty => {
                    if (self.pieces[index as usize] == Piece::Dirty) == dirty {
                        return Some(bit);
                    }
                    bit = end;
                }
                Piece::Mixed(bytes) => {
                    let skipped = if dirty { 0 } else { u8::MAX };
                    while bit < end {
                        let byte = bytes[(bit % PIECE / 8) as usize];
                        if byte == skipped {
                            bit = (bit / 8 + 1) * 8;
                        } else if (byte >> (bit % 8) & 1 != 0) == dirty {
                            return Some(bit);
                        } else {
                            bit += 1;
                        }
                    }
                    bit = bit.min(end);
                }
            }
        }
        None
    }
}

impl Piece {
    /// Its bytes, so many of them; `None` if everything is dirty.
    fn mixed(&mut self, len: usize) -> Option<&mut [u8]> {
        if *self == Piece::Clean {
            *self = Piece::Mixed(vec![0; len].into());
        }
        match self {
            Piece::Mixed(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Number of granules of a disk. The granularity is not 0.
#[must_use]
pub fn bits_of(size: Sectors, granularity: u32) -> u64 {
    size.0.div_ceil(u64::from(granularity))
}

/// Bytes of a mixed piece of a bitmap of so many bits.
fn piece_bytes(bits: u64, index: usize) -> usize {
    let before = index as u64 * PIECE_BYTES;
    bits.div_ceil(8).saturating_sub(before).min(PIECE_BYTES) as usize
}

fn set_bits(bytes: &mut [u8], first: u64, end: u64) {
    let mut bit = first;
    while bit < end {
        let byte = &mut bytes[(bit / 8) as usize];
        if bit.is_multiple_of(8) && end - bit >= 8 {
            *byte = u8::MAX;
            bit += 8;
        } else {
            *byte |= 1 << (bit % 8);
            bit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::Random;

    fn naive_ranges(naive: &[bool]) -> Vec<(Sector, Sectors)> {
        let mut ranges: Vec<(Sector, Sectors)> = Vec::new();
        for (sector, _) in (0..).zip(naive).filter(|(_, dirty)| **dirty) {
            match ranges.last_mut() {
                Some((start, len)) if start.0 + len.0 == sector => len.0 += 1,
                _ => ranges.push((Sector(sector), Sectors(1))),
            }
        }
        ranges
    }

    fn check(bitmap: &DirtyBitmap, naive: &[bool]) {
        let ranges: Vec<_> = bitmap.ranges().collect();
        assert_eq!(ranges, naive_ranges(naive));
        let dirty = naive.iter().filter(|dirty| **dirty).count() as u64;
        assert_eq!(bitmap.dirty(), Sectors(dirty));
    }

    /// Marks, bytes, growth and ranges against an array of sectors.
    #[test]
    fn a_bitmap_and_an_array_agree() {
        let mut random = Random(11);
        for round in 0..200 {
            let granularity = 1 << random.below(4);
            let mut size = 1 + random.below(if round % 4 == 0 { 600_000 } else { 300 });
            let mut bitmap = DirtyBitmap::new([7; 16], Sectors(size), granularity).expect("sane");
            let mut naive = vec![false; size as usize];
            let mark = |naive: &mut Vec<bool>, start: u64, len: u64| {
                let granularity = u64::from(granularity);
                let size = naive.len() as u64;
                let end = (start + len).min(size).next_multiple_of(granularity);
                if len > 0 && start < size {
                    let first = start / granularity * granularity;
                    naive[first as usize..end.min(size) as usize].fill(true);
                }
            };
            for _ in 0..random.below(12) {
                let start = random.below(size + 3);
                let len = match random.below(4) {
                    0 => random.below(size),
                    _ => random.below(9),
                };
                bitmap.mark(Sector(start), Sectors(len));
                mark(&mut naive, start, len);
            }
            if random.below(3) == 0 {
                let more = random.below(70_000);
                assert!(bitmap.grow(Sectors(size + more)));
                naive.resize((size + more) as usize, false);
                mark(&mut naive, size, more);
                size += more;
            }
            check(&bitmap, &naive);
            let sector = random.below(size);
            assert_eq!(bitmap.is_dirty(Sector(sector)), naive[sector as usize]);
            let mut bytes = vec![0xEE; (bitmap.bits().div_ceil(8) + 5) as usize];
            bitmap.bytes(0, &mut bytes);
            let mut again = DirtyBitmap::new([7; 16], Sectors(size), granularity).expect("sane");
            let cut = random.below(bytes.len() as u64) as usize;
            assert!(again.take(0, &bytes[..cut]) && again.take(cut as u64, &bytes[cut..]));
            check(&again, &naive);
            bitmap.clear();
            assert_eq!(bitmap.ranges().count(), 0);
        }
    }

    #[test]
    fn bits_behind_the_end_are_refused() {
        let mut bitmap = DirtyBitmap::new([0; 16], Sectors(10), 1).expect("sane");
        assert!(bitmap.take(0, &[0xFF, 0x03, 0]));
        assert!(!bitmap.take(1, &[0x04]) && !bitmap.take(2, &[1]));
        assert_eq!(bitmap.alike(0, 10), Some(true));
    }

    #[test]
    fn what_makes_no_bitmap() {
        for granularity in [0, 3, 0x8000_0001] {
            assert_eq!(DirtyBitmap::new([0; 16], Sectors(1), granularity), None);
        }
        assert_eq!(DirtyBitmap::new([0; 16], Sectors(MAX_BITS + 1), 1), None);
        let mut bitmap = DirtyBitmap::new([0; 16], Sectors(9), 2).expect("sane");
        assert!(!bitmap.grow(Sectors(8)) && !bitmap.grow(Sectors(u64::MAX)));
        assert_eq!(bitmap.bits(), 5);
    }
}
