//! Which pages are not clean, and which of them want a round in the next turn.
//!
//! * `pages` holds a page exactly while its state is not `Clean` (changed under that page's lock: `Page < Table`).
//! * `ready` holds a page at most once (the page's own `queued` flag says whether it does).
//! * `pushing`: the device is being suspended; from the moment it is set no page becomes `Delayed` by a change.

use std::collections::{BTreeSet, VecDeque};

use crate::sync::{Mutex, Rank};
use crate::units::{Millis, PageId};

#[derive(Debug, Default)]
struct State {
    pages: BTreeSet<PageId>,
    ready: VecDeque<PageId>,
    rounds: u32,
    pushing: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct DirtySet {
    state: Mutex<State>,
    /// `None`: every change is wanted at once (immediate mode).
    delay: Option<Millis>,
}

impl DirtySet {
    pub(crate) fn new(delay: Option<Millis>) -> DirtySet {
        DirtySet {
            state: Mutex::new(Rank::Table, "dirty set", State::default()),
            delay,
        }
    }

    /// A page changed. When it is due; `None`: now.
    pub(crate) fn enter(&self, page: PageId, now: Millis) -> Option<Millis> {
        let mut state = self.state.lock();
        state.pages.insert(page);
        let delay = self.delay.filter(|_| !state.pushing)?;
        Some(Millis(now.0.saturating_add(delay.0)))
    }

    /// A page is clean.
    pub(crate) fn leave(&self, page: PageId) {
        self.state.lock().pages.remove(&page);
    }

    /// A page wants a round.
    pub(crate) fn queue(&self, page: PageId) {
        self.state.lock().ready.push_back(page);
    }

    /// The next page that wants a round.
    pub(crate) fn next_ready(&self) -> Option<PageId> {
        self.state.lock().ready.pop_front()
    }

    /// A round started.
    pub(crate) fn round_started(&self) {
        self.state.lock().rounds += 1;
    }

    /// A round ended.
    pub(crate) fn round_ended(&self) {
        self.state.lock().rounds -= 1;
    }

    /// All pages that are not clean, in order.
    pub(crate) fn snapshot(&self) -> Vec<PageId> {
        self.state.lock().pages.iter().copied().collect()
    }

    /// Number of pages that are not clean.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().pages.len()
    }

    /// From now on (or no longer) every change is wanted at once.
    pub(crate) fn set_pushing(&self, pushing: bool) {
        self.state.lock().pushing = pushing;
    }

    /// True while the device is being suspended.
    pub(crate) fn is_pushing(&self) -> bool {
        self.state.lock().pushing
    }

    /// True if no round is under way or about to start.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.rounds == 0 && state.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_idle_when_no_round_is_under_way_or_about_to_start() {
        let dirty = DirtySet::new(None);
        assert!(dirty.is_idle());
        dirty.queue(PageId(3));
        assert!(!dirty.is_idle(), "a page wants a round");
        dirty.round_started();
        assert_eq!(dirty.next_ready(), Some(PageId(3)));
        assert!(!dirty.is_idle(), "a round is under way");
        dirty.round_ended();
        assert!(dirty.is_idle());
    }
}
