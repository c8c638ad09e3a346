//! Which source a read of zeros came from. Zeros are not unique: the initial content, writes of zeros and discards all make them.
//!
//! A read whose source is open is kept as an interval, and the history is good if *some* assignment of all such reads to
//! sources is free of contradictions (`reign`). What follows for the future (closed, doomed) is what follows from *every*
//! good assignment. Two shortcuts keep this rare and small; both lose nothing:
//! * *harmless*: a source that was read already and whose reign already spans the read changes nothing;
//! * *dominated*: source U is not tried if W demands less of everybody else. For a read `[a, b]`: W was submitted before
//!   `a`, `f(W) <= b`, `f(W) >= f(U)`, `f(W) >= s(U)`, `end(W) >= end(U)`. Take a good assignment that gives this read to
//!   U, and move to W all of U's reads of which the same holds. `f(W)` stays; what contradicts the longer W contradicts
//!   U's longer `[f(U), a]` too, as `f(U) <= f(W)`; and W does not stand before U, whose other reads started before
//!   `f(W)`. Non-zero values are closed and doomed alike. (`f(W)` stays if no read that ended before `b` is still to be
//!   assigned; so a search assigns reads in the order of their ends.)
//!
//! The only approximation: a search that becomes too costly ([`BUDGET`]) gives up, and the open reads of that sector are forgotten,
//! which can miss a violation and never makes one up.

use crate::durable::ReadThenFlush;
use crate::op::Value;
use crate::reign::{self, Reign, Time};

/// What one search may cost: steps, each worth the square of the number of reigns.
const BUDGET: u64 = 100_000;

/// A read of zeros whose source is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenRead {
    pub(crate) start: Time,
    pub(crate) end: Time,
}

impl OpenRead {
    /// Could it have seen this reign, as far as that reign alone can tell?
    pub(crate) fn could_see(&self, reign: &Reign) -> bool {
        reign.value == Value::ZERO && reign.start < self.end && !reign.closed
    }

    /// Does the reign span the read already?
    fn is_harmless_to(&self, reign: &Reign) -> bool {
        reign.read && reign.first_end <= self.end && reign.last_start >= self.start
    }

    fn is_dominated(&self, reigns: &[Reign], u: usize) -> bool {
        let old = &reigns[u];
        reigns.iter().enumerate().any(|(i, w)| {
            i != u
                && self.could_see(w)
                && w.start < self.start
                && w.first_end <= self.end
                && w.first_end >= old.first_end.max(old.last_start)
                && w.end >= old.end
        })
    }
}

/// Where a read of zeros belongs.
pub(crate) enum Source {
    /// Nothing explains it.
    None,
    /// It says nothing new.
    Harmless,
    /// The only source, or the best.
    One(usize),
    /// Several.
    Open,
}

/// Finds the source of `read`, which ended later than the `others` that are open. With others open no source dominates
/// another one yet: one of them may still lower `f(W)`.
pub(crate) fn source(reigns: &mut [Reign], read: OpenRead, others: &[OpenRead]) -> Source {
    let mut found = Source::None;
    for i in 0..reigns.len() {
        if !read.could_see(&reigns[i]) {
            continue;
        }
        if read.is_harmless_to(&reigns[i]) {
            return Source::Harmless;
        }
        if others.is_empty() && read.is_dominated(reigns, i) || !fits(reigns, i, read) {
            continue;
        }
        found = match found {
            Source::None => Source::One(i),
            _ => Source::Open,
        };
    }
    found
}

fn fits(reigns: &mut [Reign], i: usize, read: OpenRead) -> bool {
    let before = reigns[i];
    reigns[i] = before.with_read(read.start, read.end);
    let good = !reign::contradicts(reigns, i);
    reigns[i] = before;
    good
}

/// The outcome of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Some assignment is good.
    Explained,
    /// None is.
    Unexplained,
    /// Not known.
    GaveUp,
}

/// What the good assignments say of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opinion {
    /// True in all of them.
    pub(crate) always: bool,
    /// False in all of them.
    never: bool,
}

impl Opinion {
    const NONE_YET: Opinion = Opinion {
        always: true,
        never: true,
    };

    /// The same in all of them.
    pub(crate) fn agreed(self) -> bool {
        self.always || self.never
    }

    fn hear(&mut self, statement: bool) {
        self.always &= statement;
        self.never &= !statement;
    }
}

/// What the good assignments say of one reign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    /// It is over.
    pub(crate) over: Opinion,
    /// It is older than one that was read.
    pub(crate) older: Opinion,
}

/// The search, and what it found: reusable, so that no search allocates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    work: Vec<Reign>,
    /// One a reign.
    pub(crate) findings: Vec<Finding>,
    found: bool,
    steps_left: u64,
}

impl Search {
    pub(crate) fn run(
        &mut self,
        reigns: &[Reign],
        open: &[OpenRead],
        oldest_read: Time,
        rule: ReadThenFlush,
    ) -> Verdict {
        self.work.clear();
        self.work.extend_from_slice(reigns);
        self.findings.clear();
        self.findings.resize(
            reigns.len(),
            Finding {
                over: Opinion::NONE_YET,
                older: Opinion::NONE_YET,
            },
        );
        self.found = false;
        let reigns = reigns.len() as u64;
        self.steps_left = BUDGET / (reigns * reigns).max(1);
        self.assign(open, oldest_read, rule);
        match (self.steps_left == 0, self.found) {
            (true, _) => Verdict::GaveUp,
            (false, true) => Verdict::Explained,
            (false, false) => Verdict::Unexplained,
        }
    }

    fn assign(&mut self, open: &[OpenRead], oldest_read: Time, rule: ReadThenFlush) {
        self.steps_left = self.steps_left.saturating_sub(1);
        if self.steps_left == 0 {
            return;
        }
        let Some((&read, rest)) = open.split_first() else {
            self.found = true;
            for (i, finding) in self.findings.iter_mut().enumerate() {
                finding
                    .over
                    .hear(reign::is_over(&self.work, i, oldest_read));
                finding
                    .older
                    .hear(reign::is_older_than_one_read(&self.work, i, rule));
            }
            return;
        };
        if self
            .work
            .iter()
            .any(|r| read.could_see(r) && read.is_harmless_to(r))
        {
            return self.assign(rest, oldest_read, rule);
        }
        for i in 0..self.work.len() {
            if !read.could_see(&self.work[i])
                || read.is_dominated(&self.work, i)
                || !fits(&mut self.work, i, read)
            {
                continue;
            }
            let before = self.work[i];
            self.work[i] = before.with_read(read.start, read.end);
            self.assign(rest, oldest_read, rule);
            self.work[i] = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reign::NEVER;

    /// Reads one after the other, any of which may have seen any of as many discards in flight: far too many ways.
    fn too_many(n: u64) -> (Vec<Reign>, Vec<OpenRead>) {
        let mut reigns = vec![Reign::initial(Value::of(1, 0))];
        reigns.extend((0..n).map(|i| Reign::submitted(Value::ZERO, 1 + i)));
        let reads = (0..n).map(|i| OpenRead {
            start: 100 * i + 50,
            end: 100 * i + 60,
        });
        (reigns, reads.collect())
    }

    #[test]
    fn a_search_that_is_too_costly_says_so_and_one_that_is_not_does_not() {
        let mut search = Search::default();
        let (reigns, mut reads) = too_many(12);
        let verdict = search.run(&reigns, &reads, NEVER, ReadThenFlush::AnyRead);
        assert_eq!(verdict, Verdict::GaveUp);
        // Nor does it claim that there is no way, when the last read has none.
        reads.push(OpenRead { start: 0, end: 1 });
        let verdict = search.run(&reigns, &reads, NEVER, ReadThenFlush::AnyRead);
        assert_eq!(verdict, Verdict::GaveUp);
        let (reigns, mut reads) = too_many(3);
        let verdict = search.run(&reigns, &reads, NEVER, ReadThenFlush::AnyRead);
        assert_eq!(verdict, Verdict::Explained);
        assert!(search.findings[0].over.always && search.findings[0].older.always);
        assert!(!search.findings[1].over.always);
        reads.push(OpenRead { start: 0, end: 1 });
        let verdict = search.run(&reigns, &reads, NEVER, ReadThenFlush::AnyRead);
        assert_eq!(verdict, Verdict::Unexplained);
    }

    #[test]
    fn a_source_was_submitted_before_the_read_ended() {
        let mut reigns = vec![
            Reign::initial(Value::of(1, 0)),
            Reign::submitted(Value::ZERO, 10),
        ];
        let read = |end| OpenRead { start: 5, end };
        assert!(matches!(source(&mut reigns, read(9), &[]), Source::None));
        assert!(matches!(source(&mut reigns, read(11), &[]), Source::One(1)));
        reigns[1].closed = true;
        assert!(matches!(source(&mut reigns, read(12), &[]), Source::None));
    }
}
