//! A bitmap over host clusters with "first clear bit" search.

/// Bits beyond the end count as clear.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    /// No word before this one has a clear bit.
    full_before: usize,
}

impl Bitmap {
    /// All clear, with room for `bits`.
    pub(crate) fn new(bits: u32) -> Bitmap {
        Bitmap {
            words: vec![0; (bits as usize).div_ceil(64)],
            full_before: 0,
        }
    }

    /// Whether a bit is set.
    pub(crate) fn get(&self, bit: u32) -> bool {
        self.words
            .get(bit as usize / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    /// Sets a bit. Returns what it was.
    pub(crate) fn set(&mut self, bit: u32) -> bool {
        let index = bit as usize / 64;
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let was = self.get(bit);
        self.words[index] |= 1 << (bit % 64);
        was
    }

    /// Clears a bit. Returns what it was.
    pub(crate) fn clear(&mut self, bit: u32) -> bool {
        let was = self.get(bit);
        if was {
            let index = bit as usize / 64;
            self.words[index] &= !(1 << (bit % 64));
            self.full_before = self.full_before.min(index);
        }
        was
    }

    /// The lowest clear bit.
    pub(crate) fn first_clear(&mut self) -> u32 {
        while self.words.get(self.full_before) == Some(&u64::MAX) {
            self.full_before += 1;
        }
        let ones = self
            .words
            .get(self.full_before)
            .map_or(0, |word| word.trailing_ones());
        (self.full_before as u64 * 64 + u64::from(ones)).min(u64::from(u32::MAX)) as u32
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_clear_bit_is_found_after_any_set_and_clear() {
        let mut map = Bitmap::new(10);
        for bit in 0..200 {
            assert_eq!(map.first_clear(), bit);
            assert!(!map.set(bit));
        }
        assert!(map.clear(130) && map.clear(64) && !map.clear(64));
        assert_eq!(map.first_clear(), 64);
        map.set(64);
        assert_eq!(map.first_clear(), 130);
        map.set(130);
        assert_eq!(map.first_clear(), 200);
        assert!(!map.get(5000));
    }
}
