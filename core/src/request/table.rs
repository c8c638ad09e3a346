//! The requests of one queue: which tags are in flight, in how many parts, and whether the queue is held back.
//!
//! ```text
//!   tag: Idle ──begin──▶ Active(1 part) ──split──▶ Active(n) ──last part ended──▶ Idle + Finish, exactly once (I33)
//! ```
//! A request counts as active from `begin` to its last part, copy and index wait included: that is the barrier (I35).

use crate::request::action::{Failure, Origin, Request};
use crate::sync::{Mutex, Rank};
use crate::units::Tag;
use crate::verify::{mark, verify};

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// 0: idle.
    parts: u32,
    failure: Option<Failure>,
}

/// Whether requests may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Held,
    Closed,
}

#[derive(Debug)]
struct State {
    gate: Gate,
    active: u32,
    tags: Box<[Entry]>,
    held: Vec<(Origin, Request)>,
}

/// See the module. On a cache line of its own: a queue's lock is its own thread's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Queue {
    state: Mutex<State>,
}

/// What `begin` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Go,
    Held,
    Closed,
}

impl Queue {
    pub(crate) fn new(depth: u16) -> Queue {
        let tags = vec![Entry::default(); usize::from(depth)].into_boxed_slice();
        let state = State {
            gate: Gate::Open,
            active: 0,
            tags,
            held: Vec::new(),
        };
        Queue {
            state: Mutex::new(Rank::Table, "queue", state),
        }
    }

    /// A request arrives. The tag must be idle and below the queue's depth; anything else is a bug of the driver.
    pub(crate) fn begin(&self, origin: Origin, request: Request) -> Admission {
        let mut state = self.state.lock();
        match state.gate {
            Gate::Open => {}
            Gate::Held => {
                mark!(HeldBySuspend);
                state.held.push((origin, request));
                return Admission::Held;
            }
            Gate::Closed => return Admission::Closed,
        }
        let entry = &mut state.tags[usize::from(origin.tag.0)];
        verify!(entry.parts == 0, "{origin:?} submitted twice");
        *entry = Entry {
            parts: 1,
            failure: None,
        };
        state.active += 1;
        Admission::Go
    }

    /// A request that has begun consists of this many parts.
    pub(crate) fn split(&self, tag: Tag, parts: u32) {
        self.state.lock().tags[usize::from(tag.0)].parts = parts;
    }

    /// A part ended. `Some`: it was the last one, and this is the request's result (the first failure, if any).
    pub(crate) fn end_part(
        &self,
        tag: Tag,
        result: Result<(), Failure>,
    ) -> Option<Result<(), Failure>> {
        let mut state = self.state.lock();
        let entry = &mut state.tags[usize::from(tag.0)];
        verify!(entry.parts > 0, "{tag:?} ended twice");
        entry.parts -= 1;
        if let Err(failure) = result {
            entry.failure.get_or_insert(failure);
        }
        if entry.parts > 0 {
            return None;
        }
        let result = entry.failure.map_or(Ok(()), Err);
        state.active -= 1;
        Some(result)
    }

    /// From now on requests are held back.
    pub(crate) fn hold(&self) {
        let mut state = self.state.lock();
        if state.gate == Gate::Open {
            state.gate = Gate::Held;
        }
    }

    /// Requests may start again. Returns those that were held back.
    pub(crate) fn open(&self) -> Vec<(Origin, Request)> {
        let mut state = self.state.lock();
        if state.gate == Gate::Held {
            state.gate = Gate::Open;
        }
        std::mem::take(&mut state.held)
    }

    /// No request ever starts again.
    pub(crate) fn shut(&self) {
        self.state.lock().gate = Gate::Closed;
    }

    /// No request ever starts again. Returns those that were held back.
    pub(crate) fn close(&self) -> Vec<(Origin, Request)> {
        let mut state = self.state.lock();
        state.gate = Gate::Closed;
        std::mem::take(&mut state.held)
    }

    /// Number of requests in flight, if the queue is held.
    pub(crate) fn active_while_held(&self) -> Option<u32> {
        let state = self.state.lock();
        (state.gate != Gate::Open).then_some(state.active)
    }
}
