//! The chain of a running disk is changed: a clean restart of the core on changed files.
//!
//! ```text
//!   suspend, drain, close ──▶ files are changed: snapshot │ merge │ grow │ compact ──▶ load, open ──▶ held requests come again
//!          └─ not everything is durable: the device goes on as it was
//! ```
//! * What was promoted (`Op::Promote`) needs no merge any more: the level below leaves the chain, and nothing is copied.
//! * To the clients nothing happens, but that a grown disk is larger: the content is the same (I23).
//! * What a power cut inside an operation leaves is the business of the drills (`fuzzing::control`); here the disk is in use
//!   before and after, and power is cut and servers are killed there.

use model::op::Value;
use ploop_core::control::files::{self, Compact, ControlError, Merge, Source};
use ploop_core::drive::DeltaFile;
use ploop_core::format::{Layout, Version};
use ploop_core::load;
use ploop_core::units::Sectors;
use ploop_core::{Device, Kept};

use crate::check;
use crate::disk::fault::FaultPlan;
use crate::disk::{BlockingFile, Geometry, Power as Supply, SimFile};
use crate::report::Failure;
use crate::tape::{Event, Kind};
use crate::world::close::Within;
use crate::world::cycle::Over;
use crate::world::kill::{Shared, Slots};
use crate::world::{Run, World};

/// More levels than any run needs.
const MOST_LEVELS: u8 = 5;
/// Clusters that a merge or a compaction handles at once.
const STEP: u32 = 2;

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
}

impl Switch {
    /// Number of sorts.
    pub const SORTS: usize = 6;

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
        }
    }
}

impl Run<'_> {
    /// Draws one that is possible.
    fn draw_switch(&mut self) -> Switch {
        // What an operation does to an extension is judged by the drills.
        if self.world.content.kept.ext_off != 0 {
            return Switch::Reload;
        }
        let levels = self.shape.levels;
        if self.is_promoted() && self.tape.choose(Kind::Arg, 2) == 0 {
            return Switch::Forward;
        }
        let drawn = match self.tape.choose(Kind::Arg, Switch::SORTS as u32) {
            0 => Switch::Snapshot,
            1 => Switch::Forward,
            2 => Switch::Backward,
            3 => Switch::Grow(
                1 + u64::from(self.tape.choose(Kind::Arg, 6 * self.shape.cluster as u32)),
            ),
            4 => Switch::Compact,
            _ => Switch::Reload,
        };
        match drawn {
            Switch::Snapshot if levels >= MOST_LEVELS => Switch::Forward,
            Switch::Forward | Switch::Backward if levels < 2 => Switch::Snapshot,
            // A raw file is no top.
            Switch::Backward if levels == 2 && self.shape.raw_base => Switch::Forward,
            drawn => drawn,
        }
    }

    /// Draws a change of the chain and makes it. Returns the device that goes on; `None`: the old one does.
    pub(super) fn switch(&mut self, device: &Device) -> Result<Option<Device>, Failure> {
        self.tape.begin(Event::Switch);
        let switch = self.draw_switch();
        self.switch_to(device, switch)
    }

    /// Makes a change of the chain, which must be possible.
    pub(super) fn switch_to(
        &mut self,
        device: &Device,
        switch: Switch,
    ) -> Result<Option<Device>, Failure> {
        if self.close(device, Within::Switch)? == Over::GoesOn {
            self.say(|_| format!("{switch:?}: not everything is durable, the device goes on"));
            self.suspended = true;
            self.suspend_or_resume(device)?;
            return Ok(None);
        }
        self.say(|_| format!("{switch:?}"));
        self.trace.push(0x75 << 56 | switch.sort() as u64);
        self.stats.switches[switch.sort()] += 1;
        let changed = self.change_files(switch);
        let missed =
            changed.map_err(|error| check::failure("control", format!("{switch:?}: {error}")))?;
        if missed > 0 {
            let what = format!("{missed} clusters were promoted, and the top has not got them");
            return Err(check::failure("control", what));
        }
        self.learn(switch)?;
        self.world.slots = std::sync::Arc::new(Slots::new(self.layout.entries.into()));
        let kept = Kept::From(Box::new(Shared(self.world.slots.clone())));
        let device = self.open_as(kept)?;
        self.again(&device)?;
        Ok(Some(device))
    }

    /// Nothing shows through to the level below any more.
    fn is_promoted(&self) -> bool {
        let levels = self.shape.levels;
        self.promoted.is_some_and(|lowest| lowest + 2 <= levels)
    }

    /// Returns how many clusters a merge had to copy although they were promoted.
    fn change_files(&mut self, switch: Switch) -> Result<u64, ControlError> {
        let raw = self.shape.raw_base && self.shape.levels == 2;
        let promoted = self.is_promoted();
        let mut missed = 0;
        let size = Sectors(self.shape.size);
        let (version, cluster) = (self.shape.version, Sectors(self.shape.cluster));
        let granule = self.shape.options.granule;
        let entries = match switch {
            Switch::Grow(more) => (self.shape.size + more).div_ceil(self.shape.cluster),
            _ => u64::from(self.shape.entries),
        };
        let limit = self.shape.limit() + (3 * entries + 16) * self.shape.cluster;
        let World { lowers, top, .. } = &mut *self.world;
        let mut none = FaultPlan::none();
        let supply = Supply::new(self.tape, &mut none, None);
        match switch {
            Switch::Reload => return Ok(0),
            Switch::Snapshot => {
                let mut new = SimFile::new();
                let start = Layout::lowest_data_start(version, cluster, entries as u32);
                let geometry = Geometry {
                    meta_len: start.bytes(),
                    granule,
                    limit_sectors: limit,
                };
                new.reset(geometry, &[], &[], 0);
                let file = BlockingFile::new(&mut new, &supply);
                load::new_image(&file, version, cluster, size).map_err(|error| {
                    ControlError::Io {
                        file: "new top".to_owned(),
                        what: "creating it",
                        source: std::io::Error::other(error),
                    }
                })?;
                lowers.push(std::mem::replace(top, new));
            }
            Switch::Grow(more) => {
                top.set_limit(limit);
                let file = BlockingFile::new(top, &supply);
                files::grow(&file, "top", Sectors(size.0 + more))?;
            }
            Switch::Compact => {
                let file = BlockingFile::new(top, &supply);
                let mut compact = Compact::new(&file, "top")?;
                while !compact.step(STEP)?.finished {}
            }
            Switch::Forward | Switch::Backward => {
                let Some(mut below) = lowers.pop() else {
                    return Ok(0);
                };
                below.set_limit(limit);
                top.set_limit(limit);
                {
                    let lower = BlockingFile::new(&mut below, &supply);
                    let upper = BlockingFile::new(top, &supply);
                    let source = |file, name, raw| Source { file, name, raw };
                    let pair = (
                        source(&lower as &dyn DeltaFile, "below", raw),
                        source(&upper, "top", false),
                    );
                    let mut merge = match switch {
                        Switch::Forward => Merge::forward(pair.0, pair.1)?,
                        _ => Merge::backward(pair.0, pair.1)?,
                    };
                    if switch == Switch::Forward && promoted {
                        self.stats.promoted_merges += 1;
                        missed = merge.progress().total;
                    }
                    while !merge.step(STEP)?.finished {}
                }
                if switch == Switch::Backward {
                    *top = below;
                }
            }
        }
        Ok(missed)
    }

    /// Learns what the chain is now: levels, sizes, layouts, and what the lower levels show.
    fn learn(&mut self, switch: Switch) -> Result<(), Failure> {
        let refused = |error: String| check::failure("control", error);
        let loaded = load::load(&self.world.top, "top").map_err(|e| refused(e.to_string()))?;
        let layout = loaded
            .expanded()
            .map(|image| image.layout)
            .ok_or_else(|| refused("the top is no image".to_owned()))?;
        let limit = self.shape.limit();
        self.layout = layout;
        self.shape.version = layout.version;
        self.shape.packed &= layout.version == Version::V1 && switch != Switch::Snapshot;
        self.shape.entries = layout.entries;
        let old = std::mem::replace(&mut self.shape.size, layout.size.0);
        self.shape.levels = self.world.lowers.len() as u8 + 1;
        self.shape.raw_base &= !self.world.lowers.is_empty();
        let more = match switch {
            Switch::Grow(more) => more,
            _ => 0,
        };
        if layout.size.0 != old + more {
            let message = format!("{switch:?}: {} sectors, not {}", layout.size.0, old + more);
            return Err(refused(message));
        }
        let world = &mut *self.world;
        world.model.grow(more);
        world.top.relay(Geometry {
            meta_len: layout.data_start.bytes(),
            granule: self.shape.options.granule,
            limit_sectors: limit.max(self.shape.limit()) + world.top.len_sectors(),
        });
        let mut below = vec![Value::ZERO; self.shape.size as usize];
        for (level, file) in world.lowers.iter().enumerate() {
            let raw = level == 0 && self.shape.raw_base;
            world
                .images
                .lay_over(file.view(), raw, self.shape.cluster, &mut below);
        }
        world.content.below = below;
        Ok(())
    }
}
