//! A campaign on several machines: each takes every n-th run, and all of them together take each run once.

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

    /// Which run of the campaign its run `index` is. `u64::MAX` if it has none of that number.
    #[must_use]
    pub fn run(self, index: u64) -> u64 {
        let run = index.checked_mul(self.count);
        run.and_then(|run| run.checked_add(self.index))
            .unwrap_or(u64::MAX)
    }

    /// How many of so many runs it takes; `u64::MAX` for a campaign without an end.
    #[must_use]
    pub fn share(self, runs: u64) -> u64 {
        match runs {
            u64::MAX => u64::MAX,
            runs => runs.saturating_sub(self.index).div_ceil(self.count),
        }
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
        for count in 1..7 {
            for runs in 0..40 {
                let mut seen = vec![0; runs as usize];
                for index in 0..count {
                    let shard = Shard { index, count };
                    (0..shard.share(runs)).for_each(|i| seen[shard.run(i) as usize] += 1);
                }
                assert!(seen.iter().all(|times| *times == 1), "{runs} in {count}");
            }
        }
        let last = Shard { index: 2, count: 3 };
        assert_eq!(last.share(u64::MAX), u64::MAX);
        assert_eq!(last.run(u64::MAX), u64::MAX);
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
