//! A scenario for engines that decide themselves what goes on inside: its operations alone, in phases.
//!
//! Operations that nobody waits for in between are one phase: its queues race. A line that waits for the device (`settle`,
//! `close`, `cut`, ...), or the next operation of a client that has one already, begins another.
//!
//! Those engines build their small images themselves, so not every scenario can be played there; why, is said.

use std::collections::BTreeSet;

use model::op::Op;
use ploop_core::format::{InUse, Version};
use ploop_core::{NoSpace, WriteBack};

use crate::scenario::{LeftOut, Scenario, Step};
use crate::world::chain::{Level, Owner, Plan};
use crate::world::stage::Ending;

/// Queue and tag of a client, and its operation.
pub type Asked = ((u16, u16), Op);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases {
    /// Sectors of a cluster.
    pub cluster: u64,
    /// Guest clusters.
    pub clusters: u64,
    /// Guest clusters mapped in each file, oldest first.
    pub mapped: Vec<Vec<u64>>,
    /// Free host clusters of the top.
    pub spare: u64,
    /// Index writes are acknowledged when they are durable.
    pub immediate: bool,
    /// Queues of the device.
    pub queues: u16,
    /// Sectors that the file grows by.
    pub prealloc: u64,
    /// What is asked for, phase by phase.
    pub phases: Vec<Vec<Asked>>,
    /// Lines that are not played. What decides only when something completes is none of them: these engines try all of that, and
    /// the explorer cuts the power at each moment.
    pub left_out: LeftOut,
}

/// The scenario in phases.
///
/// # Errors
/// Why it cannot be played so.
pub fn phases(scenario: &Scenario) -> Result<Phases, &'static str> {
    let shape = &scenario.shape;
    let clusters = u64::from(shape.entries);
    if shape.version != Version::V2 {
        return Err("an image of version 1");
    }
    if shape.size != clusters * shape.cluster {
        return Err("ends inside a cluster");
    }
    if shape.options.no_space == NoSpace::Fail {
        return Err("is about a full disk");
    }
    let mut mapped = Vec::new();
    for level in &scenario.lowers {
        match level {
            Level::Image(plan) if plan.size.is_some() => return Err("a shorter level"),
            Level::Image(plan) => mapped.push(guests(plan)?.0),
            Level::Raw { .. } => return Err("a raw base"),
        }
    }
    let (top, spare) = guests(&scenario.top)?;
    mapped.push(top);
    let mut phases = vec![Vec::new()];
    let mut busy = BTreeSet::new();
    let mut left_out = LeftOut::default();
    for line in &scenario.steps {
        let ends = match line.step {
            Step::Submit(from, op) => {
                let client = (from.queue.0, from.tag.0);
                if !busy.insert(client) {
                    busy = BTreeSet::from([client]);
                    phases.push(Vec::new());
                }
                if let Some(phase) = phases.last_mut() {
                    phase.push((client, op));
                }
                false
            }
            Step::Switch(..) => return Err("the chain changes"),
            Step::Track(_) => return Err("is about tracking"),
            Step::Copies(_) => return Err("works on copies of its files"),
            Step::Settle
            | Step::DeliverAll
            | Step::Close(_)
            | Step::Cut(_)
            | Step::Kill
            | Step::Suspend(_) => true,
            _ => false,
        };
        let when = matches!(
            line.step,
            Step::Submit(..)
                | Step::Deliver(_, Ending::Done)
                | Step::DeliverAll
                | Step::Turn(_)
                | Step::Cut(_)
        );
        if let Some(what) = line.step.missed().filter(|_| !when) {
            left_out.note(what);
        }
        if ends && !busy.is_empty() {
            busy.clear();
            phases.push(Vec::new());
        }
    }
    phases.retain(|phase| !phase.is_empty());
    if phases.is_empty() {
        return Err("no operation");
    }
    Ok(Phases {
        cluster: shape.cluster,
        clusters,
        mapped,
        spare,
        immediate: shape.options.write_back == WriteBack::Immediate,
        queues: shape.options.queues,
        prealloc: shape.options.prealloc.0,
        phases,
        left_out,
    })
}

/// The guest clusters of an image, and its free hosts.
fn guests(plan: &Plan) -> Result<(Vec<u64>, u64), &'static str> {
    if plan.ragged {
        return Err("a file with a ragged end");
    }
    if plan.in_use != InUse::Closed0 {
        return Err("in use, or an extension");
    }
    let (mut mapped, mut free) = (Vec::new(), 0);
    for owner in &plan.hosts {
        match owner {
            Owner::Guest(clu) => mapped.push(u64::from(*clu)),
            Owner::Free => free += 1,
            Owner::Extension | Owner::Bitmap => {
                return Err("in use, or an extension");
            }
        }
    }
    Ok((mapped, free))
}

impl Phases {
    /// Phases in which several queues race, by their place.
    #[must_use]
    pub fn races(&self) -> Vec<usize> {
        let queues = |phase: &[Asked]| {
            let queues: BTreeSet<u16> = phase.iter().map(|((queue, _), _)| *queue).collect();
            queues.len()
        };
        (0..self.phases.len())
            .filter(|&phase| queues(&self.phases[phase]) > 1)
            .collect()
    }
}
