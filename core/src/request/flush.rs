//! Flush (and preflush): everything acknowledged before it was submitted becomes durable.
//!
//! ```text
//!   submitted: data epoch and the changes of every dirty page captured
//!     ├─ pages: each is waited for up to the captured change (a page under way with an older image gets another round)
//!     └─ all done ──▶ a sync not older than the data epoch, unless a page's own sync already was ──▶ ended
//! ```
//! It waits for no unacknowledged request and for nothing that changes later.

use crate::device::Device;
use crate::request::action::{Actions, Failure, Origin, Request};
use crate::request::work::{FlushId, Resume, Waiter};
use crate::sync::{Mutex, Rank};
use crate::verify::{mark, maybe};

#[derive(Debug)]
struct Flush {
    origin: Origin,
    /// The write that this flush comes before.
    then: Option<Request>,
    parts: u32,
    failure: Option<Failure>,
    /// The sync that covers all data acknowledged before.
    sync: u64,
    syncing: bool,
}

/// The flushes in flight; at most one a tag.
#[derive(Debug)]
pub(crate) struct Flushes {
    list: Mutex<Vec<Option<Flush>>>,
}

/// What a part's end means for the flush.
enum Step {
    Waits,
    Sync(u64),
    Ended {
        origin: Origin,
        then: Option<Request>,
        failure: Option<Failure>,
    },
}

impl Flushes {
    pub(crate) fn new() -> Flushes {
        Flushes {
            list: Mutex::new(Rank::Table, "flushes", Vec::new()),
        }
    }

    fn start(&self, origin: Origin, then: Option<Request>, sync: u64) -> FlushId {
        let flush = Some(Flush {
            origin,
            then,
            parts: 1,
            failure: None,
            sync,
            syncing: false,
        });
        let mut list = self.list.lock();
        let free = list.iter().position(Option::is_none);
        let index = free.unwrap_or(list.len());
        match free {
            Some(index) => list[index] = flush,
            None => list.push(flush),
        }
        FlushId(index as u32)
    }

    fn add_part(&self, id: FlushId) {
        if let Some(flush) = &mut self.list.lock()[id.0 as usize] {
            flush.parts += 1;
        }
    }

    fn end_part(&self, id: FlushId, result: Result<(), Failure>) -> Step {
        let mut list = self.list.lock();
        let slot = &mut list[id.0 as usize];
        let Some(flush) = slot else {
            unreachable!("{id:?} ended twice")
        };
        flush.parts -= 1;
        if let Err(failure) = result {
            flush.failure.get_or_insert(failure);
        }
        if flush.parts > 0 {
            return Step::Waits;
        }
        if flush.failure.is_none() && !flush.syncing {
            flush.syncing = true;
            flush.parts = 1;
            return Step::Sync(flush.sync);
        }
        match slot.take() {
            Some(Flush {
                origin,
                then,
                failure,
                ..
            }) => Step::Ended {
                origin,
                then,
                failure,
            },
            None => Step::Waits,
        }
    }
}

impl Device {
    /// Starts a flush; `then` is the write that it comes before.
    pub(crate) fn start_flush(&self, origin: Origin, then: Option<Request>, out: &mut Actions) {
        let sync = self.gate.next();
        let id = self.flushes.start(origin, then, sync);
        let mut pages = 0;
        for page in self.dirty.snapshot() {
            let page = self.page(page);
            if let Some(change) = page.capture() {
                pages += 1;
                self.flushes.add_part(id);
                if let Some(waiter) = page.wait(change, Waiter::Flush(id), self.context()) {
                    out.backlog.push_back(Resume::Waiter(waiter, Ok(())));
                }
            }
        }
        maybe!(FlushPages, pages > 0);
        self.flush_part(id, Ok(()), out);
    }

    /// A page, or the sync, of a flush ended.
    pub(crate) fn flush_part(&self, id: FlushId, result: Result<(), Failure>, out: &mut Actions) {
        match self.flushes.end_part(id, result) {
            Step::Waits => {}
            Step::Sync(sync) => {
                if self.gate.synced() < sync {
                    mark!(FlushExtraSync);
                }
                self.wait_sync(sync, Waiter::Flush(id), out);
            }
            Step::Ended {
                origin,
                failure: Some(failure),
                ..
            } => self.end_part(origin, Err(failure), out),
            Step::Ended {
                origin, then: None, ..
            } => self.end_part(origin, Ok(()), out),
            Step::Ended {
                origin,
                then: Some(write),
                ..
            } => out.backlog.push_back(Resume::Request(origin, write)),
        }
    }
}
