//! Whole scenarios under shuttle: a thread for each queue of a phase, each phase after the other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use engine::image::{Image, Shape};
use engine::rig::Io;
use engine::script::{Script, keep};
use engine::unseen::Events;
use ploop_core_shuttle as core;
use shuttle::scheduler::{RandomScheduler, UrwRandomScheduler};
use shuttle::sync::atomic as atomics;
use shuttle::{Config, FailurePersistence, Runner};
use sim::scenario::phases::Phases;

#[path = "../engine/mod.rs"]
#[expect(dead_code, reason = "each engine uses its part")]
mod engine;

/// Schedules of each of two schedulers.
pub(crate) const SCHEDULES: usize = 40;

/// Bytes of a thread's stack.
const STACK: usize = 1 << 20;

/// Plays a scenario under [`SCHEDULES`] schedules each. How many there were in all; or what went wrong.
pub(crate) fn play(phases: &Phases) -> Result<usize, String> {
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
    let body = Arc::new(move || script.play(&image, None, |_| true, race));
    let run = || {
        let mut config = Config::new();
        config.stack_size = STACK;
        config.silence_warnings = true;
        config.failure_persistence = FailurePersistence::None;
        let (first, second) = (Arc::clone(&body), Arc::clone(&body));
        let urw = UrwRandomScheduler::new_from_seed(1, SCHEDULES);
        let random = RandomScheduler::new_from_seed(2, SCHEDULES);
        Runner::new(urw, config.clone()).run(move || first())
            + Runner::new(random, config).run(move || second())
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic".to_owned())
    })
}

fn race(racers: Vec<engine::config::Racer>) -> Vec<Vec<Io>> {
    let threads: Vec<_> = racers
        .into_iter()
        .map(|racer| {
            // A closure that is called once, in the hands of a thread that must be able to call it.
            let racer = RefCell::new(Some(racer));
            shuttle::thread::spawn(move || racer.take().map_or_else(Vec::new, |racer| racer()))
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().expect("a queue's thread"))
        .collect()
}
