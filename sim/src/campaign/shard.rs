//! A campaign on several machines: each takes every n-th run, and all of them together take each run once. Where runs build on
//! each other, it is every n-th piece of them: a hunt is not taken apart.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of several parts of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
    pub index: u64,
    /// How many there are, at least one.
    pub count: u64,
}

impl Shard {
    /// The whole campaign.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Which run of the campaign, in pieces of `piece` runs, its run `index` is. `u64::MAX` if it has none of that number.
    #[must_use]
    pub fn run(self, index: u64, piece: u64) -> u64 {
        let own = (index / piece).checked_mul(self.count);
        let own = own.and_then(|own| own.checked_add(self.index)?.checked_mul(piece));
        own.and_then(|first| first.checked_add(index % piece))
            .unwrap_or(u64::MAX)
    }

    /// How many of so many runs, in pieces of `piece`, it takes; `u64::MAX` for a campaign without an end.
    #[must_use]
    pub fn share(self, runs: u64, piece: u64) -> u64 {
        if runs == u64::MAX {
            return u64::MAX;
        }
        let whole = (runs / piece).saturating_sub(self.index);
        let whole = whole.div_ceil(self.count) * piece;
        // Who would take the piece after the last whole one takes the rest.
        let rest = (runs / piece) % self.count == self.index;
        whole + if rest { runs % piece } else { 0 }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, count)) if index < count => Ok(Shard { index, count }),
            _ => Err("must be I/N, and I from 0 to N - 1".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_together_take_each_run_once() {
        for (count, piece) in (1..7).flat_map(|count| [1, 2, 5, 8].map(|piece| (count, piece))) {
            for runs in 0..60 {
                let mut seen = vec![0; runs as usize];
                for index in 0..count {
                    let shard = Shard { index, count };
                    let share = shard.share(runs, piece);
                    (0..share).for_each(|i| seen[shard.run(i, piece) as usize] += 1);
                }
                let once = seen.iter().all(|times| *times == 1);
                assert!(once, "{runs} in {count} by {piece}");
            }
        }
        let last = Shard { index: 2, count: 3 };
        for piece in [1, 8192] {
            assert_eq!(last.share(u64::MAX, piece), u64::MAX);
            assert_eq!(last.run(u64::MAX, piece), u64::MAX);
            // A piece of one shard is a piece of the campaign.
            assert_eq!(last.run(piece - 1, piece), 3 * piece - 1);
            assert_eq!(last.run(piece, piece), 5 * piece);
        }
    }

    #[test]
    fn a_shard_is_written_as_it_is_read() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        assert_eq!(Shard { index: 3, count: 8 }.to_string(), "3/8");
        for wrong in ["", "1", "8/8", "0/0", "-1/2", "1/2/3", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
