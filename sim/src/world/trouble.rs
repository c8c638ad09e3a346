//! What goes wrong while the chain is changed: the power is cut in a call, or a call fails.
//!
//! ```text
//!   power cut ──▶ every file loses what was not durable ──▶ loaded: sizes, levels as before ──▶ judged: content as before
//! ```
//! * Whoever was to be told that it is done was not: the chain is the one of before. Of a merge both files are in it still.

use ploop_core::Kept;
use ploop_core::Origin;
use ploop_core::units::{QueueId, Tag};

use model::op::{Kind as OpKind, Op};

use crate::check;
use crate::check::failure;
use crate::check::image::Left;
use crate::disk::fault::{FaultKind, FaultPlan};
use crate::report::Failure;
use crate::tape::{Event, Kind};
use crate::world::Run;
use crate::world::change::{Plan, bitmaps_of};
use crate::world::kill::{Shared, Slots};
use crate::world::switch::Switch;

/// What goes wrong in a change of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// The power is cut in a call, after so many that changed or synced something.
    Cut(u32),
    /// This fault, in the so manieth call that it can befall, from 1.
    Fault(FaultKind, u32),
    /// It is given up after so many steps: a merge or a compaction.
    Cancel(u32),
}

impl Trouble {
    pub(super) fn is_fault(self) -> bool {
        matches!(self, Trouble::Fault(..))
    }

    pub(super) fn calls(self) -> Option<u32> {
        match self {
            Trouble::Cut(calls) => Some(calls),
            _ => None,
        }
    }

    pub(super) fn faults(self) -> FaultPlan {
        match self {
            Trouble::Fault(kind, nth) => FaultPlan::at(kind, nth, 1),
            _ => FaultPlan::none(),
        }
    }
}

impl Run<'_> {
    pub(super) fn draw_trouble(&mut self) -> Trouble {
        // Most calls are made at the beginning and at the end; of a long change all are alike.
        let most = |run: &mut Self| [6, 16, 60][run.tape.index(Kind::Crash, 3)];
        match self.tape.choose(Kind::Crash, 6) {
            0..=2 => Trouble::None,
            3 | 4 => {
                let most = most(self);
                Trouble::Cut(self.tape.choose(Kind::Crash, most))
            }
            _ => {
                let kinds = [FaultKind::Io, FaultKind::NoSpace, FaultKind::Short];
                let kind = kinds[self.tape.index(Kind::Fault, kinds.len())];
                let most = most(self);
                Trouble::Fault(kind, 1 + self.tape.choose(Kind::Fault, most))
            }
        }
    }

    /// The lower level that a change may have written.
    pub(super) fn lower_of(&self, switch: Switch) -> Option<usize> {
        let last = self.world.lowers.len().checked_sub(1);
        match switch {
            Switch::Forward | Switch::Backward => last,
            Switch::Index { level, .. } => level.map(usize::from),
            _ => None,
        }
        .filter(|&level| level < self.world.lowers.len())
    }

    /// The power is off for a moment: every file loses what is not durable.
    fn fall_files(&mut self, switch: Switch) {
        let lower = self.lower_of(switch);
        let world = &mut *self.world;
        let torn = world.top.crash(self.tape).torn_meta > 0;
        if let Some(level) = lower {
            world.lowers[level].crash(self.tape);
        }
        self.tore(torn);
    }

    /// A change has ended: what it made is durable, so that nobody notices when the power is off for a moment.
    pub(super) fn power_blinks(&mut self, switch: Switch) {
        // A lower level that became the top was the last one.
        self.fall_files(switch);
    }

    /// The power was cut in a change. `again`: not in the first try.
    pub(super) fn cut_in_switch(
        &mut self,
        switch: Switch,
        plan: &Plan,
        again: bool,
    ) -> Result<(), Failure> {
        self.stats.switch_cuts += 1;
        self.stats.switch_recovery_cuts += u64::from(again);
        self.say(|_| "the power is cut within it".to_owned());
        if again {
            // The device is gone already.
            self.tape.begin(Event::Cut);
        } else {
            self.fall();
        }
        self.fall_files(switch);
        let old = self.shape.size;
        let size = self.relearn(switch)?;
        if size != old && size != plan.size {
            let message = format!("{switch:?}, cut: {size} sectors, were {old}");
            return Err(failure("control", message));
        }
        if plan.bitmap.is_some() {
            let now = bitmaps_of(&self.world.top);
            check::bitmaps::changed(plan.bitmap, &plan.bitmaps, &now, false)?;
            self.world.content.since.relearn();
        }
        self.world.content.kept.loose = true;
        self.judge(Left::Either)?;
        let world = &mut *self.world;
        world.content.since.next(&world.images.seen);
        let restarted = world.model.restart(&world.images.seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))?;
        world.tags.iter_mut().for_each(|tag| tag.active = None);
        Ok(())
    }

    /// The chain is opened for reading only, and read.
    pub(super) fn read_only(&mut self, plan: &Plan) -> Result<(), Failure> {
        let depth = usize::from(self.shape.options.depth);
        let Some(index) = self.world.tags.iter().position(|tag| tag.active.is_none()) else {
            return Ok(());
        };
        let origin = Origin {
            queue: QueueId((index / depth) as u16),
            tag: Tag((index % depth) as u16),
        };
        let (entries, knows) = (self.layout.entries, self.world.content.since.knows);
        self.shape.options.write = false;
        self.world.slots = std::sync::Arc::new(Slots::new(entries.into()));
        let kept = Kept::From(Box::new(Shared(self.world.slots.clone())));
        let device = self.open_as(kept)?;
        let op = Op {
            kind: OpKind::Read,
            start: 0,
            len: self.shape.size,
        };
        self.submit(&device, origin, op)?;
        self.drain(&device)?;
        self.shape.options.write = true;
        if self.world.tags[index].active.is_some() {
            return Err(failure("progress", "a read does not end".to_owned()));
        }
        if self.world.top.pending() > 0 {
            return Err(failure(
                "control",
                "written, and opened for reading".to_owned(),
            ));
        }
        self.world.content.since.knows = knows;
        self.world.content.since.next(&plan.content);
        Ok(())
    }
}
