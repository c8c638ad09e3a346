//! Runs one scenario under every scheduler worth having: uniform random walk, random, and PCT of depths 2 to 5. PCT below
//! the depth of a bug is blind, not slow; so no depth alone, and never depth-first search alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::engine::trace;
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
    UncontrolledNondeterminismCheckScheduler, UrwRandomScheduler,
};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// Depths of PCT.
const DEPTHS: std::ops::RangeInclusive<usize> = 2..=5;
/// Bytes of a thread's stack. The default of 60 KiB is too small for a model and a device.
const STACK: usize = 1 << 20;
/// Names the file of the schedule (or is the schedule) to be run again instead of the portfolio.
const REPLAY: &str = "SIM_SHUTTLE_REPLAY";

/// How every test here runs.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    config.failure_persistence = FailurePersistence::File(Some(env!("CARGO_TARGET_TMPDIR").into()));
    config
}

/// Runs `scenario` for `schedules` schedules of each scheduler, from fixed seeds.
pub(crate) fn explore(name: &str, schedules: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = Arc::new(scenario);
    if let Ok(named) = std::env::var(REPLAY) {
        let schedule = std::fs::read_to_string(&named).unwrap_or(named);
        let scenario = Arc::clone(&scenario);
        return explain(name, || {
            let mut replay = ReplayScheduler::new_from_encoded(&schedule);
            replay.set_allow_incomplete();
            Runner::new(replay, config()).run(move || scenario());
        });
    }
    explain(name, || {
        let urw = UrwRandomScheduler::new_from_seed(1, schedules);
        let random = RandomScheduler::new_from_seed(2, schedules);
        let mut runs = vec![run(urw, &scenario), run(random, &scenario)];
        for depth in DEPTHS {
            let pct = PctScheduler::new_from_seed(depth as u64, depth, schedules);
            runs.push(run(pct, &scenario));
        }
        assert!(
            runs.iter().all(|&runs| runs == schedules),
            "{name}: cut: {runs:?}"
        );
    });
    println!("{name}: {schedules} schedules each of URW, random, PCT 2 to 5");
}

fn run<F: Fn() + Send + Sync + 'static>(
    scheduler: impl Scheduler + 'static,
    scenario: &Arc<F>,
) -> usize {
    let scenario = Arc::clone(scenario);
    Runner::new(scheduler, config()).run(move || scenario())
}

/// Nothing but the scheduler decides: the same schedule is the same run.
pub(crate) fn deterministic(schedules: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let check =
        UncontrolledNondeterminismCheckScheduler::new(RandomScheduler::new_from_seed(7, schedules));
    Runner::new(check, config()).run(scenario);
}

fn explain(name: &str, f: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(f)) {
        trace::print();
        eprintln!(
            "run it again: {REPLAY}=<the schedule's file, see above> cargo test -p sim --test shuttle {name}"
        );
        resume_unwind(panic);
    }
}
