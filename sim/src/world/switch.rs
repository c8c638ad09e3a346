//! The chain of a running disk is changed: a clean restart of the core on changed files.
//!
//! ```text
//!   suspend, drain, close ──▶ files are changed ──▶ load, open ──▶ held requests come again
//!          │                    ├─ a call fails ──▶ made anew
//!          │                    └─ the power is cut ──▶ judged ──▶ made anew, perhaps cut again │ opened as it is; no requests
//!          └─ not everything is durable: the device goes on as it was
//! ```
//! * What was promoted (`Op::Promote`) needs no merge any more: the level below leaves the chain, and nothing is copied.
//! * To the clients nothing happens, but that a grown disk is larger, and that a disk that is rolled back is what the levels
//!   below show: the content is the same (I23).
//! * What is made is durable: a power cut right behind it shows the same files.
//! * Of the smallest worlds the first [`Switch::PLAIN`] sorts only, and no trouble: that is for the larger ones, and for the drills
//!   (`fuzzing::control`), which cut each operation in each call.

use ploop_core::control::files::ControlError;
use ploop_core::{Device, Kept, WriteBack};

use crate::check;
use crate::check::bitmaps::Knows;
use crate::check::image::Left;
use crate::profile::Profile;
use crate::report::Failure;
use crate::tape::{Event, Kind};
use crate::world::Run;
use crate::world::change::Tried;
use crate::world::close::Within;
use crate::world::cycle::Over;
use crate::world::kill::{Shared, Slots};
use crate::world::trouble::Trouble;

/// More levels than any run needs.
const MOST_LEVELS: u8 = 5;
/// The same change is made anew so often, at the most.
const MOST_TRIES: u32 = 3;

/// What goes wrong in a change, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// Nothing does.
    Nothing,
    /// The tape says what.
    Drawn,
    /// This, in the first try.
    Said(Trouble),
}

/// How the chain is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Not at all: it is loaded anew.
    Reload,
    /// A new, empty top.
    Snapshot,
    /// The level below the top goes into the top, and leaves the chain.
    Forward,
    /// The top goes into the level below, which becomes the top.
    Backward,
    /// The disk becomes so many sectors larger.
    Grow(u64),
    /// The top's clusters move into its holes.
    Compact,
    /// The top is thrown away; an empty one takes its place.
    Rollback,
    /// Somebody copies clusters of a level behind its end, one in so many, and its slots point there.
    Index {
        /// The level; the top if none is named.
        level: Option<u8>,
        /// One cluster in so many.
        every: u32,
    },
    /// The top has got a cluster too many, and perhaps a mark of being in use; it is repaired.
    Repair {
        /// It has got the mark.
        marked: bool,
    },
    /// The top gets a dirty bitmap of this granularity.
    StartBitmap(u32),
    /// In the top's first dirty bitmap nothing is dirty any more.
    ClearBitmap,
    /// The top's first dirty bitmap goes.
    StopBitmap,
    /// The index is written at once, or later.
    WriteBack(WriteBack),
    /// It is opened for reading, and read, before it is opened for writing again.
    ReadOnly,
}

impl Switch {
    /// Number of sorts.
    pub const SORTS: usize = 14;
    /// The first of them, that all worlds know.
    pub const PLAIN: usize = 6;

    /// Its number, for counts.
    #[must_use]
    pub fn sort(self) -> usize {
        match self {
            Switch::Reload => 0,
            Switch::Snapshot => 1,
            Switch::Forward => 2,
            Switch::Backward => 3,
            Switch::Grow(_) => 4,
            Switch::Compact => 5,
            Switch::Rollback => 6,
            Switch::Index { .. } => 7,
            Switch::Repair { .. } => 8,
            Switch::StartBitmap(_) => 9,
            Switch::ClearBitmap => 10,
            Switch::StopBitmap => 11,
            Switch::WriteBack(_) => 12,
            Switch::ReadOnly => 13,
        }
    }
}

impl Run<'_> {
    /// Draws one that is possible.
    fn draw_switch(&mut self) -> Switch {
        if self.world.profile != Profile::Tiny {
            return self.draw_any();
        }
        // What an operation does to an extension is judged elsewhere.
        if self.world.content.kept.ext_off != 0 {
            return Switch::Reload;
        }
        if self.is_promoted() && self.tape.choose(Kind::Arg, 2) == 0 {
            return Switch::Forward;
        }
        let drawn = match self.tape.choose(Kind::Arg, Switch::PLAIN as u32) {
            0 => Switch::Snapshot,
            1 => Switch::Forward,
            2 => Switch::Backward,
            3 => self.draw_growth(),
            4 => Switch::Compact,
            _ => Switch::Reload,
        };
        self.possible(drawn)
    }

    fn draw_growth(&mut self) -> Switch {
        Switch::Grow(1 + u64::from(self.tape.choose(Kind::Arg, 6 * self.shape.cluster as u32)))
    }

    /// Draws one of the sorts that this run has.
    fn draw_any(&mut self) -> Switch {
        if self.is_promoted() && self.tape.choose(Kind::Arg, 2) == 0 {
            return Switch::Forward;
        }
        let weights: [u32; Switch::SORTS] = std::array::from_fn(|sort| {
            let weight = [1, 3, 3, 3, 2, 2, 2, 2, 2, 3, 2, 2, 1, 1][sort];
            weight * (self.swarm.sorts >> sort & 1)
        });
        let levels = u32::from(self.shape.levels);
        let drawn = match self.tape.weighted(Kind::Arg, &weights) {
            0 => Switch::Reload,
            1 => Switch::Snapshot,
            2 => Switch::Forward,
            3 => Switch::Backward,
            4 => self.draw_growth(),
            5 => Switch::Compact,
            6 => Switch::Rollback,
            7 => Switch::Index {
                level: Some(self.tape.choose(Kind::Arg, levels) as u8),
                every: 1 + self.tape.choose(Kind::Arg, 4),
            },
            8 => Switch::Repair {
                marked: self.tape.choose(Kind::Arg, 2) == 1,
            },
            9 => Switch::StartBitmap(1 << self.tape.choose(Kind::Arg, 4)),
            10 => Switch::ClearBitmap,
            11 => Switch::StopBitmap,
            12 => Switch::WriteBack(match self.shape.options.write_back {
                WriteBack::Immediate => WriteBack::Delayed(ploop_core::units::Millis(20)),
                WriteBack::Delayed(_) => WriteBack::Immediate,
            }),
            _ => Switch::ReadOnly,
        };
        self.possible(drawn)
    }

    /// This one, or another if it makes no sense now.
    fn possible(&self, drawn: Switch) -> Switch {
        let levels = self.shape.levels;
        match drawn {
            Switch::Snapshot if levels >= MOST_LEVELS => Switch::Forward,
            Switch::Forward | Switch::Backward | Switch::Rollback if levels < 2 => Switch::Snapshot,
            // A raw file is no top.
            Switch::Backward if levels == 2 && self.shape.raw_base => Switch::Forward,
            Switch::ClearBitmap | Switch::StopBitmap
                if self.world.content.since.knows == Knows::Nobody =>
            {
                Switch::StartBitmap(1)
            }
            // It has no slots.
            Switch::Index {
                level: Some(0),
                every,
            } if self.shape.raw_base => Switch::Index { level: None, every },
            drawn => drawn,
        }
    }

    /// Draws a change of the chain and makes it. Returns the device that goes on; `None`: the old one does.
    pub(super) fn switch(&mut self, device: &Device) -> Result<Option<Device>, Failure> {
        self.tape.begin(Event::Switch);
        let switch = self.draw_switch();
        let given = match self.world.profile {
            Profile::Tiny => Given::Nothing,
            _ => Given::Drawn,
        };
        self.switch_in(device, switch, given, &mut |_| Ok(()))
    }

    /// Makes a change of the chain, which must be possible.
    pub(super) fn switch_to(
        &mut self,
        device: &Device,
        switch: Switch,
        trouble: Trouble,
    ) -> Result<Option<Device>, Failure> {
        let given = match trouble {
            Trouble::None => Given::Nothing,
            trouble => Given::Said(trouble),
        };
        self.switch_in(device, switch, given, &mut |_| Ok(()))
    }

    /// The chain is loaded anew; between its close and that somebody looks at the files.
    pub(super) fn look_at_files(
        &mut self,
        device: &Device,
        look: &mut dyn FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<Option<Device>, Failure> {
        self.switch_in(device, Switch::Reload, Given::Nothing, look)
    }

    /// If something may go wrong in it, what was made is held against a power cut. `look`: when all is closed.
    fn switch_in(
        &mut self,
        device: &Device,
        switch: Switch,
        given: Given,
        look: &mut dyn FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<Option<Device>, Failure> {
        let trouble = given != Given::Nothing;
        if self.close(device, Within::Switch)? == Over::GoesOn {
            self.say(|_| format!("{switch:?}: not everything is durable, the device goes on"));
            self.suspended = true;
            self.suspend_or_resume(device)?;
            return Ok(None);
        }
        look(self)?;
        self.say(|_| format!("{switch:?}"));
        self.trace.push(0x75 << 56 | switch.sort() as u64);
        let plan = self.plan(switch);
        // Only what there is counts.
        let counted = match switch {
            Switch::StartBitmap(_) | Switch::ClearBitmap | Switch::StopBitmap
                if plan.bitmap.is_none() =>
            {
                Switch::Reload
            }
            switch => switch,
        };
        self.stats.switches[counted.sort()] += 1;
        let (mut tries, mut failed) = (0, false);
        loop {
            let what = match given {
                Given::Drawn if tries < MOST_TRIES => self.draw_trouble(),
                Given::Said(trouble) if tries == 0 => trouble,
                _ => Trouble::None,
            };
            tries += 1;
            let Tried {
                result,
                lost,
                befell,
            } = self.change_files(switch, &plan, what);
            if what != Trouble::None && given != Given::Drawn && !befell {
                let message = format!("{switch:?}: it ends before {what:?}");
                return Err(check::failure("scenario", message));
            }
            match result {
                Ok(missed) => {
                    promoted(missed)?;
                    break;
                }
                Err(_) if lost => {
                    let again = tries > 1;
                    self.cut_in_switch(switch, &plan, again)?;
                    if given == Given::Drawn && self.tape.choose(Kind::Crash, 3) == 0 {
                        return self.open().map(Some);
                    }
                }
                Err(error) if what.is_fault() => {
                    self.say(|_| format!("failed: {error}"));
                    self.stats.switch_faults += 1;
                    failed = true;
                }
                Err(error) => return Err(refused(switch, &error)),
            }
        }
        if trouble {
            self.power_blinks(switch);
        }
        self.learn(switch, &plan)?;
        self.learn_extension_of(switch, &plan, failed)?;
        if trouble {
            self.judge(Left::Either)?;
        }
        if switch == Switch::ReadOnly {
            self.read_only(&plan)?;
        }
        self.world.slots = std::sync::Arc::new(Slots::new(self.layout.entries.into()));
        let kept = Kept::From(Box::new(Shared(self.world.slots.clone())));
        let device = self.open_as(kept)?;
        self.again(&device)?;
        Ok(Some(device))
    }

    /// Nothing shows through to the level below any more.
    pub(super) fn is_promoted(&self) -> bool {
        let levels = self.shape.levels;
        self.promoted.is_some_and(|lowest| lowest + 2 <= levels)
    }
}

/// `missed`: how many clusters a merge had to copy although they were promoted.
fn promoted(missed: u64) -> Result<(), Failure> {
    if missed == 0 {
        return Ok(());
    }
    let what = format!("{missed} clusters were promoted, and the top has not got them");
    Err(check::failure("control", what))
}

fn refused(switch: Switch, error: &ControlError) -> Failure {
    check::failure("control", format!("{switch:?}: {error}"))
}
