//! The one file that names the concurrency primitives, and the only one that knows which engine it is compiled for.
//!
//! * Built as `ploop-core`: `std`. Built as `ploop-core-loom`, `ploop-core-shuttle` or `ploop-core-explore` (manifest-only
//!   packages of the harness, same source): that engine's. `ploop-core` declares no such feature, so no build can turn a shipped device
//!   into a mock.
//! * Only what every engine models is offered: a mutex without poisoning and two atomics.
//! * Every mutex has a label and a [`Rank`]. A thread holds at most two locks, in strictly rising rank; builds with
//!   debug assertions check it at every `lock` (this makes the lock graph acyclic, I17).

#![expect(clippy::disallowed_types, reason = "the facade itself")]

use std::ops::{Deref, DerefMut};

#[cfg(not(any(feature = "loom", feature = "shuttle", feature = "explore")))]
mod engine {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard};
    #[cfg(debug_assertions)]
    pub(super) use std::thread_local;
}
#[cfg(feature = "loom")]
mod engine {
    pub(super) use loom_engine::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(super) use loom_engine::sync::{Mutex, MutexGuard};
    #[cfg(debug_assertions)]
    pub(super) use loom_engine::thread_local;
}
#[cfg(feature = "shuttle")]
mod engine {
    pub(super) use shuttle_engine::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(super) use shuttle_engine::sync::{Mutex, MutexGuard};
    #[cfg(debug_assertions)]
    pub(super) use shuttle_engine::thread_local;
}
#[cfg(feature = "explore")]
mod engine {
    pub(super) use explore_engine::atomic::{AtomicBool, AtomicU64, Ordering};
    #[cfg(debug_assertions)]
    pub(super) use explore_engine::thread_local;
    pub(super) use explore_engine::{Mutex, MutexGuard};
}

/// The order in which locks may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rank {
    /// A metadata page: its map, its cluster locks, its write-back.
    Page = 0,
    /// A table of the device: requests of a queue, flushes, the sync gate, the dirty set, the in-use mark.
    Table = 1,
    /// The host clusters of the top file.
    Holes = 2,
}

/// A mutex with a label and a rank, without poisoning: the state behind it is consistent at every release, and a panic
/// of the process is the caller's to handle.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    inner: engine::Mutex<T>,
    #[cfg(debug_assertions)]
    rank: Rank,
    #[cfg(debug_assertions)]
    label: &'static str,
}

/// Releases the lock when dropped.
pub(crate) struct Guard<'a, T> {
    inner: engine::MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl<T> Mutex<T> {
    /// A new mutex. `label` names it in traces and in the message of a broken lock order.
    pub(crate) fn new(rank: Rank, label: &'static str, value: T) -> Mutex<T> {
        #[cfg(not(debug_assertions))]
        let _ = (rank, label);
        Mutex {
            inner: engine::Mutex::new(value),
            #[cfg(debug_assertions)]
            rank,
            #[cfg(debug_assertions)]
            label,
        }
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        #[cfg(debug_assertions)]
        order::take(self.rank, self.label);
        let inner = match self.inner.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        };
        Guard {
            inner,
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        order::give_back(self.rank);
    }
}

/// Which ranks this thread holds, as a bit mask.
#[cfg(debug_assertions)]
mod order {
    use super::{Rank, engine};
    use std::cell::Cell;

    engine::thread_local! {
        static HELD: Cell<u8> = Cell::new(0);
    }

    pub(super) fn take(rank: Rank, label: &'static str) {
        HELD.with(|held| {
            let mask = held.get();
            assert!(
                mask >> (rank as u8) == 0 && mask.count_ones() < 2,
                "lock order: taking {label} ({rank:?}) while holding ranks {mask:#05b}"
            );
            held.set(mask | 1 << (rank as u8));
        });
    }

    pub(super) fn give_back(rank: Rank) {
        HELD.with(|held| held.set(held.get() & !(1 << (rank as u8))));
    }
}

/// A flag that goes from false to true once, published with release/acquire.
#[derive(Debug)]
pub(crate) struct Latch(engine::AtomicBool);

impl Latch {
    /// Not set.
    pub(crate) fn new() -> Latch {
        Latch(engine::AtomicBool::new(false))
    }
    /// Sets it; what was written before is seen by whoever sees it set.
    pub(crate) fn set(&self) {
        self.0.store(true, engine::Ordering::Release);
    }
    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(engine::Ordering::Acquire)
    }
}

/// A switch, published with release/acquire.
#[derive(Debug)]
pub(crate) struct Flag(engine::AtomicBool);

impl Flag {
    /// Off.
    pub(crate) fn new() -> Flag {
        Flag(engine::AtomicBool::new(false))
    }
    /// Switches it; what was written before is seen by whoever sees the switch.
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, engine::Ordering::Release);
    }
    /// Whether it is on.
    pub(crate) fn get(&self) -> bool {
        self.0.load(engine::Ordering::Acquire)
    }
}

/// The caller's clock as last told to the core. Only ever an estimate: no decision about data depends on it.
#[derive(Debug)]
pub(crate) struct Clock(engine::AtomicU64);

impl Clock {
    /// Starts at 0.
    pub(crate) fn new() -> Clock {
        Clock(engine::AtomicU64::new(0))
    }
    /// Tells the time.
    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, engine::Ordering::Relaxed);
    }
    /// The time last told.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(engine::Ordering::Relaxed)
    }
}
