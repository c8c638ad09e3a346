//! Random schedules, uniform random walks, and random priorities.

use super::{Verdict, said};
use engine::config::{CONFIGS, SICK};
use engine::unseen::Events;
use ploop_core_shuttle as core;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler, UrwRandomScheduler};
use shuttle::sync::atomic as atomics;
use shuttle::{Config, FailurePersistence, Runner, thread};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "each engine uses its part")]
mod engine;

/// States, and how many schedules there were.
type Seen<'a> = (&'a Arc<Mutex<BTreeSet<u64>>>, &'a Arc<AtomicU64>);

/// Of the bugs that random priorities are to find.
const DEPTH: usize = 3;
/// Schedules of each scheduler.
const SCHEDULES: usize = 500;

pub(super) fn run(name: &str) -> Verdict {
    let (states, runs) = (Arc::default(), Arc::default());
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let seen = (&states, &runs);
        walk(name, seen, RandomScheduler::new_from_seed(1, SCHEDULES));
        walk(name, seen, UrwRandomScheduler::new_from_seed(2, SCHEDULES));
        walk(name, seen, PctScheduler::new_from_seed(3, DEPTH, SCHEDULES));
    }));
    let states = states.lock().unwrap_or_else(PoisonError::into_inner);
    Verdict {
        states: states.clone(),
        executions: runs.load(Ordering::Relaxed),
        complete: false,
        complaint: failed.err().map(|payload| said(&*payload)),
    }
}

fn walk(name: &str, (states, runs): Seen<'_>, by: impl Scheduler + 'static) {
    let mut all = CONFIGS.iter().chain(SICK);
    let config = all.find(|config| config.name == name);
    let config = *config.expect("the same list");
    let image = config.image();
    let (states, runs) = (Arc::clone(states), Arc::clone(runs));
    let mut settings = Config::new();
    settings.stack_size = 1 << 20;
    settings.silence_warnings = true;
    settings.failure_persistence = FailurePersistence::None;
    Runner::new(by, settings).run(move || {
        runs.fetch_add(1, Ordering::Relaxed);
        let state = config.play(&image, None, |racers| {
            let threads: Vec<_> = racers.into_iter().map(thread::spawn).collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().expect("a task"));
            joined.collect()
        });
        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(state);
    });
}
