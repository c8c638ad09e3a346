//! Random schedules, and uniform random walks.

use super::Verdict;
use engine::config::CONFIGS;
use engine::unseen::Events;
use ploop_core_shuttle as core;
use shuttle::scheduler::{RandomScheduler, Scheduler, UrwRandomScheduler};
use shuttle::sync::atomic as atomics;
use shuttle::{Config, FailurePersistence, Runner, thread};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "each engine uses its part")]
mod engine;

/// Schedules of each scheduler.
const SCHEDULES: usize = 500;

pub(super) fn run(name: &str) -> Verdict {
    let states = Arc::new(Mutex::new(BTreeSet::new()));
    let executions = walk(name, &states, RandomScheduler::new_from_seed(1, SCHEDULES))
        + walk(
            name,
            &states,
            UrwRandomScheduler::new_from_seed(2, SCHEDULES),
        );
    let states = states
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Verdict {
        states,
        executions: executions as u64,
        complete: false,
    }
}

fn walk(name: &str, states: &Arc<Mutex<BTreeSet<u64>>>, by: impl Scheduler + 'static) -> usize {
    let config = CONFIGS.iter().find(|config| config.name == name);
    let config = *config.expect("the same list");
    let image = config.image();
    let states = Arc::clone(states);
    let mut settings = Config::new();
    settings.stack_size = 1 << 20;
    settings.silence_warnings = true;
    settings.failure_persistence = FailurePersistence::Print;
    Runner::new(by, settings).run(move || {
        let state = config.play(&image, None, |racers| {
            let threads: Vec<_> = racers.into_iter().map(thread::spawn).collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().expect("a task"));
            joined.collect()
        });
        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(state);
    })
}
