//! The length of a file: what is seen, what is durable, and what a crash may leave.
//!
//! A change of length persists independently of data and holes. Two sorts: `AtLeast` (a write beyond the end, an
//! extension) never makes a file shorter; `Exact` (truncation) may. Among durable ones the later to land wins.

use super::cache::{DROPPED, Pending, Stamp};

/// What a pending change does to the length, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LengthChange {
    /// Nothing.
    None,
    /// The file becomes at least this long.
    AtLeast(u64),
    /// The file becomes exactly this long.
    Exact(u64),
}

/// Length of a file in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Length {
    pub(super) visible: u64,
    pub(super) durable: u64,
    /// When the newest durable `Exact` landed: everything that landed before is superseded.
    exact_at: Stamp,
}

impl Length {
    pub(super) fn durable(len: u64) -> Length {
        Length {
            visible: len,
            durable: len,
            exact_at: 0,
        }
    }

    /// A change takes effect in the visible length.
    pub(super) fn land(&mut self, change: LengthChange) {
        match change {
            LengthChange::None => {}
            LengthChange::AtLeast(len) => self.visible = self.visible.max(len),
            LengthChange::Exact(len) => self.visible = len,
        }
    }

    /// Makes durable the lengths of the changes that `covered` tells.
    pub(super) fn commit(&mut self, pending: &[Pending], covered: impl Fn(&Pending) -> bool) {
        let live = |p: &&Pending| self.is_live(p);
        if pending.iter().filter(live).all(&covered) {
            if let Some(last) = pending.iter().filter(live).map(|p| p.length_at).max() {
                self.durable = self.visible;
                self.exact_at = last;
            }
            return;
        }
        let mut done = 0;
        // In the order of landing. There are hardly ever two.
        let next = |done: Stamp, exact_at: Stamp| {
            let waiting = |p: &&Pending| {
                covered(p) && p.length_at > done.max(exact_at) && p.length_at != DROPPED
            };
            pending.iter().filter(waiting).min_by_key(|p| p.length_at)
        };
        while let Some(p) = next(done, self.exact_at) {
            done = p.length_at;
            match p.length {
                LengthChange::None => {}
                LengthChange::AtLeast(len) => self.durable = self.durable.max(len),
                LengthChange::Exact(len) => {
                    self.durable = len;
                    self.exact_at = done;
                }
            }
        }
    }

    /// True if a change still has a length to make durable.
    pub(super) fn is_live(&self, p: &Pending) -> bool {
        let pending = p.length_at != DROPPED && (p.length_at == 0 || p.length_at > self.exact_at);
        !p.dead && p.length != LengthChange::None && pending
    }

    /// Puts the distinct lengths that a crash may leave into `out`, the durable one first. Returns how many there
    /// were before equal ones were joined.
    pub(super) fn candidates(&self, pending: &[Pending], out: &mut Vec<u64>) -> u64 {
        out.clear();
        out.push(self.durable);
        let live = || pending.iter().filter(|p| self.is_live(p));
        let shrinks = live().any(|p| matches!(p.length, LengthChange::Exact(_)));
        let mut nominal = 1;
        for p in live() {
            let len = match p.length {
                LengthChange::AtLeast(len) if len > self.durable || shrinks => len,
                LengthChange::Exact(len) => len,
                LengthChange::AtLeast(_) | LengthChange::None => continue,
            };
            nominal += 1;
            if !out.contains(&len) {
                out.push(len);
            }
        }
        nominal
    }
}
