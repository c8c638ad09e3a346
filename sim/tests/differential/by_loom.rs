//! All interleavings of loom, up to a limit.

use super::{Verdict, said};
use engine::config::{CONFIGS, SICK};
use engine::unseen::Events;
use loom::sync::atomic as atomics;
use ploop_core_loom as core;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "each engine uses its part")]
mod engine;

/// Executions of a configuration. More, and it is cut.
const LIMIT: usize = 200_000;

pub(super) fn run(name: &str) -> Verdict {
    let mut all = CONFIGS.iter().chain(SICK);
    let config = all.find(|config| config.name == name);
    let config = *config.expect("the same list");
    let image = config.image();
    let states = Arc::new(Mutex::new(BTreeSet::new()));
    let runs = Arc::new(AtomicU64::new(0));
    let mut builder = loom::model::Builder::new();
    builder.max_permutations = Some(LIMIT);
    builder.checkpoint_interval = 1;
    builder.checkpoint_file = None;
    builder.max_branches = 20_000;
    builder.preemption_bound = None;
    builder.expect_explicit_explore = true;
    let (seen, counted) = (Arc::clone(&states), Arc::clone(&runs));
    let model = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let state = config.play(&image, None, |mut racers| {
            let own = racers.pop().expect("a task");
            loom::explore();
            let others: Vec<_> = racers.into_iter().map(loom::thread::spawn).collect();
            let own = own();
            let joined = others
                .into_iter()
                .map(|other| other.join().expect("a task"));
            let mut left: Vec<_> = joined.collect();
            left.push(own);
            loom::stop_exploring();
            left
        });
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(state);
    };
    let failed = catch_unwind(AssertUnwindSafe(|| builder.check(model)));
    let executions = runs.load(Ordering::Relaxed);
    let states = states
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Verdict {
        states,
        executions,
        complete: executions as usize + 1 < LIMIT,
        complaint: failed.err().map(|payload| said(&*payload)),
    }
}
