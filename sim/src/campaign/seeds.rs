//! Which run has which seed and which profile.

use crate::profile::Profile;

/// The seeds of a campaign's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// Run `i` has the seed that this base and `i` mix to; there is no end of them.
    Base(u64),
    /// The first run has this seed, the next one the next, up to the last, which belongs to them.
    Range {
        /// First seed.
        first: u64,
        /// Last seed.
        last: u64,
    },
}

impl Seeds {
    /// Number of runs; `u64::MAX` if there is no end.
    #[must_use]
    pub fn count(self) -> u64 {
        match self {
            Seeds::Base(_) => u64::MAX,
            Seeds::Range { first, last } => (last - first).saturating_add(1),
        }
    }

    /// Seed of run `index`.
    #[must_use]
    pub fn seed(self, index: u64) -> u64 {
        match self {
            Seeds::Base(base) => mix(base, index),
            Seeds::Range { first, .. } => first.wrapping_add(index),
        }
    }

    /// Seed of canary `index`: none of the runs' own.
    pub(super) fn canary(self, index: u64) -> u64 {
        let (Seeds::Base(base) | Seeds::Range { first: base, .. }) = self;
        mix(!base, index)
    }
}

/// The profiles of a campaign's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All runs have this one.
    Only(Profile),
    /// Each seed has one of all profiles, the quick ones more often.
    All,
}

/// How many of the seeds a profile gets in a mix: none takes nearly all of the time.
const WEIGHTS: [(Profile, u64); 4] = [
    (Profile::Tiny, 160),
    (Profile::Default, 20),
    (Profile::Faults, 20),
    (Profile::Big, 1),
];

/// Sets the draw of the profile apart from the draws of the run.
const PROFILE_STREAM: u64 = 0x70_72_6f_66_69_6c_65;

impl Mix {
    /// The profile of the run with that seed.
    #[must_use]
    pub fn profile(self, seed: u64) -> Profile {
        match self {
            Mix::Only(profile) => profile,
            Mix::All => {
                let total: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
                let mut left = mix(PROFILE_STREAM, seed) % total;
                for (profile, weight) in WEIGHTS {
                    if left < weight {
                        return profile;
                    }
                    left -= weight;
                }
                Profile::Tiny
            }
        }
    }
}

/// Spreads `index` over all seeds, each base its own way (the finalizer of SplitMix64 over two words).
fn mix(base: u64, index: u64) -> u64 {
    scramble(scramble(base).wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_seeds_of_a_campaign_are_the_same_for_ever() {
        // Literals: a reported pair of base and index must find its run again.
        assert_eq!(Seeds::Base(0).seed(0), 0);
        assert_eq!(Seeds::Base(1).seed(2), mix(1, 2));
        assert_eq!(
            Seeds::Range {
                first: 7,
                last: u64::MAX
            }
            .seed(3),
            10
        );
    }

    #[test]
    fn neighbours_have_nothing_in_common() {
        let mut seen = BTreeSet::new();
        for base in 0..20 {
            for index in 0..500 {
                assert!(seen.insert(Seeds::Base(base).seed(index)), "{base} {index}");
                assert!(
                    seen.insert(Seeds::Base(base).canary(index)),
                    "{base} {index}"
                );
            }
        }
    }

    #[test]
    fn a_range_has_its_last_seed_and_no_more() {
        let count = |first, last| Seeds::Range { first, last }.count();
        assert_eq!(count(5, 5), 1);
        assert_eq!(count(5, 9), 5);
        assert_eq!(count(0, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_mix_has_every_profile_by_its_weight() {
        let mut seen = BTreeMap::new();
        for index in 0..20_100 {
            *seen
                .entry(Mix::All.profile(Seeds::Base(9).seed(index)))
                .or_insert(0) += 1;
        }
        for (profile, weight) in WEIGHTS {
            let (got, want) = (seen[&profile], weight as i64 * 100);
            assert!(
                (got - want).abs() < 50 + want / 5,
                "{profile}: {got}, not about {want}"
            );
        }
        assert_eq!(Mix::Only(Profile::Big).profile(3), Profile::Big);
    }
}
