//! I/O that found no space: kept as it is, tried again when space may have returned, cancelled by suspend.
//!
//! ```text
//!   no space ──policy Wait──▶ starving(due) ──tick ≥ due, or retry_starved──▶ issued again
//!      └─policy Fail─▶ failed          └──suspend──▶ failed with NoSpace
//! ```
//! What starves keeps what it holds: its cluster, its registration, its place in the page's state.

use crate::device::{Device, NoSpace};
use crate::request::action::{Actions, Failure};
use crate::request::work::{Resume, Work};
use crate::sync::{Mutex, Rank};
use crate::units::{Millis, PageId};
use crate::verify::mark;

/// What waits for space.
#[derive(Debug)]
pub(crate) enum Starving {
    /// An I/O to be issued again.
    Io(Work),
    /// An index page.
    Page(PageId),
}

/// All that waits for space.
#[derive(Debug)]
pub(crate) struct Starved {
    list: Mutex<Vec<(Millis, Starving)>>,
}

impl Starved {
    pub(crate) fn new() -> Starved {
        Starved {
            list: Mutex::new(Rank::Table, "starved", Vec::new()),
        }
    }

    fn take(&self, now: Millis) -> Vec<Starving> {
        self.list
            .lock()
            .extract_if(.., |(due, _)| *due <= now)
            .map(|(_, starving)| starving)
            .collect()
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.list.lock().iter().map(|(due, _)| *due).min()
    }

    /// True if nothing waits for space.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }
}

impl Device {
    /// Something found no space.
    pub(crate) fn starve(&self, starving: Starving, out: &mut Actions) {
        match self.options.no_space {
            NoSpace::Wait { retry } => {
                mark!(Starved);
                let due = Millis(self.now().0.saturating_add(retry.0));
                self.starved.list.lock().push((due, starving));
                // Suspend says so before it cancels what is on the list: whoever comes too late for that sees it here.
                if self.dirty.is_pushing() {
                    self.cancel_starved(out);
                }
            }
            NoSpace::Fail => self.give_up(starving, out),
        }
    }

    /// Space may have returned: everything that waits for it is tried again.
    pub fn retry_starved(&self, out: &mut Actions) {
        self.feed(Millis(u64::MAX), out);
        self.run(out);
    }

    /// Nobody waits for space any longer: what does so now fails with [`Failure::NoSpace`]. What finds no space later
    /// waits again.
    pub fn fail_starved(&self, out: &mut Actions) {
        self.cancel_starved(out);
        self.run(out);
    }

    /// True while something waits for space.
    #[must_use]
    pub fn is_starving(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Issues again what is due.
    pub(crate) fn feed(&self, now: Millis, out: &mut Actions) {
        for starving in self.starved.take(now) {
            match starving {
                Starving::Io(work) => self.issue(work, out),
                Starving::Page(page) => self.page(page).unpark(self.context()),
            }
        }
    }

    /// Fails everything that waits for space.
    pub(crate) fn cancel_starved(&self, out: &mut Actions) {
        for starving in self.starved.take(Millis(u64::MAX)) {
            mark!(StarvedCancelled);
            self.give_up(starving, out);
        }
    }

    fn give_up(&self, starving: Starving, out: &mut Actions) {
        match starving {
            Starving::Io(work) => self.failed(work, Failure::NoSpace, out),
            Starving::Page(page) => {
                for waiter in self.page(page).cancel(self.retry_at()) {
                    out.backlog
                        .push_back(Resume::Waiter(waiter, Err(Failure::NoSpace)));
                }
            }
        }
    }
}
