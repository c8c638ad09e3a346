//! From when on was it inevitable? Each prefix of the tape is continued by chance, many times; the share of
//! continuations that fail in the same way is the fate of the run at that step.

use crate::campaign::Make;
use crate::profile::Profile;
use crate::report::Failure;
use crate::shrink::trial::{Signature, run};
use crate::tape::{Event, Tape, TapeFile};
use serde::Serialize;

/// Prefixes that are looked at, at the most; of longer tapes, evenly spread ones.
const MOST_PREFIXES: usize = 400;

/// Events of all continuations together, more or less: some tens of seconds.
const MOST_EVENTS: usize = 10_000_000;

/// The fate after one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fate {
    /// Events of the tape that are kept; 0: none, not even the shape of the image.
    pub step: usize,
    /// The name of the last of them.
    pub name: String,
    /// Continuations.
    pub runs: u32,
    /// Those that failed in the same way.
    pub failed: u32,
}

impl Fate {
    /// The share of continuations that failed.
    #[must_use]
    pub fn rate(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.runs.max(1))
    }
}

/// The fates of a tape, step by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fates {
    /// One for each prefix that was looked at, rising.
    pub list: Vec<Fate>,
    /// Of a long tape only every so many-th prefix was looked at.
    pub every: usize,
    /// The step after which every continuation failed.
    pub inevitable: Option<usize>,
}

impl Fates {
    /// The step before it was inevitable that raised the share most, if one raised it by a tenth or more.
    #[must_use]
    pub fn largest_rise(&self) -> Option<(&Fate, &Fate)> {
        let open = |fate: &Fate| self.inevitable.is_none_or(|step| fate.step < step);
        let pairs = self.list.iter().zip(self.list.iter().skip(1));
        let rise = |(before, after): &(&Fate, &Fate)| after.rate() - before.rate();
        pairs
            .filter(|pair| open(pair.1) && rise(pair) >= 0.1)
            .max_by(|a, b| rise(a).total_cmp(&rise(b)))
    }

    /// The fate after a step: that of the longest prefix up to it.
    #[must_use]
    pub fn after(&self, step: usize) -> Option<&Fate> {
        self.list.iter().rev().find(|fate| fate.step <= step)
    }
}

/// Continues each prefix of a failing tape (with named events) `samples` times.
pub(super) fn fates(
    file: &TapeFile,
    profile: Profile,
    make: Make,
    failure: &Failure,
    samples: u32,
) -> Fates {
    let wanted = Signature::of(failure);
    if samples == 0 {
        return Fates::default();
    }
    let events = file.spans.len();
    let work = events * events * samples as usize;
    let every = events
        .div_ceil(MOST_PREFIXES)
        .max(work.div_ceil(MOST_EVENTS))
        .max(1);
    let mut subject = None;
    let mut tape = Tape::from_seed(0);
    let mut list = Vec::new();
    for step in (0..=file.spans.len()).filter(|step| step % every == 0 || *step == file.spans.len())
    {
        let stops = step > 0 && file.spans[step - 1].label.event == Event::Stop;
        if stops {
            // Chance submits again: no event that can be inevitable.
            continue;
        }
        let end = file.spans.get(step).map_or(file.choices.len(), |s| s.at);
        let mut failed = 0;
        for sample in 0..samples {
            let seed = (step as u64) << 32 | u64::from(sample);
            tape.restart_prefix(&file.choices[..end], &file.spans[..step], seed);
            let result = run(make, profile, &mut subject, &mut tape);
            let same = result.is_err_and(|failure| Signature::of(&failure) == wanted);
            failed += u32::from(same);
        }
        list.push(Fate {
            step,
            name: match step {
                0 => "nothing".to_owned(),
                _ => file.spans[step - 1].label.to_string(),
            },
            runs: samples,
            failed,
        });
    }
    let certain = |fate: &&Fate| fate.runs > 0 && fate.failed == fate.runs;
    let inevitable = list.iter().rev().take_while(certain).last();
    let inevitable = inevitable.map(|fate| fate.step);
    Fates {
        list,
        every,
        inevitable,
    }
}
