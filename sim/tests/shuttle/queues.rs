//! The scenarios: a thread for each queue, one pool of I/O in flight for all.

use std::sync::{Arc, Mutex, PoisonError};

use super::engine::image::{Image, Shape, le32};
use super::engine::rig::{Io, Rig, Who, options};
use super::engine::switch::Switch;
use super::portfolio::{deterministic, explore};
use super::script::{below, one_in, op, pick};
use crate::core::units::Sectors;
use crate::core::{CloseError, Failure, IoOp, NoSpace, Options, WriteBack};

/// Schedules of each scheduler.
const SCHEDULES: usize = 3000;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) shape: Shape,
    queues: u16,
    /// Operations of each queue.
    ops: usize,
    pub(crate) options: Options,
    /// One I/O in so many fails; 0: none.
    faults: u64,
    /// A further thread suspends and resumes.
    suspends: bool,
    /// A further thread changes the chain (see `switches`).
    pub(crate) switches: &'static [Switch],
    /// One extension of the file in so many finds no space; 0: none.
    pub(crate) starves: u64,
    /// Number of the test that it belongs to, among those of `switches`.
    pub(crate) test: usize,
}

/// Four guest clusters of one sector in one page; two mapped; no free host.
const TINY: Shape = Shape {
    cluster: 1,
    clusters: 4,
    mapped: &[&[0, 2]],
    spare: 0,
};

/// Six clusters of two sectors in two pages over a lower delta.
const CHAIN: Shape = Shape {
    cluster: 2,
    clusters: 6,
    mapped: &[&[0, 1, 4], &[0, 5]],
    spare: 1,
};

pub(crate) fn scenario(shape: Shape, queues: u16, ops: usize) -> Scenario {
    Scenario {
        shape,
        queues,
        ops,
        options: Options {
            queues,
            prealloc: Sectors(shape.cluster),
            ..options()
        },
        faults: 0,
        suspends: false,
        switches: &[],
        starves: 0,
        test: 0,
    }
}

/// I/O in flight, whoever it came from. The lock is never held across a call of the core.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Io>>>);

impl Pool {
    pub(crate) fn put(&self, list: Vec<Io>) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.extend(list);
    }

    /// Takes any one.
    pub(crate) fn take(&self) -> Option<Io> {
        let len = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        let index = if len > 0 { pick(len) } else { return None };
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (index < pool.len()).then(|| pool.swap_remove(index))
    }
}

impl Scenario {
    pub(crate) fn run(&self, image: &Image) {
        let rig = Rig::new(image, self.options);
        let pool = Pool::default();
        let mut threads: Vec<_> = (0..self.queues)
            .map(|queue| {
                let (rig, pool, scenario) = (Arc::clone(&rig), pool.clone(), *self);
                shuttle::thread::spawn(move || scenario.queue(&rig, &pool, queue))
            })
            .collect();
        if self.suspends {
            let (rig, pool) = (Arc::clone(&rig), pool.clone());
            threads.push(shuttle::thread::spawn(move || suspend(&rig, &pool)));
        }
        if !self.switches.is_empty() {
            let (rig, pool, scenario) = (Arc::clone(&rig), pool.clone(), *self);
            threads.push(shuttle::thread::spawn(move || {
                scenario.control(&rig, &pool)
            }));
        }
        for thread in threads {
            thread.join().expect("a queue's thread");
        }
        self.finish(rig.current(), &pool);
    }

    /// One queue: submits its script, at most two at a time, and carries out whatever I/O there is.
    fn queue(&self, rig: &Rig, pool: &Pool, queue: u16) {
        let mut left = self.ops;
        let mut tag = 0;
        loop {
            if left > 0 && tag < 6 && one_in(2) {
                // Tags are not used again: a queue of this script is never deeper than its length.
                let who: Who = (queue, tag);
                tag += 1;
                left -= 1;
                let rig = rig.current();
                let size = rig.device.geometry().size.0;
                pool.put(rig.submit(who, op(size, self.shape.cluster)));
            } else if let Some(io) = pool.take() {
                pool.put(self.carry_out(rig, io));
            } else if left == 0 || tag == 6 {
                pool.put(rig.current().turn(queue));
                return;
            }
            if one_in(3) {
                pool.put(rig.current().turn(queue));
            }
            if one_in(24) {
                pool.put(rig.current().tick(400));
            }
        }
    }

    pub(crate) fn carry_out(&self, rig: &Rig, io: Io) -> Vec<Io> {
        if self.starves > 0 && matches!(io.op, IoOp::SetLen { .. }) && one_in(self.starves) {
            return rig.fail(io, Failure::NoSpace);
        }
        if self.faults == 0 || !one_in(self.faults) {
            return rig.done(io);
        }
        if one_in(3) {
            return rig.short(io, below(16));
        }
        // One failed sync ends everything that is durable: rarer than the others. A write without space did nothing: what
        // it did before, it says in a short end.
        match io.op {
            IoOp::ReadHole { .. } => rig.done(io),
            IoOp::Sync { .. } if !one_in(4) => rig.done(io),
            IoOp::Read { .. } | IoOp::Sync { .. } | IoOp::PunchHole { .. } => {
                rig.fail_after(io, Failure::Io, one_in(2))
            }
            _ if one_in(2) => rig.fail(io, Failure::NoSpace),
            _ => rig.fail_after(io, Failure::Io, one_in(2)),
        }
    }

    /// Carries the rest out, and checks everything that must hold at the end.
    fn finish(&self, rig: &Rig, pool: &Pool) {
        let mut rest = Vec::new();
        while let Some(io) = pool.take() {
            rest.push(io);
        }
        rig.drain(&mut rest, one_in(2));
        for _ in 0..3 {
            rest.extend(rig.tick(1_000_000));
            rig.drain(&mut rest, false);
        }
        rig.check_at_rest();
        if !rig.device.stats().poisoned {
            return rig.check_close();
        }
        rest.extend(rig.suspend());
        rig.drain(&mut rest, false);
        rig.device.verify();
        let (closed, unused) = (rig.close(), le32(&rig.top(), 44) == 0);
        match closed {
            Some(Err(CloseError::NotDurable { poisoned: true, .. })) => {}
            // Nothing was ever changed.
            Some(Ok(())) if unused => {}
            closed => panic!("closed after a failed sync: {closed:?}"),
        }
    }

    pub(crate) fn explore(self, name: &str, schedules: usize) {
        let image = Image::new(self.shape);
        explore(name, schedules, move || self.run(&image));
    }
}

/// Suspends, helps to drain, and lets go again. Whoever sees the barrier complete is alone with the files.
fn suspend(rig: &Rig, pool: &Pool) {
    for _ in 0..2 {
        pool.put(rig.suspend());
        for _ in 0..40 {
            if rig.is_quiesced() {
                assert_eq!(rig.in_flight(), 0, "quiesced with I/O in flight (I35)");
                rig.device.verify();
                assert_eq!(rig.in_flight(), 0, "I/O began on a quiesced device (I35)");
                break;
            }
            match pool.take() {
                Some(io) => pool.put(rig.done(io)),
                None => pool.put(rig.turn(0)),
            }
            if one_in(4) {
                shuttle::thread::yield_now();
            }
        }
        pool.put(rig.resume());
        if below(2) == 0 {
            return;
        }
    }
}

#[test]
fn two_queues_tiny() {
    scenario(TINY, 2, 5).explore("two_queues_tiny", SCHEDULES);
}

#[test]
fn three_queues_tiny_immediate() {
    let mut scenario = scenario(TINY, 3, 3);
    scenario.options.write_back = WriteBack::Immediate;
    scenario.explore("three_queues_tiny_immediate", SCHEDULES);
}

#[test]
fn four_queues_tiny() {
    scenario(TINY, 4, 3).explore("four_queues_tiny", SCHEDULES);
}

#[test]
fn two_queues_on_a_chain() {
    scenario(CHAIN, 2, 5).explore("two_queues_on_a_chain", SCHEDULES);
}

#[test]
fn three_queues_with_faults() {
    let mut scenario = scenario(TINY, 3, 4);
    scenario.faults = 10;
    scenario.explore("three_queues_with_faults", SCHEDULES);
}

#[test]
fn two_queues_without_space() {
    let mut scenario = scenario(CHAIN, 2, 5);
    scenario.faults = 8;
    scenario.options.no_space = NoSpace::Fail;
    scenario.explore("two_queues_without_space", SCHEDULES);
}

#[test]
fn two_queues_and_suspend() {
    let mut scenario = scenario(TINY, 2, 4);
    scenario.suspends = true;
    scenario.explore("two_queues_and_suspend", SCHEDULES);
}

#[test]
fn two_queues_suspend_and_faults() {
    let mut scenario = scenario(TINY, 2, 4);
    scenario.suspends = true;
    scenario.faults = 6;
    scenario.explore("two_queues_suspend_and_faults", SCHEDULES);
}

#[test]
fn the_same_schedule_is_the_same_run() {
    let mut scenario = scenario(CHAIN, 3, 4);
    scenario.faults = 12;
    scenario.suspends = true;
    let image = Image::new(scenario.shape);
    deterministic(200, move || scenario.run(&image));
}
