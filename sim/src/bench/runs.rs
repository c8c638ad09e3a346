//! Runs of whole worlds, profile `tiny`, on one core.

use super::Figures;
use crate::campaign::clock::thread_cpu;
use crate::campaign::saturation::is_watched;
use crate::campaign::{EPOCH, Runner, Saturation, Seeds, Totals, world};
use crate::profile::Profile;
use std::time::Duration;

/// Seeds differ from one bench to the next only if this does.
const BASE: u64 = 1;
/// Runs between two looks at the clock.
const BATCH: u64 = 64;

/// Fills in the rates. A run that fails is left out: finding it is the campaign's business.
pub(super) fn measure(effort: Duration, figures: &mut Figures) {
    let (mut plain, mut watching) = (Runner::new(world, false), Runner::new(world, false));
    let (mut totals, mut saturation, mut scratch) = Default::default();
    let (mut spent, mut watched) = (Duration::ZERO, Duration::ZERO);
    let mut next = 0;
    while spent < effort {
        let batch = (next..next + BATCH).map(|index| Seeds::Base(BASE).seed(index));
        let begin = thread_cpu();
        for seed in batch.clone() {
            if let Ok(stats) = plain.run(Profile::Tiny, seed) {
                Totals::add(&mut totals, Profile::Tiny, &stats);
            }
        }
        let between = thread_cpu();
        for seed in batch {
            watching.watch(is_watched(seed), false);
            let passed = watching.run(Profile::Tiny, seed).is_ok();
            if let (true, Some(seen)) = (passed, watching.seen()) {
                Saturation::add(&mut saturation, seen, &mut scratch);
            }
        }
        if saturation.runs() >= EPOCH {
            let mut all = Saturation::default();
            saturation.hand_over(&mut all, watching.watched());
        }
        spent += between.saturating_sub(begin);
        watched += thread_cpu().saturating_sub(between);
        next += BATCH;
    }
    let spent = spent.as_secs_f64().max(1e-9);
    let (runs, sum) = (totals.runs() as f64, totals.sum());
    figures.runs_per_s = runs / spent;
    figures.watched_to_unwatched = watched.as_secs_f64() / spent;
    figures.steps_per_s = sum.steps as f64 / spent;
    figures.ops_per_run = sum.ops as f64 / runs.max(1.0);
    figures.crashes_per_run = sum.crashes as f64 / runs.max(1.0);
}
