//! A campaign: many runs on all cores, until the time is up, the seeds are used up, or one fails.
//!
//! 1. Run `i` is determined by its seed, the seed by the plan and `i` (with engines that hunt, by those of its hunt, too): the number of jobs changes nothing but the
//!    number of runs that fit into the time.
//! 2. The failure reported is the one of the lowest index: jobs that are ahead of it stop, those behind it go on to it.
//! 3. A failing run is replayed once from its own tape, in a fresh world; so is one passing run of [`RECHECK`]. What is not
//!    the same again is a failure by itself (checker `determinism`).
//! 4. The campaign begins with canaries: runs on a disk that lies. One must be flagged as wrong, or the campaign is red
//!    (checker `canary`).
//! 5. A run that does not end in [`Plan::patience`] is a hang (checker `watchdog`); its thread is left behind, and its
//!    choices are had from running it once more, before a mirror.
//!
//! 6. It is counted what the runs looked like ([`saturation`]); a campaign may stop when there is little new to see. Then the
//!    number of runs depends on the jobs, as it does with a time.
//! 7. A campaign may be one shard of several, on as many machines ([`Shard`]); [`outcome`] puts them together.
//!
//! Not decided here: what a run is (`world`), how it is chosen (`search`), what counts as seen (`coverage`).

mod canary;
mod catch;
pub mod clock;
pub mod coverage;
mod found;
pub(crate) mod hang;
mod job;
pub mod outcome;
mod runner;
pub mod saturation;
mod seeds;
mod shard;
mod sketch;
mod totals;

#[cfg(test)]
mod tests;

pub use canary::Canary;
pub use catch::catch;
pub use found::{Found, quoted};
pub use runner::{Make, Runner, Subject, attempt, world, world_on};
pub use saturation::Saturation;
pub use seeds::{Mix, Seeds};
pub use shard::Shard;
pub use sketch::Sketch;
pub use totals::Totals;

use crate::search::Engine;
use job::{Report, Shared};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// One run of so many is repeated although it passed. The first one is.
pub const RECHECK: u64 = 1024;

/// Runs of a job between two looks at what all jobs have seen.
pub const EPOCH: u64 = 1024;

/// How often the caller hears about the progress.
const BEAT: Duration = Duration::from_millis(100);

/// What a campaign is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds of the runs.
    pub seeds: Seeds,
    /// Which of them are this process's.
    pub shard: Shard,
    /// Their profiles.
    pub mix: Mix,
    /// How runs are chosen.
    pub engine: Engine,
    /// When to stop; never if `None` (then the seeds must end).
    pub time: Option<Duration>,
    /// So few new patterns a run are not worth going on for: see [`Saturation::is_down_to`].
    pub until_unseen: Option<f64>,
    /// Stop when so many sorts of failures were found; at least 1.
    pub failures: usize,
    /// Threads, at least 1.
    pub jobs: usize,
    /// A run that takes longer hangs.
    pub patience: Duration,
    /// The disk lies about its syncs: to see what failures look like.
    pub lies: bool,
    /// Makes what is run.
    pub make: Make,
}

impl Plan {
    /// Seed of run `index` of this process.
    fn seed(&self, index: u64) -> u64 {
        self.seeds.seed(self.shard.run(index, self.piece()))
    }

    /// Runs that one shard takes in a row: those that build on each other.
    fn piece(&self) -> u64 {
        if self.engine.hunts() {
            self.engine.batch()
        } else {
            1
        }
    }

    /// The seed of the first run that run `index` builds on; its own, if it builds on none or seeds are no range.
    fn first(&self, index: u64) -> u64 {
        match self.seeds {
            Seeds::Range { .. } => self.seed(index - index % self.piece()),
            Seeds::Base(_) => self.seed(index),
        }
    }

    /// Number of runs of this process; `u64::MAX` if there is no end.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shard.share(self.seeds.count(), self.piece())
    }
}

/// How far a campaign is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Time since its start.
    pub elapsed: Duration,
    /// Runs done.
    pub runs: u64,
}

/// What came of a campaign.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What all runs add up to.
    pub totals: Totals,
    /// How much there is left to see.
    pub saturation: Saturation,
    /// Wall time of the runs.
    pub elapsed: Duration,
    /// Processor time of the runs, all jobs together. Without those of a campaign that hangs.
    pub cpu: Duration,
    /// What became of the canaries.
    pub canary: Canary,
    /// Runs that failed: one of each sort, the first of the campaign first (a hang before that).
    pub found: Vec<Found>,
    /// So many runs failed.
    pub failing: u64,
    /// Of seeds that come to an end: runs that were not done, since enough was found, or the time was up.
    pub undone: u64,
}

/// Carries a plan out. `beat` is called every tenth of a second.
pub fn run(plan: &Plan, mut beat: impl FnMut(Progress)) -> Summary {
    let canary = canary::fly(plan);
    // What canaries saw counts for nothing.
    ploop_core::verify::forget();
    let shared = Arc::new(Shared::new(plan));
    let (send, results) = mpsc::channel();
    for job in 0..shared.jobs() {
        let (shared, send) = (Arc::clone(&shared), send.clone());
        std::thread::spawn(move || {
            // If nobody listens any more, the campaign is over.
            let _ = send.send(job::work(&shared, job));
        });
    }
    drop(send);
    let started = shared.started();
    let mut summary = Summary {
        totals: Totals::default(),
        saturation: Saturation::default(),
        elapsed: Duration::ZERO,
        cpu: Duration::ZERO,
        canary,
        found: Vec::new(),
        failing: 0,
        undone: 0,
    };
    for _ in 0..shared.jobs() {
        match await_job(plan, &shared, &results, started, &mut beat) {
            Ok(report) => {
                summary.totals.merge(&report.totals);
                summary.cpu += report.cpu;
                summary.failing += report.failing;
                for found in report.found {
                    found.join(&mut summary.found);
                }
            }
            Err(hang) => {
                summary.failing += 1;
                // It comes first: it ended the campaign.
                summary.found.insert(0, hang);
                break;
            }
        }
    }
    summary.elapsed = started.elapsed();
    if plan.count() < u64::MAX {
        let done = summary.totals.runs() + summary.failing;
        summary.undone = plan.count().saturating_sub(done);
    }
    summary.saturation = shared.saturation();
    summary
}

/// Waits for one job to end; the error is a run that hangs.
fn await_job(
    plan: &Plan,
    shared: &Shared,
    results: &mpsc::Receiver<Report>,
    started: Instant,
    beat: &mut impl FnMut(Progress),
) -> Result<Report, Found> {
    loop {
        match results.recv_timeout(BEAT) {
            Ok(report) => return Ok(report),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("a job died outside of a run"),
        }
        beat(Progress {
            elapsed: started.elapsed(),
            runs: shared.runs(),
        });
        if let Some(hang) = shared.hanging(plan.patience) {
            shared.stop();
            return Err(hang);
        }
    }
}
