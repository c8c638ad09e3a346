//! Scenarios under the explorer: each phase in which queues race is explored completely, with the other phases in order.

use std::sync::{Arc, Mutex, PoisonError};

use explore_sync::{Options, Receipt, Task};

use super::Crashes;
use super::crash::{Judge, Pending};
use super::engine::image::{Image, Shape};
use super::engine::ledger::Shadow;
use super::engine::script::{Script, keep};
use crate::scenario::phases::Phases;

/// What came of one scenario.
#[derive(Debug)]
pub struct Raced {
    /// One for each phase that was raced; a scenario without such a phase is executed once.
    pub receipts: Vec<Receipt>,
    /// Crash images at each moment, and what was pruned of them.
    pub crashes: Crashes,
}

/// Explores a scenario, with `limit` executions a phase at most.
#[must_use]
pub fn explore_scenario(phases: &Phases, limit: u64) -> Raced {
    let script = Script {
        shape: Shape {
            cluster: phases.cluster,
            clusters: phases.clusters,
            mapped: keep(&phases.mapped),
            spare: phases.spare,
        },
        immediate: phases.immediate,
        queues: phases.queues,
        prealloc: phases.prealloc,
        phases: phases.phases.clone(),
    };
    let image = Image::new(script.shape);
    let judge = Arc::new(Mutex::new(Judge::new(&image)));
    let mut races: Vec<Option<usize>> = phases.races().into_iter().map(Some).collect();
    if races.is_empty() {
        races.push(None);
    }
    let options = Options {
        limit,
        ..Options::default()
    };
    let receipts = races
        .into_iter()
        .map(|raced| {
            explore_sync::explore(&options, || {
                let shadow: Box<dyn Shadow> = Box::new(Pending::new(&image, &judge));
                script.play(
                    &image,
                    Some(shadow),
                    |phase| Some(phase) == raced,
                    |racers| {
                        let tasks = racers
                            .into_iter()
                            .map(|racer| -> Task<_> { Box::new(racer) });
                        explore_sync::race(tasks.collect())
                    },
                );
            })
        })
        .collect();
    let crashes = judge.lock().unwrap_or_else(PoisonError::into_inner).counts;
    Raced { receipts, crashes }
}
