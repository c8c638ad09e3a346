//! The sync gate of the top file: one sync at a time, numbered, shared by all who need one.
//!
//! * G1 A change whose completion was delivered before [`Gate::next`] returned `n` is durable once sync `n`, or any
//!   later one, has succeeded: sync `n` is submitted afterwards.
//! * G2 At most one sync is in flight. Two at once could swap their results: the kernel reports a write-back error once.
//! * G3 A failed sync (or synchronous write) poisons the file for good: nothing is ever durable from here on.
//!
//! ```text
//!   idle ──turn, somebody waits──▶ in flight(n) ──ok──▶ synced = n, waiters <= n go on ──▶ idle
//!                                        └──failed──▶ poisoned, every waiter fails
//! ```

use crate::request::work::Waiter;
use crate::sync::{Mutex, Rank};

#[derive(Debug)]
struct State {
    /// Number of the last sync handed out.
    submitted: u64,
    /// Number of the last sync that succeeded.
    synced: u64,
    in_flight: bool,
    poisoned: bool,
    /// The highest sync that somebody waits for.
    wanted: u64,
    waiters: Vec<(u64, Waiter)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

/// What [`Gate::wait`] says.
#[derive(Debug)]
#[must_use]
pub(crate) enum Wait {
    /// Already durable; here is the waiter again.
    Done(Waiter),
    /// Never: the file is poisoned; here is the waiter again.
    Poisoned(Waiter),
    /// The waiter stays here until the sync ends.
    Parked,
}

impl Gate {
    /// `poisoned`: a sync of the file has failed before, in a device that was killed since.
    pub(crate) fn new(poisoned: bool) -> Gate {
        let state = State {
            submitted: 0,
            synced: 0,
            in_flight: false,
            poisoned,
            wanted: 0,
            waiters: Vec::new(),
        };
        Gate {
            state: Mutex::new(Rank::Table, "gate", state),
        }
    }

    /// The sync that covers everything whose completion was delivered before this call. Never 0.
    pub(crate) fn next(&self) -> u64 {
        self.state.lock().submitted + 1
    }

    /// Number of the last sync that succeeded.
    pub(crate) fn synced(&self) -> u64 {
        self.state.lock().synced
    }

    /// True once a sync has failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.state.lock().poisoned
    }

    /// True if no sync is in flight and nobody waits for one.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        !state.in_flight && state.waiters.is_empty()
    }

    /// Lets `waiter` wait for sync `number`.
    pub(crate) fn wait(&self, number: u64, waiter: Waiter) -> Wait {
        let mut state = self.state.lock();
        if state.poisoned {
            return Wait::Poisoned(waiter);
        }
        if number <= state.synced {
            return Wait::Done(waiter);
        }
        state.wanted = state.wanted.max(number);
        state.waiters.push((number, waiter));
        Wait::Parked
    }

    /// The number of a sync to be submitted now, if somebody waits for one that is not under way.
    pub(crate) fn start(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.in_flight || state.poisoned || state.wanted <= state.submitted {
            return None;
        }
        state.in_flight = true;
        state.submitted += 1;
        Some(state.submitted)
    }

    /// Sync `number` ended. Returns the waiters that it releases, in order of arrival.
    pub(crate) fn end(&self, number: u64, ok: bool) -> Vec<Waiter> {
        let mut state = self.state.lock();
        state.in_flight = false;
        if !ok {
            state.poisoned = true;
        }
        if state.poisoned {
            return state.waiters.drain(..).map(|(_, waiter)| waiter).collect();
        }
        state.synced = number;
        // Somebody may still wait for a later one: `wanted` is above `submitted` then, and a turn starts it.
        state
            .waiters
            .extract_if(.., |(wanted, _)| *wanted <= number)
            .map(|(_, waiter)| waiter)
            .collect()
    }

    /// A synchronous write failed: as a failed sync. Returns the waiters, all of which fail; those of a sync in flight
    /// too, since its result can no longer be trusted.
    pub(crate) fn poison(&self) -> Vec<Waiter> {
        let mut state = self.state.lock();
        state.poisoned = true;
        state.waiters.drain(..).map(|(_, waiter)| waiter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::work::FlushId;

    fn waiter(id: u32) -> Waiter {
        Waiter::Flush(FlushId(id))
    }

    fn ids(waiters: &[Waiter]) -> Vec<u32> {
        let id = |waiter: &Waiter| match waiter {
            Waiter::Flush(id) => id.0,
            other => unreachable!("{other:?}"),
        };
        waiters.iter().map(id).collect()
    }

    #[test]
    fn one_sync_serves_all_who_came_before_it_and_the_next_one_the_others() {
        let gate = Gate::new(false);
        assert_eq!(gate.start(), None, "nobody waits");
        assert_eq!(gate.next(), 1);
        assert!(matches!(gate.wait(1, waiter(0)), Wait::Parked));
        assert!(matches!(gate.wait(1, waiter(1)), Wait::Parked));
        assert!(!gate.is_idle(), "somebody waits");
        assert_eq!(gate.start(), Some(1));
        assert!(!gate.is_idle(), "a sync is in flight");
        assert_eq!(
            gate.next(),
            2,
            "sync 1 is submitted: it covers nothing that completes now"
        );
        assert!(matches!(gate.wait(2, waiter(2)), Wait::Parked));
        assert_eq!(gate.start(), None, "one at a time");
        assert_eq!(ids(&gate.end(1, true)), [0, 1]);
        assert!(matches!(gate.wait(1, waiter(3)), Wait::Done(_)));
        assert_eq!(gate.start(), Some(2));
        assert_eq!(ids(&gate.end(2, true)), [2]);
        assert!(gate.is_idle());
    }

    #[test]
    fn a_failed_sync_fails_everybody_for_ever() {
        let gate = Gate::new(false);
        assert!(matches!(gate.wait(1, waiter(0)), Wait::Parked));
        assert!(matches!(gate.wait(9, waiter(1)), Wait::Parked));
        assert_eq!(gate.start(), Some(1));
        assert_eq!(ids(&gate.end(1, false)), [0, 1]);
        assert!(gate.is_poisoned());
        assert!(matches!(gate.wait(1, waiter(2)), Wait::Poisoned(_)));
        assert_eq!(gate.start(), None);
    }

    #[test]
    fn a_sync_that_succeeds_after_the_poison_proves_nothing() {
        let gate = Gate::new(false);
        assert!(matches!(gate.wait(1, waiter(0)), Wait::Parked));
        assert_eq!(gate.start(), Some(1));
        assert_eq!(ids(&gate.poison()), [0]);
        assert!(gate.end(1, true).is_empty());
        assert_eq!(gate.synced(), 0);
    }
}
