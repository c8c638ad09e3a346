//! What the runs of a campaign add up to.

use crate::profile::Profile;
use crate::report::RunStats;

/// Sums over runs, by profile. Adding is commutative: the order of the runs does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    by_profile: Vec<(Profile, u64, RunStats)>,
}

impl Totals {
    /// Adds one run.
    pub fn add(&mut self, profile: Profile, stats: &RunStats) {
        self.add_all(profile, 1, stats);
    }

    /// Adds all runs of `other`.
    pub fn merge(&mut self, other: &Totals) {
        for (profile, runs, stats) in &other.by_profile {
            self.add_all(*profile, *runs, stats);
        }
    }

    /// Adds so many runs.
    pub(super) fn add_runs(&mut self, profile: Profile, runs: u64, stats: &RunStats) {
        self.add_all(profile, runs, stats);
    }

    fn add_all(&mut self, profile: Profile, runs: u64, stats: &RunStats) {
        match self
            .by_profile
            .iter_mut()
            .find(|(known, ..)| *known == profile)
        {
            Some((_, count, sum)) => {
                *count += runs;
                add(sum, stats);
            }
            None => {
                self.by_profile.push((profile, runs, *stats));
                self.by_profile.sort_by_key(|(profile, ..)| *profile);
            }
        }
    }

    /// Number of runs.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.by_profile.iter().map(|(_, runs, _)| runs).sum()
    }

    /// Sum over all profiles. The trace is one of all runs, whatever their order.
    #[must_use]
    pub fn sum(&self) -> RunStats {
        let mut all = RunStats::default();
        self.by_profile
            .iter()
            .for_each(|(_, _, stats)| add(&mut all, stats));
        all
    }

    /// Runs and sums of each profile that had a run.
    pub fn iter(&self) -> impl Iterator<Item = (Profile, u64, &RunStats)> + '_ {
        self.by_profile
            .iter()
            .map(|(profile, runs, stats)| (*profile, *runs, stats))
    }
}

fn add(sum: &mut RunStats, stats: &RunStats) {
    // Taken apart whole, so that a new count cannot be forgotten here.
    let RunStats {
        ops,
        steps,
        crashes,
        kills,
        left,
        switches,
        switch_cuts,
        switch_recovery_cuts,
        switch_faults,
        short_lowers,
        suspends,
        copies,
        promoted_merges,
        recovery_crashes,
        close_crashes,
        complete_cuts,
        crash_images,
        sectors_compared,
        torn_rounds,
        torn_real_rounds,
        faults,
        trace,
    } = stats;
    sum.ops += ops;
    sum.steps += steps;
    sum.crashes += crashes;
    sum.kills += kills;
    sum.left += left;
    sum.copies += copies;
    sum.promoted_merges += promoted_merges;
    for (all, some) in sum.switches.iter_mut().zip(switches) {
        *all += some;
    }
    sum.switch_cuts += switch_cuts;
    sum.switch_recovery_cuts += switch_recovery_cuts;
    sum.switch_faults += switch_faults;
    sum.short_lowers += short_lowers;
    sum.suspends += suspends;
    sum.recovery_crashes += recovery_crashes;
    sum.close_crashes += close_crashes;
    sum.complete_cuts += complete_cuts;
    sum.crash_images += crash_images;
    sum.sectors_compared += sectors_compared;
    sum.torn_rounds += torn_rounds;
    sum.torn_real_rounds += torn_real_rounds;
    sum.faults.add(faults);
    sum.trace = sum.trace.wrapping_add(*trace);
}
