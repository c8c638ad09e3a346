//! Schedules that shuttle explores: three tasks that take one lock ten times each.

use super::{Figures, rate};
use ::shuttle::scheduler::{RandomScheduler, UrwRandomScheduler};
use ::shuttle::sync::Mutex;
use ::shuttle::{Config, Runner, thread};
use std::sync::Arc;
use std::time::Duration;

const TASKS: usize = 3;
const LOCKS: usize = 10;
/// Schedules of one runner.
const BATCH: usize = 1000;

/// Fills in the rate: half of the schedules random, half uniform random walks.
pub(super) fn measure(effort: Duration, figures: &mut Figures) {
    let mut seed = 0;
    figures.shuttle_schedules_per_s = rate(effort, || {
        seed += 1;
        let random = RandomScheduler::new_from_seed(seed, BATCH);
        let walk = UrwRandomScheduler::new_from_seed(seed, BATCH);
        let done = Runner::new(random, Config::new()).run(contest)
            + Runner::new(walk, Config::new()).run(contest);
        done as u64
    });
}

fn contest() {
    let counter = Arc::new(Mutex::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                for _ in 0..LOCKS {
                    if let Ok(mut counter) = counter.lock() {
                        *counter += 1;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        assert!(task.join().is_ok(), "a task of the benchmark panicked");
    }
}
