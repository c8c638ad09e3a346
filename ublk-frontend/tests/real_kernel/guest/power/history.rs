//! What clients did, and what the model says of a state between two marks.

use model::disk::{Model, OpId};
use model::op::{End, Kind, Op, Value};

use super::super::judge::Event;
use super::super::trouble::{Trouble, demand};
use super::CLUSTER;

/// What a client did last to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing, or something that says nothing about its mapping.
    Unknown,
    /// A write in flight: how many.
    Writing(u32),
    /// An acknowledged write.
    Written,
}

/// See the module. Goes forward only.
pub(super) struct History {
    events: Vec<Event>,
    model: Model,
    /// Events that the model has seen.
    seen: usize,
    /// Of each event that is a submission.
    ids: Vec<Option<OpId>>,
    clusters: Vec<Last>,
}

impl History {
    /// Of a disk of zeros.
    pub(super) fn new(events: Vec<Event>, sectors: u64) -> History {
        let ids = vec![None; events.len()];
        let clusters = vec![Last::Unknown; (sectors / CLUSTER) as usize];
        History {
            events,
            model: Model::new(sectors),
            seen: 0,
            ids,
            clusters,
        }
    }

    fn position(&self, mark: u32) -> Option<usize> {
        let from = self.seen.saturating_sub(1);
        let found = self
            .events
            .iter()
            .skip(from)
            .position(|event| matches!(event, Event::Mark(m) if *m == mark));
        found.map(|at| from + at)
    }

    /// Takes in all that had happened before this mark was put into the log.
    pub(super) fn advance(&mut self, mark: u32) -> Result<(), Trouble> {
        let end = self
            .position(2 * mark)
            .ok_or_else(|| format!("mark {mark} is not in the history"))?;
        for at in self.seen..end {
            match &self.events[at] {
                Event::Submit(op, write) => {
                    self.ids[at] = Some(self.model.submit(*op, *write));
                    note_begin(&mut self.clusters, *op);
                }
                Event::End(submitted, end, read) => {
                    if let (Some(id), Event::Submit(op, _)) =
                        (self.ids[*submitted], &self.events[*submitted])
                    {
                        self.model
                            .complete(id, *end, read)
                            .map_err(|violation| violation.to_string())?;
                        note_end(&mut self.clusters, *op, *end);
                    }
                }
                Event::Mark(_) => {}
            }
        }
        self.seen = self.seen.max(end);
        Ok(())
    }

    /// May the disk hold this, if the power was cut between the mark advanced to and the end of `until`?
    pub(super) fn judge(&self, until: u32, content: &[Value]) -> Result<(), Trouble> {
        let mut model = self.model.clone();
        let end = self.position(2 * until + 1).unwrap_or(self.events.len());
        for event in &self.events[self.seen..end.max(self.seen)] {
            if let Event::Submit(op, write) = event {
                model.submit(*op, *write);
            }
        }
        model.crash();
        model
            .check_all_after_crash(content)
            .map_err(|violation| violation.to_string().into())
    }

    /// Clusters that were written, acknowledged, and not touched since.
    pub(super) fn written(&self) -> impl Iterator<Item = u64> {
        let clusters = (0..).zip(&self.clusters);
        clusters
            .filter(|(_, last)| **last == Last::Written)
            .map(|(cluster, _)| cluster)
    }

    /// There is something to judge.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        demand(
            self.events
                .iter()
                .any(|event| matches!(event, Event::End(..))),
            || "nothing happened".to_owned(),
        )
    }
}

fn clusters_of(clusters: &mut [Last], op: Op) -> &mut [Last] {
    let end = (op.start + op.len)
        .div_ceil(CLUSTER)
        .min(clusters.len() as u64);
    &mut clusters[(op.start / CLUSTER).min(end) as usize..end as usize]
}

fn note_begin(clusters: &mut [Last], op: Op) {
    for cluster in clusters_of(clusters, op) {
        *cluster = match (op.kind, *cluster) {
            (Kind::Write { .. }, Last::Writing(n)) => Last::Writing(n + 1),
            (Kind::Write { .. }, _) => Last::Writing(1),
            (Kind::WriteZeroes { .. } | Kind::Discard, _) => Last::Unknown,
            (Kind::Read | Kind::Flush | Kind::Promote { .. }, same) => same,
        };
    }
}

fn note_end(clusters: &mut [Last], op: Op, end: End) {
    if !matches!(op.kind, Kind::Write { .. }) || end != End::Ok {
        return;
    }
    for cluster in clusters_of(clusters, op) {
        *cluster = match *cluster {
            Last::Writing(1) => Last::Written,
            Last::Writing(n) => Last::Writing(n - 1),
            // A discard was submitted after the write: either may be the last.
            other => other,
        };
    }
}
