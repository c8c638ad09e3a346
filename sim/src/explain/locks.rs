//! Who holds a cluster's lock, and who has it next.
//!
//! The core says that a cluster is locked, not by whom. It follows from what is seen:
//! * Whose request comes in the event that locks the cluster has the lock; else it is the first one in order of arrival that
//!   covers the cluster, has not had it, and needs it: a new mapping is made where the top has none, what is un-mapped must be
//!   mapped there.
//! * That may be wrong: a request may have waited elsewhere. When a new cluster is published, who wrote to it first had the lock.
//! * A lock that is let go and taken in one event is seen by the cluster's place, which its holder changes last.

use super::story::Lane;
use crate::world::log::Slot;
use model::op::{Kind, Op};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// A lock that one client leaves, and another one, whose request was there by then, has next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandOver {
    /// The guest cluster.
    pub cluster: u32,
    /// Who had it.
    pub from: Lane,
    /// Row where it was let go.
    pub left: usize,
    /// Who has it next.
    pub to: Lane,
    /// Row where it was taken; the same one if the other was waiting.
    pub taken: usize,
}

/// A request that has no answer.
#[derive(Debug)]
struct Claim {
    client: Lane,
    op: Op,
    step: usize,
    /// Clusters whose lock it has had.
    had: Vec<u32>,
}

/// A lock from when it is taken until it is left.
#[derive(Debug)]
struct Hold {
    cluster: u32,
    holder: Option<Lane>,
    /// Its holder writes nothing: who writes first comes after it.
    fills: bool,
    /// Events in which its request came, and in which it was taken.
    asked: usize,
    step: usize,
    taken: usize,
    /// Event and row.
    left: Option<(usize, usize)>,
}

/// A slot that changed.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    pub(super) step: usize,
    pub(super) row: usize,
    pub(super) cluster: u32,
    /// Sectors of the guest that it is about.
    pub(super) sectors: Range<u64>,
    /// Where the top has it now, in sectors of the file.
    pub(super) host: Option<Range<u64>>,
    pub(super) from: &'a Slot,
    pub(super) to: &'a Slot,
}

/// What a row said of a holder, and should have.
pub(super) struct Mistake {
    pub(super) row: usize,
    pub(super) said: String,
    pub(super) right: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Locks {
    claims: Vec<Claim>,
    /// First sectors of what was written, by whom, in which event.
    written: Vec<(usize, Lane, u64)>,
    holds: Vec<Hold>,
    /// Locks that are held, by cluster.
    held: BTreeMap<u32, usize>,
    /// The last ones that were left, by cluster.
    left: BTreeMap<u32, usize>,
    /// Pairs of holds, one after the other.
    next: Vec<(usize, usize)>,
}

impl Locks {
    pub(super) fn submitted(&mut self, step: usize, client: Lane, op: Op) {
        self.claims.push(Claim {
            client,
            op,
            step,
            had: Vec::new(),
        });
    }

    pub(super) fn finished(&mut self, client: Lane) {
        self.claims.retain(|claim| claim.client != client);
    }

    pub(super) fn writes(&mut self, step: usize, client: Lane, at: u64) {
        self.written.push((step, client, at));
    }

    /// The device is gone, with all that it held.
    pub(super) fn forget(&mut self) {
        self.claims.clear();
        self.held.clear();
        self.left.clear();
    }

    /// Who took the cluster's lock in that row, as far as it is known.
    pub(super) fn holder(&self, cluster: u32, taken: usize) -> Option<Lane> {
        let mut holds = self.holds.iter();
        let found = holds.find(|hold| hold.cluster == cluster && hold.taken == taken);
        found.and_then(|hold| hold.holder)
    }

    pub(super) fn hand_overs(&self) -> Vec<HandOver> {
        let pairs = self.next.iter();
        let over = |&(before, after): &(usize, usize)| {
            let (before, after) = (&self.holds[before], &self.holds[after]);
            let (step, left) = before.left?;
            let over = HandOver {
                cluster: before.cluster,
                from: before.holder?,
                left,
                to: after.holder?,
                taken: after.taken,
            };
            (over.from != over.to && after.asked <= step).then_some(over)
        };
        pairs.filter_map(over).collect()
    }

    /// A slot changed. What there is to say of its lock, and what was said wrongly.
    pub(super) fn changed(&mut self, seen: &Seen<'_>) -> (Vec<String>, Option<Mistake>) {
        let moved = seen.from.place != seen.to.place;
        let (mut told, mut mistake) = (Vec::new(), None);
        let left = seen.from.held && (!seen.to.held || moved);
        if left && let Some(index) = self.held.remove(&seen.cluster) {
            mistake = self.correct(index, seen);
            self.holds[index].left = Some((seen.step, seen.row));
            self.left.insert(seen.cluster, index);
            told.push(said(seen.cluster, "unlocked", self.holds[index].holder));
        }
        if seen.to.held && (left || !seen.from.held) {
            let holder = self.take(seen);
            told.push(said(seen.cluster, "locked", holder));
        }
        (told, mistake)
    }

    /// Whoever wrote first to what is published has made it.
    fn correct(&mut self, index: usize, seen: &Seen<'_>) -> Option<Mistake> {
        let host = seen
            .host
            .as_ref()
            .filter(|_| seen.from.place != seen.to.place)?;
        let hold = &mut self.holds[index];
        let mut since = self.written.iter().filter(|(step, ..)| *step >= hold.step);
        let writer = since.find(|(.., at)| host.contains(at))?.1;
        if hold.fills || hold.holder == Some(writer) {
            return None;
        }
        let said_of = |holder| said(seen.cluster, "locked", holder);
        let mistake = Mistake {
            row: hold.taken,
            said: said_of(hold.holder),
            right: said_of(Some(writer)),
        };
        for claim in &mut self.claims {
            if Some(claim.client) == hold.holder {
                claim.had.retain(|&cluster| cluster != seen.cluster);
            } else if claim.client == writer {
                claim.had.push(seen.cluster);
                hold.asked = claim.step;
            }
        }
        hold.holder = Some(writer);
        Some(mistake)
    }

    fn take(&mut self, seen: &Seen<'_>) -> Option<Lane> {
        let is_new = |claim: &Claim| claim.step == seen.step && claim.covers(seen);
        let new = self.claims.iter().position(is_new);
        let new = new.filter(|_| !seen.from.held);
        let first = || self.claims.iter().position(|claim| claim.needs(seen));
        let holder = new.or_else(first).map(|index| {
            let claim = &mut self.claims[index];
            claim.had.push(seen.cluster);
            let fills = !matches!(claim.op.kind, Kind::Write { .. });
            (claim.client, fills, claim.step)
        });
        let (fills, asked) = holder.map_or((false, seen.step), |(_, fills, step)| (fills, step));
        let holder = holder.map(|(client, ..)| client);
        if let Some(before) = self.left.remove(&seen.cluster) {
            self.next.push((before, self.holds.len()));
        }
        self.held.insert(seen.cluster, self.holds.len());
        self.holds.push(Hold {
            cluster: seen.cluster,
            holder,
            fills,
            asked,
            step: seen.step,
            taken: seen.row,
            left: None,
        });
        holder
    }
}

impl Claim {
    /// It may ever lock the cluster.
    fn covers(&self, seen: &Seen<'_>) -> bool {
        let inside =
            self.op.start < seen.sectors.end && seen.sectors.start < self.op.start + self.op.len;
        inside && !matches!(self.op.kind, Kind::Read | Kind::Flush)
    }

    /// It locks the cluster when it comes to it now.
    fn needs(&self, seen: &Seen<'_>) -> bool {
        let unmaps = matches!(
            self.op.kind,
            Kind::Discard | Kind::WriteZeroes { unmap: true, .. }
        );
        let maps = !matches!(self.op.kind, Kind::Discard);
        let needs = if seen.host.is_some() { unmaps } else { maps };
        needs && self.covers(seen) && !self.had.contains(&seen.cluster)
    }
}

fn said(cluster: u32, how: &str, holder: Option<Lane>) -> String {
    match holder {
        Some(client) => format!("cluster {cluster} {how} by {}", client.name()),
        None => format!("cluster {cluster} {how}"),
    }
}
