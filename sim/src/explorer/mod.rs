//! The fourth engine: every inequivalent interleaving of small configurations, times every distinct crash image at each
//! moment.
//!
//! ```text
//!   configuration ─▶ explore_sync: one execution a trace ─▶ rig: device, disk, model ─▶ state that is left
//!                                                            └ at each moment ─▶ crash images ─▶ loader, fsck, model
//! ```
//!
//! **What is explored.** The core's own source, built against `explore_sync`. Events are: each lock taken, each atomic read
//! or written, each request submitted or ended (on its guest sectors), each I/O handed out or ended (on its bytes of the
//! file; a sync and a new length on all of it). Two conflict if they are on the same object, overlap, and do not both only
//! read. Of the interleavings that differ by the order of events that do not conflict, one is executed.
//!
//! **Why that is sound.** Between two of its events a task touches nothing that another one can see, so equivalent
//! interleavings run through the same local states and end in the same one: a broken assertion, a wrong answer, a
//! deadlock in one of them is in all of them. That the algorithm leaves no class out is tested against plain search (states
//! and traces of random programs), and the configurations against loom (same set of final states).
//!
//! **What is pruned in the product with the crash**, and counted:
//! * *Moments.* The power can fail after each change of the pending set, and after each answer. If the set of crash images
//!   and what the model allows have been seen together before, in whatever execution, nothing new can be found
//!   ([`Crashes::known_moments`]).
//! * *Read set.* Two images of one moment that have the same metadata and length, and the same in each sector that their
//!   metadata lead to, are one to every reader ([`Crashes::unread`]).
//! * *Image hash.* A combination of pending changes that makes the same image as another one is not made
//!   (`nominal` less `distinct`).
//! * *Independence* ([`Receipt::independent`]). Of two events that do not conflict one order is executed. The moment between them that the other order
//!   has is not visited, but what it could leave is among the images of the moment when both are in flight: images only
//!   become fewer by a sync or a FUA write that ends, and those conflict with all that they make durable.
//!   What *is* lost: a moment in which one request is acknowledged and an independent one not yet submitted is
//!   judged by a model that allows for the second as well. It allows more on that one's sectors only.
//!
//! **What it does not see.** Weak memory (loom does); faults, but for those that a configuration plans, of which nothing is
//! done but the first part of a short I/O, and I/O of one task carried out in other orders than its own (the simulator
//! does); two writes in flight on one sector land in the order of their ends.

mod crash;
mod scenario;
#[cfg(test)]
mod tests;

#[path = "../../tests/engine/mod.rs"]
#[allow(
    dead_code,
    reason = "the adapter of all engines: each uses its part of it"
)]
mod engine;

use engine::config::{CONFIGS, Config, SICK};
use engine::ledger::Shadow;
use engine::seen::Events;
use explore_sync::{Options, Receipt, Task, atomic as atomics};
use ploop_core_explore as core;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

pub use crash::Crashes;
pub use scenario::{Raced, explore_scenario};

/// A configuration: its name, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// On the command line.
    pub name: &'static str,
    /// In a line.
    pub about: &'static str,
}

/// All configurations.
pub fn configurations() -> impl Iterator<Item = Known> {
    known(CONFIGS)
}

/// Configurations with a mistake made on purpose: to see a failure, and that every engine finds it.
pub fn sick() -> impl Iterator<Item = Known> {
    known(SICK)
}

fn known(configs: &'static [Config]) -> impl Iterator<Item = Known> {
    configs.iter().map(|config| Known {
        name: config.name,
        about: config.about,
    })
}

/// How a configuration is explored.
#[derive(Clone, Debug)]
pub struct Effort {
    /// So many executions at most.
    pub limit: u64,
    /// Crash images are judged.
    pub crashes: bool,
    /// Only this schedule: the number of a task for each event.
    pub schedule: Option<Vec<u8>>,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort {
            limit: u64::MAX,
            crashes: true,
            schedule: None,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Explored {
    /// How complete it is, and what failed.
    pub receipt: Receipt,
    /// The states that executions end in (hashes of the closed image).
    pub states: BTreeSet<u64>,
    /// Crash images, and what was pruned of them.
    pub crashes: Crashes,
}

/// Explores the configuration of that name; `None`: there is none.
#[must_use]
pub fn explore(name: &str, effort: &Effort) -> Option<Explored> {
    let mut all = CONFIGS.iter().chain(SICK);
    let config = all.find(|config| config.name == name)?;
    Some(run(config, effort))
}

fn run(config: &Config, effort: &Effort) -> Explored {
    let options = Options {
        limit: effort.limit,
        schedule: effort.schedule.clone(),
        ..Options::default()
    };
    let image = config.image();
    let judge = Arc::new(Mutex::new(crash::Judge::new(&image)));
    let states = RefCell::new(BTreeSet::new());
    let receipt = explore_sync::explore(&options, || {
        let shadow = effort
            .crashes
            .then(|| -> Box<dyn Shadow> { Box::new(crash::Pending::new(&image, &judge)) });
        let state = config.play(&image, shadow, |racers| {
            let tasks = racers
                .into_iter()
                .map(|racer| -> Task<_> { Box::new(racer) });
            explore_sync::race(tasks.collect())
        });
        states.borrow_mut().insert(state);
    });
    let crashes = judge.lock().unwrap_or_else(PoisonError::into_inner).counts;
    Explored {
        receipt,
        states: states.into_inner(),
        crashes,
    }
}
