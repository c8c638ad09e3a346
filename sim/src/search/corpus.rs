//! What a hunt has learnt: the tapes that showed something new, and what was seen so far.

use super::mutate::mutate;
use crate::profile::Profile;
use crate::tape::{Choice, Span, Watch, mix};
use std::collections::BTreeSet;

/// Most tapes of one profile. Of more, some older one goes.
const MOST_TAPES: usize = 1024;
/// Most features that are remembered; then nothing is new any more.
const MOST_SEEN: usize = 1 << 18;
/// So many of the last tapes are as likely to be changed as all together.
const LATEST: u64 = 24;

/// A tape with its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What was chosen.
    pub choices: Vec<Choice>,
    /// Where its events begin, and what they are.
    pub spans: Vec<Span>,
}

/// Tapes of one profile.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    tapes: Vec<Kept>,
    seen: BTreeSet<u64>,
    /// Tapes that ever came in.
    came: u64,
}

impl Corpus {
    /// Notes a run; its tape is kept if it shows a feature that no run before had. True: it does.
    pub fn learn(
        &mut self,
        features: impl Iterator<Item = u64>,
        choices: &[Choice],
        spans: &[Span],
    ) -> bool {
        let before = self.seen.len();
        for feature in features {
            if self.seen.len() < MOST_SEEN {
                self.seen.insert(feature);
            }
        }
        if self.seen.len() == before {
            return false;
        }
        let kept = Kept {
            choices: choices.to_vec(),
            spans: spans.to_vec(),
        };
        if self.tapes.len() < MOST_TAPES {
            self.tapes.push(kept);
        } else {
            self.tapes
                .remove(mix(self.came) as usize % (MOST_TAPES / 2));
            self.tapes.push(kept);
        }
        self.came += 1;
        true
    }

    /// A tape to change.
    fn pick(&self, drawn: u64) -> Option<&Kept> {
        let all = self.tapes.len() as u64;
        let from = if drawn & 1 == 0 {
            all.saturating_sub(LATEST)
        } else {
            0
        };
        let width = all.checked_sub(from).filter(|width| *width > 0)?;
        self.tapes.get((from + (drawn >> 1) % width) as usize)
    }

    /// Tapes that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tapes.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tapes.is_empty()
    }

    /// Features seen.
    #[must_use]
    pub fn features(&self) -> usize {
        self.seen.len()
    }
}

/// Runs that build on each other.
#[derive(Clone, Debug, Default)]
pub struct Hunt {
    corpora: Vec<(Profile, Corpus)>,
}

impl Hunt {
    /// Begins anew.
    pub fn restart(&mut self) {
        self.corpora.clear();
    }

    /// A changed tape, if there is one to be changed: a function of what the hunt has learnt and of the seed.
    pub fn mutant(&mut self, profile: Profile, seed: u64) -> Option<Kept> {
        let corpus = self.corpus(profile);
        let tape = corpus.pick(mix(seed ^ 0x6f_6e_65))?;
        let other = corpus.pick(mix(seed ^ 0x74_77_6f))?;
        Some(mutate(tape, other, seed))
    }

    /// Notes a run that passed.
    pub fn learn(&mut self, profile: Profile, seen: &Watch, choices: &[Choice], spans: &[Span]) {
        let features = seen.patterns().iter().chain(seen.states()).copied();
        self.corpus(profile).learn(features, choices, spans);
    }

    /// Features seen in runs of a profile.
    #[must_use]
    pub fn features(&self, profile: Profile) -> usize {
        let known = self.corpora.iter().find(|(of, _)| *of == profile);
        known.map_or(0, |(_, corpus)| corpus.features())
    }

    fn corpus(&mut self, profile: Profile) -> &mut Corpus {
        let known = self.corpora.iter().position(|(of, _)| *of == profile);
        let index = known.unwrap_or_else(|| {
            self.corpora.push((profile, Corpus::default()));
            self.corpora.len() - 1
        });
        &mut self.corpora[index].1
    }
}
