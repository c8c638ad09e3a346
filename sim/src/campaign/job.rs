//! One job of a campaign: a thread that takes run after run.

use super::clock::thread_cpu;
use super::found::{Found, Sort};
use super::hang::{self, Start};
use super::runner::Runner;
use super::saturation::is_watched;
use super::totals::Totals;
use super::{EPOCH, Plan, RECHECK, Saturation};
use crate::search::{Hunt, Kept, Way};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the jobs share. All of it is counters: what a run is depends on its index alone.
#[derive(Debug)]
pub(super) struct Shared {
    plan: Plan,
    started: Instant,
    next: AtomicU64,
    /// No run behind this one is wanted: enough have failed.
    failed: AtomicU64,
    /// The lowest index of each sort of failure.
    sorts: Mutex<BTreeMap<Sort, u64>>,
    /// There is little new to see.
    enough: AtomicBool,
    saturation: Mutex<Saturation>,
    slots: Vec<Slot>,
}

/// What one job is at. On a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    runs: AtomicU64,
    /// Index of the run at hand; none before the first and after the last.
    index: AtomicU64,
    /// When it began, in milliseconds since the start.
    since: AtomicU64,
    /// The tape that it began with, if it is made of another one.
    made_of: Arc<Mutex<Option<Kept>>>,
}

const NO_RUN: u64 = u64::MAX;

/// What a job hands in.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) totals: Totals,
    pub(super) cpu: Duration,
    /// One of each sort.
    pub(super) found: Vec<Found>,
    pub(super) failing: u64,
}

impl Shared {
    pub(super) fn new(plan: &Plan) -> Shared {
        let slot = || Slot {
            runs: AtomicU64::new(0),
            index: AtomicU64::new(NO_RUN),
            since: AtomicU64::new(0),
            made_of: Arc::default(),
        };
        Shared {
            plan: plan.clone(),
            started: Instant::now(),
            next: AtomicU64::new(0),
            failed: AtomicU64::new(u64::MAX),
            sorts: Mutex::default(),
            enough: AtomicBool::new(false),
            saturation: Mutex::default(),
            slots: (0..plan.jobs.max(1)).map(|_| slot()).collect(),
        }
    }

    /// When the first job could begin.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn jobs(&self) -> usize {
        self.slots.len()
    }

    /// Runs done by all jobs.
    pub(super) fn runs(&self) -> u64 {
        self.slots.iter().map(|slot| slot.runs.load(Relaxed)).sum()
    }

    /// A run that takes longer than that.
    pub(super) fn hanging(&self, patience: Duration) -> Option<Found> {
        let now = self.started.elapsed().as_millis() as u64;
        for slot in &self.slots {
            // In this order: `since` is that of the run `index`, or of a later one.
            let index = slot.index.load(Acquire);
            let taken = Duration::from_millis(now.saturating_sub(slot.since.load(Relaxed)));
            if index == NO_RUN || taken <= patience {
                continue;
            }
            return Some(self.hung(slot, index, taken));
        }
        None
    }

    /// A run that does not end, with its choices as far as it came.
    fn hung(&self, slot: &Slot, index: u64, taken: Duration) -> Found {
        let plan = &self.plan;
        let seed = plan.seed(index);
        let profile = plan.mix.profile(seed);
        let made_of = slot.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        let start = match (plan.engine.way(seed), made_of.clone()) {
            (_, Some(kept)) => Start::Prefix(kept),
            (Way::Guided(policy), None) => Start::Guided(policy),
            (Way::Chance | Way::Mutant, None) => Start::Seed,
        };
        let again = hang::choices(plan.make, profile, seed, start, plan.patience);
        let (choices, spans) = again.unzip();
        Found {
            index,
            profile,
            seed,
            engine: plan.engine,
            first: plan.first(index),
            lies: plan.lies,
            failure: hang::failure(taken),
            choices: choices.map(Into::into),
            spans: spans.unwrap_or_default().into(),
        }
    }

    /// A run has failed. With the last sort that is wanted, no run behind those is wanted any more: of one sort that makes
    /// the first failure the same whatever the number of jobs.
    fn count_failure(&self, found: &Found) {
        let mut sorts = self.sorts.lock().unwrap_or_else(PoisonError::into_inner);
        let lowest = sorts.entry(found.sort()).or_insert(u64::MAX);
        *lowest = found.index.min(*lowest);
        if self.plan.failures <= 1 {
            self.failed.fetch_min(found.index, Relaxed);
        } else if sorts.len() >= self.plan.failures {
            let last = sorts.values().copied().max().unwrap_or(found.index);
            self.failed.fetch_min(last, Relaxed);
        }
    }

    /// No further run is wanted.
    pub(super) fn stop(&self) {
        self.failed.store(0, Relaxed);
    }

    /// True if the run is still wanted. The first one always is: a campaign without a run says nothing.
    fn wants(&self, index: u64) -> bool {
        index < self.plan.count()
            && index < self.failed.load(Relaxed)
            && (index == 0
                || !self.enough.load(Relaxed)
                    && self
                        .plan
                        .time
                        .is_none_or(|time| self.started.elapsed() < time))
    }

    /// What all jobs have handed over.
    pub(super) fn saturation(&self) -> Saturation {
        let all = self.saturation.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a job carries from run to run.
struct Worker {
    runner: Runner,
    totals: Totals,
    /// Since it was handed over last.
    own: Saturation,
    scratch: Vec<u64>,
    hunt: Hunt,
}

impl Worker {
    fn new(plan: &Plan) -> Worker {
        Worker {
            runner: Runner::new(plan.make, false),
            totals: Totals::default(),
            own: Saturation::default(),
            scratch: Vec::new(),
            hunt: Hunt::default(),
        }
    }

    /// Hands over what was seen.
    fn hand_over(&mut self, shared: &Shared) {
        // What one hunt knows is new to the next.
        let seen = self
            .runner
            .watched()
            .filter(|_| !shared.plan.engine.hunts());
        let all = shared.saturation.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        self.own.hand_over(&mut all, seen);
        let enough = |unseen| all.is_down_to(unseen);
        if shared.plan.until_unseen.is_some_and(enough) {
            shared.enough.store(true, Relaxed);
        }
    }
}

/// Takes runs until none is wanted.
pub(super) fn work(shared: &Shared, job: usize) -> Report {
    let slot = &shared.slots[job];
    let before = thread_cpu();
    let mut worker = Worker::new(&shared.plan);
    worker.runner.say_made_of(Arc::clone(&slot.made_of));
    let (mut found, mut failing) = (Vec::new(), 0);
    let batch = shared.plan.engine.batch();
    'all: loop {
        let first = shared.next.fetch_add(batch, Relaxed);
        worker.hunt.restart();
        for index in first..first.saturating_add(batch) {
            if !shared.wants(index) {
                break 'all;
            }
            slot.since
                .store(shared.started.elapsed().as_millis() as u64, Relaxed);
            slot.index.store(index, Release);
            if let Err(failed) = one(shared, index, &mut worker) {
                shared.count_failure(&failed);
                failed.join(&mut found);
                failing += 1;
            }
            if worker.own.runs() >= EPOCH {
                worker.hand_over(shared);
            }
            slot.runs.fetch_add(1, Relaxed);
        }
    }
    slot.index.store(NO_RUN, Release);
    worker.hand_over(shared);
    Report {
        totals: worker.totals,
        cpu: thread_cpu().saturating_sub(before),
        found,
        failing,
    }
}

/// One run, checked for being repeatable.
fn one(shared: &Shared, index: u64, worker: &mut Worker) -> Result<(), Found> {
    let (seed, engine) = (shared.plan.seed(index), shared.plan.engine);
    let profile = shared.plan.mix.profile(seed);
    let runner = &mut worker.runner;
    let watched = engine.hunts() || shared.plan.until_unseen.is_some() || is_watched(seed);
    runner.watch(watched, engine.hunts());
    let result = match engine.way(seed) {
        Way::Chance if !engine.hunts() => runner.run(profile, seed),
        way => {
            let hunt = engine.hunts().then_some(&mut worker.hunt);
            runner.run_way(profile, seed, way, hunt)
        }
    };
    let confirmed = if result.is_err() || index.is_multiple_of(RECHECK) {
        runner.confirm(profile, &result)
    } else {
        Ok(())
    };
    let failure = match confirmed.and(result) {
        Ok(stats) => {
            worker.totals.add(profile, &stats);
            if let Some(seen) = runner.seen() {
                worker.own.add(seen, &mut worker.scratch);
            }
            return Ok(());
        }
        Err(failure) => failure,
    };
    Err(Found {
        index,
        profile,
        seed,
        engine,
        first: shared.plan.first(index),
        lies: shared.plan.lies,
        failure,
        choices: Some(runner.choices().into()),
        spans: runner.named(profile).into(),
    })
}
