//! Runs of whole worlds, profile `tiny`, on one core.

use super::Figures;
use crate::campaign::clock::thread_cpu;
use crate::campaign::{Runner, Seeds, Totals, world};
use crate::profile::Profile;
use std::time::Duration;

/// Seeds differ from one bench to the next only if this does.
const BASE: u64 = 1;
/// Runs between two looks at the clock.
const BATCH: u64 = 64;

/// Fills in the rates. A run that fails is left out: finding it is the campaign's business.
pub(super) fn measure(effort: Duration, figures: &mut Figures) {
    let mut runner = Runner::new(world, false);
    let mut totals = Totals::default();
    let begin = thread_cpu();
    let mut next = 0;
    let spent = loop {
        for index in next..next + BATCH {
            if let Ok(stats) = runner.run(Profile::Tiny, Seeds::Base(BASE).seed(index)) {
                totals.add(Profile::Tiny, &stats);
            }
        }
        next += BATCH;
        let spent = thread_cpu().saturating_sub(begin);
        if spent >= effort {
            break spent.as_secs_f64().max(1e-9);
        }
    };
    let (runs, sum) = (totals.runs() as f64, totals.sum());
    figures.runs_per_s = runs / spent;
    figures.steps_per_s = sum.steps as f64 / spent;
    figures.ops_per_run = sum.ops as f64 / runs.max(1.0);
    figures.crashes_per_run = sum.crashes as f64 / runs.max(1.0);
}
