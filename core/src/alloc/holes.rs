//! A bitmap over host clusters with "first clear bit" search.
//!
//! Bits below `base` are set for ever and cost nothing; bits behind the highest one ever set are clear and cost nothing. So
//! the memory follows what is used, not what a header or a sparse file claims.

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    base: u32,
    words: Vec<u64>,
    /// No word before this one has a clear bit.
    full_before: usize,
}

impl Bitmap {
    /// All clear from `base` on.
    pub(crate) fn new(base: u32) -> Bitmap {
        Bitmap {
            base,
            words: Vec::new(),
            full_before: 0,
        }
    }

    fn index(&self, bit: u32) -> Option<(usize, u32)> {
        let bit = bit.checked_sub(self.base)?;
        Some((bit as usize / 64, bit % 64))
    }

    /// Whether a bit is set.
    pub(crate) fn get(&self, bit: u32) -> bool {
        match self.index(bit) {
            None => true,
            Some((word, shift)) => self
                .words
                .get(word)
                .is_some_and(|word| word >> shift & 1 != 0),
        }
    }

    /// Sets a bit.
    pub(crate) fn set(&mut self, bit: u32) {
        let Some((word, shift)) = self.index(bit) else {
            return;
        };
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << shift;
    }

    /// Clears a bit that is not below the base.
    pub(crate) fn clear(&mut self, bit: u32) {
        let Some((word, shift)) = self.index(bit) else {
            return;
        };
        if let Some(bits) = self.words.get_mut(word) {
            *bits &= !(1 << shift);
            self.full_before = self.full_before.min(word);
        }
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
        let bit = u64::from(self.base) + self.full_before as u64 * 64 + u64::from(ones);
        bit.min(u64::from(u32::MAX)) as u32
    }

    /// The first bit above all set ones.
    pub(crate) fn end(&self) -> u32 {
        let used = self.words.iter().rposition(|word| *word != 0);
        let bits = used.map_or(0, |word| {
            word as u64 * 64 + 64 - u64::from(self.words[word].leading_zeros())
        });
        (u64::from(self.base) + bits).min(u64::from(u32::MAX)) as u32
    }

    /// Number of clear bits from the base up to `end`.
    pub(crate) fn clear_below(&self, end: u32) -> u64 {
        let bits = u64::from(end.saturating_sub(self.base));
        let whole = (bits / 64) as usize;
        let set = |words: &[u64]| {
            words
                .iter()
                .map(|word| u64::from(word.count_ones()))
                .sum::<u64>()
        };
        let rest = self
            .words
            .get(whole)
            .map_or(0, |word| word & !(u64::MAX << (bits % 64)));
        bits - set(&self.words[..whole.min(self.words.len())]) - u64::from(rest.count_ones())
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_clear_bit_is_found_after_any_set_and_clear() {
        for base in [0, 7, 4_000_000_000] {
            let mut map = Bitmap::new(base);
            for bit in base..base + 200 {
                assert_eq!(map.first_clear(), bit);
                assert!(!map.get(bit));
                map.set(bit);
            }
            assert_eq!((map.clear_below(base + 200), map.end()), (0, base + 200));
            map.clear(base + 130);
            map.clear(base + 64);
            assert_eq!(
                (map.clear_below(base + 200), map.clear_below(base + 130)),
                (2, 1)
            );
            assert_eq!(map.clear_below(base + 300), 102);
            assert_eq!(map.first_clear(), base + 64);
            map.set(base + 64);
            assert_eq!(map.first_clear(), base + 130);
            map.set(base + 130);
            assert_eq!(map.first_clear(), base + 200);
            assert!(!map.get(base + 5000) && map.bytes() < 100);
        }
    }

    #[test]
    fn what_is_below_the_base_is_set_for_ever() {
        let mut map = Bitmap::new(10);
        map.clear(3);
        assert!(map.get(3) && map.get(9) && !map.get(10));
        assert_eq!(
            (map.first_clear(), map.clear_below(5), map.end()),
            (10, 0, 10)
        );
    }
}
