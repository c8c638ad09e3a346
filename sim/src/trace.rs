//! The trace hash: what a run did, in 64 bits. Same tape, same run, same hash, on every platform.
//!
//! Not cryptographic: it tells a run that diverged from one that did not.

/// Hash of a sequence of words, fed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash {
    state: u64,
    words: u64,
}

/// An odd constant with well-spread bits (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const STIR: u64 = 0xd6e8_feb8_6659_fd93;

impl Default for TraceHash {
    fn default() -> TraceHash {
        TraceHash::new()
    }
}

impl TraceHash {
    /// The hash of nothing.
    #[must_use]
    pub const fn new() -> TraceHash {
        TraceHash {
            state: SPREAD,
            words: 0,
        }
    }

    /// Adds one word.
    #[inline]
    pub fn push(&mut self, word: u64) {
        let mixed = (self.state ^ word).wrapping_mul(SPREAD);
        self.state = mixed ^ (mixed >> 32);
        self.words = self.words.wrapping_add(1);
    }

    /// Adds bytes: their number, then their words.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.push(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.push(u64::from_le_bytes(word));
        }
    }

    /// The hash of all words so far. More may follow.
    #[must_use]
    pub fn value(&self) -> u64 {
        let mut h = self.state ^ self.words;
        h = (h ^ (h >> 32)).wrapping_mul(STIR);
        h = (h ^ (h >> 32)).wrapping_mul(STIR);
        h ^ (h >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn hash(words: &[u64]) -> u64 {
        let mut h = TraceHash::new();
        words.iter().for_each(|&w| h.push(w));
        h.value()
    }

    #[test]
    fn the_value_is_the_same_everywhere() {
        // Literals: a change here breaks the trace hash of every stored tape.
        assert_eq!(hash(&[]), 5_627_194_300_713_089_401);
        assert_eq!(hash(&[1, 2, 3]), 4_669_244_608_772_574_445);
    }

    #[test]
    fn order_length_and_every_bit_matter() {
        let mut seen = BTreeSet::new();
        for words in [
            &[][..],
            &[0],
            &[0, 0],
            &[1],
            &[1, 0],
            &[0, 1],
            &[1, 2],
            &[2, 1],
        ] {
            assert!(seen.insert(hash(words)), "{words:?}");
        }
        for bit in 0..64 {
            assert!(seen.insert(hash(&[7, 1 << bit, 9])), "bit {bit}");
        }
    }

    #[test]
    fn bytes_with_different_tails_differ() {
        let mut a = TraceHash::new();
        let mut b = TraceHash::new();
        a.push_bytes(&[1, 2, 3]);
        b.push_bytes(&[1, 2, 3, 0]);
        assert_ne!(a.value(), b.value());
    }
}
