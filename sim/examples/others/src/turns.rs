//! An executor for one operation of a device whose I/Os may overlap: it waits until all that can be in flight is, then the
//! run's tape says which goes first.
//!
//! Not in the order of issue: `qcow2-rs` walks through hash maps, whose order is another one in each process.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use sim::face::File;

/// An I/O that waits for its turn: place, length, sort, and number where all of these are the same.
type Key = (u64, usize, u8, u64);

struct Waiting {
    key: Key,
    go: Rc<Cell<bool>>,
    waker: Waker,
}

/// Those who wait.
#[derive(Clone, Default)]
pub(crate) struct Turns {
    waiting: Rc<RefCell<Vec<Waiting>>>,
    next: Rc<Cell<u64>>,
}

impl Turns {
    /// Waits for the turn of an I/O.
    pub(crate) async fn wait(&self, at: u64, len: usize, sort: u8) {
        let go = Rc::new(Cell::new(false));
        let number = self.next.replace(self.next.get() + 1);
        let key = (at, len, sort, number);
        let mut queued = false;
        poll_fn(|context: &mut Context<'_>| {
            if go.get() {
                return Poll::Ready(());
            }
            if !queued {
                queued = true;
                let (go, waker) = (Rc::clone(&go), context.waker().clone());
                self.waiting.borrow_mut().push(Waiting { key, go, waker });
            }
            Poll::Pending
        })
        .await;
    }

    /// Runs an operation to its end, or until the power goes: then it never ends.
    pub(crate) fn run<T>(&self, file: &File, work: impl Future<Output = T>) -> io::Result<T> {
        self.waiting.borrow_mut().clear();
        let mut work = Box::pin(work);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let polled = work.as_mut().poll(&mut context);
            if !file.has_power() {
                // What it holds must not come to an end in an orderly way.
                std::mem::forget(work);
                return Err(io::Error::other("power lost"));
            }
            if let Poll::Ready(answer) = polled {
                return Ok(answer);
            }
            let mut waiting = self.waiting.borrow_mut();
            waiting.sort_by_key(|one| one.key);
            // Whoever nobody waits for any more is the last who holds its flag.
            waiting.retain(|one| Rc::strong_count(&one.go) > 1);
            assert!(!waiting.is_empty(), "it waits for nothing: a deadlock");
            let pick = file.choose(u32::try_from(waiting.len()).unwrap_or(u32::MAX));
            let next = waiting.remove(pick as usize);
            drop(waiting);
            next.go.set(true);
            next.waker.wake();
        }
    }
}
