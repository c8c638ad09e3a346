//! How many different things were seen, and how many of them only once, in bounded memory.
//!
//! 1. Things are hashes of 64 bits. Of those whose first `level` bits are zero all are kept, each with "once" or "more than
//!    once"; of the others none. When more than [`MOST`] would be kept, the level rises by one and half of them go.
//! 2. So what is kept is a function of what was added, however often and in whatever order, and two sketches put together
//!    are the sketch of everything: nothing is lost by merging.
//! 3. Level 0: the counts are exact. Else they are estimates from a sample of 8,192 or more: off by about one in a hundred.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most hashes that are kept.
const MOST: usize = 16_384;

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Lists", into = "Lists")]
pub struct Sketch {
    level: u32,
    /// True: seen more than once.
    seen: BTreeMap<u64, bool>,
}

/// A sketch in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lists {
    level: u32,
    once: Vec<u64>,
    more: Vec<u64>,
}

impl From<Sketch> for Lists {
    fn from(sketch: Sketch) -> Lists {
        let of = |wanted: bool| {
            let those = sketch.seen.iter().filter(|(_, more)| **more == wanted);
            those.map(|(hash, _)| *hash).collect()
        };
        Lists {
            level: sketch.level,
            once: of(false),
            more: of(true),
        }
    }
}

impl From<Lists> for Sketch {
    fn from(lists: Lists) -> Sketch {
        let mut sketch = Sketch {
            level: lists.level.min(63),
            ..Sketch::default()
        };
        lists.once.iter().for_each(|hash| sketch.put(*hash, false));
        lists.more.iter().for_each(|hash| sketch.put(*hash, true));
        sketch
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (distinct, once) = (self.distinct(), self.once());
        write!(f, "Sketch({distinct} things, {once} of them once)")
    }
}

impl Sketch {
    /// Adds a thing.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        if self.samples(hash) {
            self.put(hash, false);
        }
    }

    /// True if the thing is one of those that are kept.
    #[inline]
    #[must_use]
    pub fn samples(&self, hash: u64) -> bool {
        hash.leading_zeros() >= self.level
    }

    /// Adds all that another one has seen.
    pub fn merge(&mut self, other: &Sketch) {
        self.rise(other.level);
        for (hash, more) in &other.seen {
            self.put(*hash, *more);
        }
    }

    fn put(&mut self, hash: u64, more: bool) {
        if !self.samples(hash) {
            return;
        }
        let times = self.seen.entry(hash);
        times.and_modify(|more| *more = true).or_insert(more);
        if self.seen.len() > MOST && self.level < 63 {
            self.rise(self.level + 1);
        }
    }

    fn rise(&mut self, level: u32) {
        if level > self.level {
            self.level = level;
            self.seen.retain(|hash, _| hash.leading_zeros() >= level);
        }
    }

    /// Forgets everything, and keeps the level.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// One thing of so many is kept.
    #[must_use]
    pub fn one_in(&self) -> u64 {
        1 << self.level
    }

    /// Different things.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        (self.seen.len() as u64) << self.level
    }

    /// Different things that were seen once.
    #[must_use]
    pub fn once(&self) -> u64 {
        (self.seen.values().filter(|more| !**more).count() as u64) << self.level
    }

    /// The things that are kept and were seen more than once.
    pub fn often(&self) -> impl Iterator<Item = u64> + '_ {
        let often = self.seen.iter().filter(|(_, more)| **more);
        often.map(|(hash, _)| *hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::mix;

    /// Of these things, added so many times each.
    fn sketch(things: impl Iterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::default();
        things.for_each(|thing| sketch.add(mix(thing + 1)));
        sketch
    }

    #[test]
    fn few_things_are_counted_exactly() {
        let seen = sketch((0..1000).chain(0..400).chain(0..10));
        assert_eq!(
            (seen.distinct(), seen.once(), seen.one_in()),
            (1000, 600, 1)
        );
        assert_eq!(seen.often().count(), 400);
    }

    #[test]
    fn many_things_are_estimated_in_the_same_memory() {
        let (all, again) = (300_000, 100_000);
        let seen = sketch((0..all).chain(0..again));
        assert!(seen.seen.len() <= MOST && seen.one_in() == 32);
        let off = |estimate: u64, truth: u64| (estimate as f64 / truth as f64 - 1.0).abs();
        assert!(off(seen.distinct(), all) < 0.04, "{}", seen.distinct());
        assert!(off(seen.once(), all - again) < 0.06, "{}", seen.once());
    }

    #[test]
    fn parts_put_together_are_the_whole() {
        let things: Vec<u64> = (0..60_000).chain(0..20_000).chain(90_000..90_500).collect();
        let whole = sketch(things.iter().copied());
        for parts in [2, 3, 7] {
            let mut merged = Sketch::default();
            for part in 0..parts {
                let own = things.iter().skip(part).step_by(parts);
                let own = sketch(own.copied());
                let text = serde_json::to_string(&own).expect("a sketch can be written");
                let read: Sketch = serde_json::from_str(&text).expect("and read");
                assert_eq!(read, own);
                merged.merge(&read);
            }
            assert_eq!(merged, whole, "{parts} parts");
        }
        let backwards = sketch(things.iter().rev().copied());
        assert_eq!(backwards, whole);
    }

    #[test]
    fn a_sketch_that_begins_anew_keeps_its_level() {
        let mut seen = sketch(0..20_000);
        let level = seen.one_in();
        seen.clear();
        assert_eq!((seen.distinct(), seen.one_in()), (0, level));
    }
}
