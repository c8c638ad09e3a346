//! When a content may be what a crash leaves in a sector.

use super::{Change, Moment, NEVER};

/// A content, and the moments at which a crash may leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) content: u64,
    /// The first moment.
    pub(super) from: Moment,
    /// The moment behind the last.
    pub(super) until: Moment,
    /// From when on it, or something later, is surely there.
    pub(super) durable: Moment,
}

impl Span {
    /// True if there is such a moment in the window.
    pub(super) fn meets(&self, (first, last): (Moment, Moment)) -> bool {
        self.from <= last && first < self.until
    }

    /// True if all of the window are such moments.
    pub(super) fn covers(&self, (first, last): (Moment, Moment)) -> bool {
        self.from <= first && last < self.until
    }

    pub(super) fn holds(&self, moment: Moment) -> bool {
        self.from <= moment && moment < self.until
    }
}

/// The spans of each sector: what was there at first, then the changes in the order of submission.
pub(super) fn spans(initial: &[u64], used: u64, changes: &[Change]) -> Vec<Vec<Span>> {
    let mut of_sector: Vec<Vec<&Change>> = vec![Vec::new(); used as usize];
    for change in changes {
        for sector in change.first..change.end {
            of_sector[sector as usize].push(change);
        }
    }
    let sectors = (0u64..).zip(&of_sector);
    sectors
        .map(|(sector, changes)| {
            let content = initial.get(sector as usize).copied().unwrap_or(0);
            of(sector, content, changes)
        })
        .collect()
}

fn of(sector: u64, initial: u64, changes: &[&Change]) -> Vec<Span> {
    // The earliest moment at which something is durable that was submitted behind `completed`.
    let superseded = |completed: Moment| {
        let later = changes
            .iter()
            .filter(|change| change.submitted > completed)
            .map(|change| change.durable(sector));
        later.min().unwrap_or(NEVER)
    };
    let first = Span {
        content: initial,
        from: 0,
        until: superseded(0),
        durable: 0,
    };
    let rest = changes.iter().map(|change| Span {
        content: change.content(sector),
        from: change.submitted,
        until: match change.completed {
            NEVER => NEVER,
            completed => superseded(completed),
        },
        durable: change.durable(sector),
    });
    std::iter::once(first).chain(rest).collect()
}
