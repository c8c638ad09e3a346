//! Canaries: runs on a disk that lies about its syncs. A harness that does not notice is worth nothing.

use super::Plan;
use super::runner::Runner;
use crate::report::Class;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;

/// So many canaries are tried before the campaign is declared red.
const MOST: u64 = 2000;

/// What became of the canaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// This one was flagged as wrong.
    Flagged {
        /// Number of canaries tried, this one included.
        runs: u64,
        /// By whom.
        checker: &'static str,
    },
    /// None was, or one hangs.
    Alive {
        /// Number of canaries tried.
        runs: u64,
    },
}

impl Canary {
    /// True if one was flagged.
    #[must_use]
    pub fn is_flagged(self) -> bool {
        matches!(self, Canary::Flagged { .. })
    }
}

/// Tries canaries until one is flagged, in a thread of their own and with the patience that a run gets.
pub(super) fn fly(plan: &Plan) -> Canary {
    let tried = Arc::new(AtomicU64::new(0));
    let (send, verdict) = mpsc::channel();
    let (flight, counter) = (plan.clone(), Arc::clone(&tried));
    std::thread::spawn(move || {
        // If nobody waits any more, the answer does not matter.
        let _ = send.send(attempt(&flight, &counter));
    });
    let flagged = verdict.recv_timeout(plan.patience).ok().flatten();
    let runs = tried.load(Relaxed);
    match flagged {
        Some(checker) => Canary::Flagged { runs, checker },
        None => Canary::Alive { runs },
    }
}

/// The checker that flagged one. A panic or a hang does not count: it is no checker's verdict.
fn attempt(plan: &Plan, tried: &AtomicU64) -> Option<&'static str> {
    let mut runner = Runner::new(plan.make, true);
    for index in 0..MOST {
        let seed = plan.seeds.canary(plan.shard.run(index, 1));
        tried.fetch_add(1, Relaxed);
        match runner.run(plan.mix.profile(seed), seed) {
            Err(failure) if failure.class == Class::Wrong => return Some(failure.checker),
            _ => {}
        }
    }
    None
}
