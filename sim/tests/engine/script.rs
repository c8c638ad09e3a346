//! A script of operations in phases: the queues of one phase race, all others take turns. For scenarios, which say what is
//! asked for; who completes what, and when, is the engine's affair.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{Racer, options_of};
use super::core::Options;
use super::core::units::Sectors;
use super::image::{Image, Shape};
use super::ledger::Shadow;
use super::rig::{Io, Rig, Who};
use model::op::Op;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) shape: Shape,
    pub(crate) immediate: bool,
    pub(crate) queues: u16,
    pub(crate) prealloc: u64,
    pub(crate) phases: Vec<Vec<(Who, Op)>>,
}

/// Guest clusters by file, for a shape. A process has a few of them.
pub(crate) fn keep(mapped: &[Vec<u64>]) -> &'static [&'static [u64]] {
    let kept: Vec<&'static [u64]> = mapped
        .iter()
        .map(|clusters| -> &'static [u64] { clusters.clone().leak() })
        .collect();
    kept.leak()
}

impl Script {
    fn options(&self) -> Options {
        options_of(self.queues.into(), Sectors(self.prealloc), self.immediate)
    }

    /// Plays it once; `race` is called for each phase that `races` says.
    pub(crate) fn play(
        &self,
        image: &Image,
        shadow: Option<Box<dyn Shadow>>,
        races: impl Fn(usize) -> bool,
        mut race: impl FnMut(Vec<Racer>) -> Vec<Vec<Io>>,
    ) {
        let rig = Rig::new(image, self.options());
        rig.cast(shadow);
        for (number, phase) in self.phases.iter().enumerate() {
            let mut left = if races(number) {
                let mut queues: BTreeMap<u16, Vec<(Who, Op)>> = BTreeMap::new();
                for &(who, op) in phase {
                    queues.entry(who.0).or_default().push((who, op));
                }
                let racers = queues.into_iter().map(|(queue, asked)| -> Racer {
                    let rig = Arc::clone(&rig);
                    Box::new(move || follow(&rig, queue, asked))
                });
                race(racers.collect()).into_iter().flatten().collect()
            } else {
                let mut list = Vec::new();
                for &(who, op) in phase {
                    list.extend(rig.submit(who, op));
                }
                list
            };
            rig.drain(&mut left, false);
            for &(who, _) in phase {
                assert_eq!(rig.outcome(who), Ok(()), "phase {number}");
            }
        }
        rig.check_at_rest();
        rig.check_close();
    }
}

/// One queue: asks, carries out what that needs, ends its batch, carries out what that brings.
fn follow(rig: &Rig, queue: u16, asked: Vec<(Who, Op)>) -> Vec<Io> {
    let mut list = Vec::new();
    for (who, op) in asked {
        list.extend(rig.submit(who, op));
    }
    while let Some(io) = list.pop() {
        list.extend(rig.done(io));
    }
    list.extend(rig.turn(queue));
    list
}
