//! Whether there is anything left to see: how many different runs a campaign has seen, how many different patterns of
//! events, and how much there is, by the Good-Turing estimate, that it has not.
//!
//! * *Traces*: happens-before hashes of whole runs (see [`Watch`]). Unseen mass: the share of runs whose trace was seen once;
//!   the next run has a trace that was not seen with about this probability. Worlds draw their operations, so hardly two runs
//!   are alike: this number says how large the space is.
//! * *Patterns*: the last three events of an object, and of all. Unseen: patterns that only one run had, over runs; so many
//!   new patterns the next run has on average. This comes down, and is what a campaign can be stopped by.
//!
//! Watching takes a fifth of the time of a tiny run. So one run of [`ONE_IN`] is watched, chosen by its seed; all are where
//! somebody wants to stop by what is seen, or an engine needs it. Estimates are about the runs that were watched: of all runs
//! less is unseen than they say.
//!
//! Runs that passed are counted, each once, whatever thread or machine they ran on: see [`Sketch`] for how merging loses
//! nothing and memory is bounded.

use super::sketch::Sketch;
use crate::tape::{Watch, mix};
use serde::{Deserialize, Serialize};

/// One run of so many is watched, if nobody needs more.
pub const ONE_IN: u64 = 16;
/// Sets the choice of those apart from the draws of the run.
const STREAM: u64 = 0x77_61_74_63_68;

/// True for the seed of a run that is watched in any case.
#[must_use]
pub fn is_watched(seed: u64) -> bool {
    mix(seed ^ STREAM).is_multiple_of(ONE_IN)
}

/// From so many runs on the estimate is taken for what it says.
pub const LEAST_RUNS: u64 = 4096;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saturation {
    runs: u64,
    traces: Sketch,
    patterns: Sketch,
}

impl Saturation {
    /// Adds a run. Sorts `patterns`, which is scratch space.
    pub fn add(&mut self, seen: &Watch, patterns: &mut Vec<u64>) {
        self.runs += 1;
        self.traces.add(seen.trace());
        patterns.clear();
        let sampled = seen.patterns().iter().copied();
        patterns.extend(sampled.filter(|pattern| self.patterns.samples(*pattern)));
        patterns.sort_unstable();
        patterns.dedup();
        patterns
            .iter()
            .for_each(|pattern| self.patterns.add(*pattern));
    }

    /// Adds all runs of `other`.
    pub fn merge(&mut self, other: &Saturation) {
        self.runs += other.runs;
        self.traces.merge(&other.traces);
        self.patterns.merge(&other.patterns);
    }

    /// Hands everything over to `all`. Patterns that nobody needs to hear of again become known to `seen`.
    pub fn hand_over(&mut self, all: &mut Saturation, seen: Option<&mut Watch>) {
        if let Some(seen) = seen {
            self.patterns.often().for_each(|pattern| seen.know(pattern));
        }
        all.merge(self);
        self.runs = 0;
        self.traces.clear();
        self.patterns.clear();
    }

    /// Runs that were watched.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The traces.
    #[must_use]
    pub fn traces(&self) -> &Sketch {
        &self.traces
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &Sketch {
        &self.patterns
    }

    /// Probability that the next run's trace was not seen.
    #[must_use]
    pub fn unseen_traces(&self) -> f64 {
        self.share(self.traces.once()).min(1.0)
    }

    /// New patterns that the next run brings, on average.
    #[must_use]
    pub fn unseen_patterns(&self) -> f64 {
        self.share(self.patterns.once())
    }

    /// True if the next run brings no more than so many new patterns, and there were enough runs to say so.
    #[must_use]
    pub fn is_down_to(&self, unseen: f64) -> bool {
        self.runs >= LEAST_RUNS && self.unseen_patterns() <= unseen
    }

    fn share(&self, once: u64) -> f64 {
        match self.runs {
            0 => 1.0,
            runs => once as f64 / runs as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Event, Label, Object};

    /// Runs of one event each, on what this says.
    fn runs(events: impl Iterator<Item = Object>) -> Saturation {
        let (mut saturation, mut watch, mut scratch) = Default::default();
        for object in events {
            let event = Event::Submit;
            Watch::restart(&mut watch);
            watch.see(&Label {
                event,
                object,
                ..Label::default()
            });
            Saturation::add(&mut saturation, &watch, &mut scratch);
        }
        saturation
    }

    #[test]
    fn what_was_seen_once_is_the_share_of_what_was_not_seen() {
        // Alike but for the address, except two.
        let alike = (0..8).map(Object::Write);
        let seen = runs(alike.chain([Object::Discard(1), Object::Read(1)]));
        assert_eq!((seen.runs(), seen.traces().distinct()), (10, 3));
        assert!((seen.unseen_traces() - 0.2).abs() < 1e-9);
        assert!(
            seen.unseen_patterns() > 0.0 && !seen.is_down_to(1.0),
            "too few runs"
        );
        let many = runs((0..LEAST_RUNS as u32).map(Object::Write));
        assert_eq!(many.traces().distinct(), 1);
        assert!(many.is_down_to(0.0));
        assert!((Saturation::default().unseen_traces() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn handing_over_in_parts_is_adding_all() {
        let events = || {
            (0..200).map(|at| {
                [Object::Read(0), Object::Write(at), Object::Fua(at % 7)][at as usize % 3]
            })
        };
        let whole = runs(events());
        let (mut all, mut known) = (Saturation::default(), Watch::default());
        for part in 0..4 {
            let mut own = runs(events().skip(part * 50).take(50));
            own.hand_over(&mut all, Some(&mut known));
            assert_eq!(own.runs(), 0);
        }
        assert_eq!(all, whole);
    }
}
