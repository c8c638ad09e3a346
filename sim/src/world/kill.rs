//! The server is killed and another one takes over: no power is lost, and the clients notice nothing.
//!
//! ```text
//!   kill ──▶ I/O in flight ends in any way, unseen ──▶ load, open on the slots that were kept ──▶ requests in flight come again
//! ```
//! * What was acknowledged stays, flushed or not: to the model nothing happens.
//! * The cache of the file outlives the server; a sync that was under way may have been nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use model::op::Op;
use ploop_core::units::{Clu, QueueId, Tag};
use ploop_core::{Device, Origin, VisibleMap};

use crate::check::in_use::{self, Mark};
use crate::disk::{Effect, SyncEffect};
use crate::report::Failure;
use crate::tape::{Event, Kind};
use crate::world::flight::Doing;
use crate::world::log::Happening;
use crate::world::{Canary, Run};

/// The visible slots of a device, outside of it.
#[derive(Debug, Default)]
pub(super) struct Slots {
    entries: Vec<AtomicU32>,
    poisoned: AtomicBool,
}

impl Slots {
    pub(super) fn new(entries: u64) -> Slots {
        Slots {
            entries: (0..entries).map(|_| AtomicU32::new(0)).collect(),
            poisoned: AtomicBool::new(false),
        }
    }

    /// What clients see of a cluster in the top.
    pub(super) fn get(&self, clu: Clu) -> u32 {
        let slot = self.entries.get(clu.0 as usize);
        slot.map_or(0, |slot| slot.load(Ordering::Relaxed))
    }
}

/// What a device is given.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<Slots>);

impl VisibleMap for Shared {
    fn set(&self, clu: Clu, entry: u32) {
        if let Some(slot) = self.0.entries.get(clu.0 as usize) {
            slot.store(entry, Ordering::Relaxed);
        }
    }

    fn get(&self, clu: Clu) -> u32 {
        self.0.get(clu)
    }

    fn set_poisoned(&self) {
        self.0.poisoned.store(true, Ordering::Relaxed);
    }

    fn is_poisoned(&self) -> bool {
        self.0.poisoned.load(Ordering::Relaxed)
    }
}

impl Run<'_> {
    /// Kills the server. What it had in flight ends; nobody hears of it.
    pub(super) fn kill(&mut self) {
        self.stats.kills += 1;
        self.trace.push(0x6B << 56);
        self.tape.begin(Event::Kill);
        self.note(|run| Happening::Kill {
            in_flight: run.world.flights.len(),
        });
        while !self.world.flights.is_empty() {
            let index = self.tape.index(Kind::Event, self.world.flights.len());
            let flight = self.world.flights.remove(index);
            let whole = self.tape.choose(Kind::Crash, 2) == 0;
            self.note(|_| Happening::Orphan {
                io: flight.io(),
                op: flight.op().clone(),
                whole,
            });
            let top = &mut self.world.top;
            match flight.doing() {
                Doing::Nothing => {}
                Doing::Change(id) => {
                    let effect = if whole { Effect::Done } else { Effect::Failed };
                    top.complete(id, effect, self.tape);
                    if whole && self.mark == Mark::Unmarked && in_use::carries_mark(flight.op()) {
                        self.mark = Mark::Written;
                    }
                }
                Doing::Sync(id, mark) => {
                    let done = whole && self.world.canary == Canary::Off;
                    let effect = if done {
                        SyncEffect::Done
                    } else {
                        SyncEffect::Nothing
                    };
                    top.complete_sync(id, effect, self.tape);
                    if done && mark != Mark::Unmarked {
                        self.mark = Mark::Durable;
                    }
                }
            }
        }
    }

    /// A new server: opens the chain on the slots that were kept, and gets every request again that had not ended.
    pub(super) fn recover(&mut self) -> Result<Device, Failure> {
        let mark = self.mark;
        let device = self.open_again()?;
        // A mark that was not durable is made again.
        if mark == Mark::Durable {
            self.mark = mark;
        }
        self.again(&device)?;
        Ok(device)
    }

    /// Everything that was submitted and has not ended is submitted again.
    pub(super) fn again(&mut self, device: &Device) -> Result<(), Failure> {
        for (origin, op) in self.unended() {
            self.note(|_| Happening::Submit {
                origin,
                op,
                write: 0,
                again: true,
            });
            // Of an image that is open anew: what failed before is over.
            let index = self.tag_index(origin);
            self.world.tags[index].poisoned = self.poisoned;
            self.request(device, origin, op)?;
        }
        Ok(())
    }

    /// What has been submitted and has not ended, by queue and tag.
    fn unended(&self) -> Vec<(Origin, Op)> {
        let depth = usize::from(self.shape.options.depth);
        let tags = self.world.tags.iter().enumerate();
        tags.filter_map(|(index, tag)| {
            let origin = Origin {
                queue: QueueId((index / depth) as u16),
                tag: Tag((index % depth) as u16),
            };
            tag.active.map(|(_, op)| (origin, op))
        })
        .collect()
    }
}
