//! Whole devices whose chain is changed while their queues work: suspended, drained, closed, the files changed, opened anew,
//! and what had not ended comes again (DESIGN, R8). A thread for each queue, as in `queues`, and one for the control plane.
//!
//! Beside what `queues` checks: when the control plane is told "drained" nothing is in flight, and nothing begins on the old
//! device (I12, I35); what was closed is durable; after the change the disk reads the same (I23); a dirty bitmap has every
//! change (I32).

use std::sync::atomic::{AtomicUsize, Ordering};

use super::engine::image::Shape;
use super::engine::rig::Rig;
use super::engine::switch::Switch;
use super::portfolio::deterministic;
use super::queues::{Pool, Scenario, scenario};
use super::script::{below, one_in};
use crate::core::units::Sectors;
use crate::core::{NoSpace, WriteBack};

/// Schedules of each scheduler.
const SCHEDULES: usize = 1000;
/// How often the control plane asks before it gives up.
const PATIENCE: usize = 60;

/// Four guest clusters of one sector; no free host.
const FLAT: Shape = Shape {
    cluster: 1,
    clusters: 4,
    mapped: &[&[0, 2]],
    spare: 0,
};

/// Three levels of two-sector clusters, in two pages.
const DEEP: Shape = Shape {
    cluster: 2,
    clusters: 6,
    mapped: &[&[0, 1, 4], &[0, 5], &[2]],
    spare: 1,
};

/// So many entries that a few more make the BAT longer: the first host is in its way, and moves.
const EDGE: Shape = Shape {
    cluster: 1,
    clusters: 111,
    mapped: &[&[0, 1, 110]],
    spare: 1,
};

/// Changes of a chain that were made, by all schedules of the test that runs.
static MADE: [AtomicUsize; TESTS] = [const { AtomicUsize::new(0) }; TESTS];
const TESTS: usize = 8;

impl Scenario {
    /// The control plane: one change after the other. It helps to drain, and gives up where that takes too long or not
    /// everything is durable.
    pub(crate) fn control(&self, rig: &Rig, pool: &Pool) {
        for &switch in self.switches {
            for _ in 0..below(8) {
                shuttle::thread::yield_now();
            }
            let device = rig.current();
            pool.put(device.suspend());
            let changed = self
                .drains(device, pool)
                .then(|| device.try_switch(switch))
                .flatten();
            match changed {
                Some(list) => {
                    MADE[self.test].fetch_add(1, Ordering::Relaxed);
                    pool.put(list);
                }
                None => pool.put(device.resume()),
            }
        }
    }

    fn drains(&self, device: &Rig, pool: &Pool) -> bool {
        for _ in 0..PATIENCE {
            if device.is_quiesced() {
                device.device.verify();
                return true;
            }
            match pool.take() {
                Some(io) => pool.put(self.carry_out(device, io)),
                None => pool.put(device.turn(0)),
            }
            if one_in(4) {
                shuttle::thread::yield_now();
            }
        }
        false
    }
}

/// Explores it, and most of its changes must have been made.
fn check(test: usize, name: &str, mut scenario: Scenario, schedules: usize) {
    scenario.test = test;
    let wanted = schedules * scenario.switches.len() * 6;
    scenario.explore(name, schedules);
    let made = MADE[test].load(Ordering::Relaxed);
    println!("{name}: {made} changes of the chain in {wanted} attempts");
    assert!(made > wanted / 2, "{name}: only {made} of {wanted}");
}

/// The disk grows, and with it the BAT, while clusters are allocated, given up and used again.
#[test]
fn grow_against_allocation() {
    let mut scenario = scenario(EDGE, 2, 5);
    scenario.options.page_bytes = 512;
    scenario.options.granule = 512;
    scenario.switches = &[Switch::Grow(1), Switch::Grow(3)];
    check(0, "grow_against_allocation", scenario, SCHEDULES / 5);
}

/// The same without a cluster that moves: every page and every host counts.
#[test]
fn grow_a_full_device() {
    let mut scenario = scenario(FLAT, 3, 4);
    scenario.switches = &[Switch::Grow(1), Switch::Grow(4), Switch::Compact];
    check(1, "grow_a_full_device", scenario, SCHEDULES);
}

/// The top goes into the level below, then that one takes in the last, while clusters are copied on write and promoted.
#[test]
fn merge_against_copy() {
    let mut scenario = scenario(DEEP, 2, 5);
    scenario.switches = &[Switch::Backward, Switch::Forward];
    check(2, "merge_against_copy", scenario, SCHEDULES);
}

/// The disk goes on with another chain and back (dm-ploop: `flip_upper_deltas`), while it is flushed; writes are
/// acknowledged when they are durable.
#[test]
fn flip_against_flush() {
    let mut scenario = scenario(DEEP, 2, 5);
    scenario.options.write_back = WriteBack::Immediate;
    scenario.switches = &[Switch::Snapshot, Switch::Backward];
    check(3, "flip_against_flush", scenario, SCHEDULES);
}

/// Snapshots, while requests wait for space, for clusters and for each other.
#[test]
fn snapshot_against_parked() {
    let mut scenario = scenario(FLAT, 3, 4);
    scenario.starves = 2;
    scenario.switches = &[Switch::Snapshot, Switch::Snapshot];
    check(4, "snapshot_against_parked", scenario, SCHEDULES);
}

/// The same where nobody waits for space.
#[test]
fn snapshot_without_space() {
    let mut scenario = scenario(DEEP, 2, 5);
    scenario.starves = 2;
    scenario.options.no_space = NoSpace::Fail;
    scenario.options.prealloc = Sectors(4);
    scenario.switches = &[Switch::Snapshot, Switch::Forward];
    check(5, "snapshot_without_space", scenario, SCHEDULES);
}

/// Changed block tracking is started, saved, taken along by a larger disk and stopped, while the disk is written.
#[test]
fn bitmaps_against_writes() {
    let mut scenario = scenario(FLAT, 2, 6);
    scenario.switches = &[Switch::Start, Switch::Reload, Switch::Grow(2), Switch::Stop];
    check(6, "bitmaps_against_writes", scenario, SCHEDULES);
}

#[test]
fn the_same_schedule_changes_the_same_chain() {
    let mut scenario = scenario(DEEP, 2, 5);
    scenario.test = 7;
    scenario.starves = 3;
    scenario.switches = &[Switch::Snapshot, Switch::Backward, Switch::Forward];
    let image = super::engine::image::Image::new(scenario.shape);
    deterministic(100, move || scenario.run(&image));
}
