//! Executions that our explorer carries out: three tasks that take one lock ten times each; a configuration of the core
//! without and with crash images at each moment.

use super::{Figures, rate};
use crate::explorer::{self, Effort};
use explore_sync::{Mutex, Options, Task};
use std::sync::Arc;
use std::time::Duration;

const TASKS: usize = 3;
const LOCKS: usize = 10;
/// Executions of one exploration.
const BATCH: u64 = 1000;
/// Two queues that allocate on one page: 42 events.
const CONFIG: &str = "writers_of_a_page";

/// Fills in the rates.
pub(super) fn measure(effort: Duration, figures: &mut Figures) {
    let options = Options {
        limit: BATCH,
        ..Options::default()
    };
    figures.explorer_executions_per_s = rate(effort, || {
        explore_sync::explore(&options, contest).executions
    });
    figures.explorer_six_locks_s = 1.0
        / rate(effort, || {
            let receipt = explore_sync::explore(&Options::default(), six_locks);
            u64::from(receipt.complete)
        });
    let device = |crashes| {
        rate(effort, || {
            let effort = Effort {
                crashes,
                ..Effort::default()
            };
            explorer::explore(CONFIG, &effort).map_or(0, |explored| explored.receipt.executions)
        })
    };
    figures.explorer_device_executions_per_s = device(false);
    figures.explorer_crash_executions_per_s = device(true);
}

fn contest() {
    let counter = Arc::new(Mutex::new(0));
    let tasks = (0..TASKS).map(|_| -> Task<()> {
        let counter = Arc::clone(&counter);
        Box::new(move || {
            for _ in 0..LOCKS {
                if let Ok(mut counter) = counter.lock() {
                    *counter += 1;
                }
            }
        })
    });
    explore_sync::race(tasks.collect());
}

fn six_locks() {
    let locks: Arc<[Mutex<u64>; 6]> = Arc::new(std::array::from_fn(|_| Mutex::new(0)));
    let tasks = (0..TASKS).map(|_| -> Task<()> {
        let locks = Arc::clone(&locks);
        Box::new(move || {
            for lock in &*locks {
                if let Ok(mut counter) = lock.lock() {
                    *counter += 1;
                }
            }
        })
    });
    explore_sync::race(tasks.collect());
}
