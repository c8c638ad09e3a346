//! One run: a chain of files, a device on it, clients, faults, a power cut, all driven by one tape.
//!
//! ```text
//!   draw shape, chain, swarm ──▶ power cycle ──▶ power cycle ──▶ ... ──▶ done
//!
//!   power cycle: load, open ──▶ events: submit │ deliver a completion │ turn │ tick │ suspend, resume
//!                   │                └─ all operations ended ──▶ clean close, image checked and compared
//!                   ├─ chain changed (snapshot, merge, ...; the power cut in it) ──▶ opened anew ──▶ events
//!                   ├─ not everything can be made durable ──▶ left like that, opened by the next server
//!                   ├─ server killed at any event ──▶ opened again on the slots that were kept ──▶ events
//!                   └─ power cut at any event, or inside the close ──▶ crash images opened, checked, compared; one lives on
//! ```
//! * Everything that is decided is drawn from the tape: same tape, same run, same trace.
//! * Nothing here judges the core: that is for `check` and for `model`.

pub mod chain;
mod change;
mod close;
pub mod crash;
mod cycle;
pub mod extension;
pub mod flight;
mod kill;
mod learn;
mod left;
pub mod log;
pub(crate) mod named;
mod offer;
pub mod shape;
pub mod stage;
mod submit;
pub mod switch;
mod traced;
mod track;
pub mod trouble;

use std::sync::Arc;

use model::disk::{Model, OpId};
use model::op::{End, Op, Value};
use ploop_core::delta::LoadedDelta;
use ploop_core::format::Layout;
use ploop_core::units::{Millis, QueueId};
use ploop_core::{Actions, Device, Kept};

use crate::check::bitmaps::Knows;
use crate::check::image::Images;
use crate::check::in_use::Mark;
use crate::disk::SimFile;
use crate::disk::fault::FaultPlan;
use crate::fuzzing::control::judge::Bytes;
use crate::profile::Profile;
use crate::report::{Class, Failure, RunStats};
use crate::tape::{Event, Tape};
use chain::Content;
use cycle::Over;
use flight::Flight;
use kill::{Shared, Slots};
use log::{Entry, Happening, Log};
use shape::{Shape, Swarm};
use traced::{Left, Traced};

/// What goes wrong when the canary lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Canary {
    Off,
    /// The simulated disk says that it has synced, and has not.
    LyingSync,
}

/// When the power of a run is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// The tape says.
    #[default]
    Drawn,
    /// Never: the one power cycle ends with a clean close.
    Lasts,
    /// In the first power cycle, after so many events; not at all if there are fewer. A second cycle follows.
    CutAfter(u32),
    /// In the clean close of the first power cycle, after so many calls; not at all if there are fewer. A second cycle
    /// follows.
    CutInClose(u32),
}

/// What a caller decides about a run instead of the tape. The tape draws it all the same, so that a script changes
/// nothing but what it is about.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The faults.
    pub faults: Option<FaultPlan>,
    /// The power cut.
    pub power: Power,
    /// Examine all distinct crash images of a power cut, so many at the most, and not a sample.
    pub enumerate: Option<u64>,
}

/// A tag of a queue.
#[derive(Clone, Debug, Default)]
struct TagState {
    /// The operation in flight.
    active: Option<(OpId, Op)>,
    /// How the last one ended.
    ended: Option<End>,
    /// A sync had failed before it was submitted.
    poisoned: bool,
    /// Held back by a suspended device, or waiting: not ended at the power cut.
    buffer: Vec<Value>,
}

/// A world that is built anew for each run and keeps its memory.
#[derive(Debug)]
pub struct World {
    profile: Profile,
    canary: Canary,
    log: Option<Log>,
    lowers: Vec<SimFile>,
    top: SimFile,
    spare: SimFile,
    content: Content,
    model: Model,
    /// While an image is judged that was being closed when the power was cut: the model of the closed one.
    closed: Option<Model>,
    images: Images,
    faults: FaultPlan,
    out: Actions,
    flights: Vec<Flight>,
    tags: Vec<TagState>,
    values: Vec<Value>,
    /// The visible slots, outside of the device.
    slots: Arc<Slots>,
    /// The trace of the last run.
    left: Left,
}

/// What one run carries from power cycle to power cycle.
struct Run<'a> {
    world: &'a mut World,
    tape: &'a mut Tape,
    shape: Shape,
    swarm: Swarm,
    layout: Layout,
    power: Power,
    enumerate: Option<u64>,
    stats: RunStats,
    trace: Traced,
    /// Number of the last write.
    writes: u32,
    now: Millis,
    /// Power cycles before this one.
    cycle: u32,
    /// How often the server may still be killed.
    kills: u32,
    /// How often the chain may still be changed.
    switches: u32,
    /// What somebody has copied so far, as tracking says.
    copy: Option<Vec<Value>>,
    /// The whole disk was promoted from this level on since the device was opened.
    promoted: Option<u8>,
    mark: Mark,
    /// A sync has failed since the image was opened: nothing is ever durable.
    poisoned: bool,
    /// A request has failed since then: it may have changed a slot, and promised nothing.
    failed: bool,
    /// Clients may have overlapping writes in flight. Not in runs where the core may have to issue a write again after
    /// part of it was applied: such a write can take effect twice, on either side of one that overlaps it. No device
    /// that retries can do better, and no client that knows disks relies on more.
    overlaps: bool,
    suspended: bool,
    /// The device owes a turn since the last event.
    owes_turn: bool,
    /// Number of the last I/O.
    ios: u32,
}

impl World {
    /// Worlds of this profile.
    #[must_use]
    pub fn new(profile: Profile) -> World {
        World {
            profile,
            canary: Canary::Off,
            log: None,
            lowers: Vec::new(),
            top: SimFile::new(),
            spare: SimFile::new(),
            content: Content::default(),
            model: Model::new(0),
            closed: None,
            images: Images::default(),
            faults: FaultPlan::none(),
            out: Actions::new(),
            flights: Vec::new(),
            tags: Vec::new(),
            values: Vec::new(),
            slots: Arc::default(),
            left: Left::default(),
        }
    }

    /// The trace hash of the last run, also of one that panicked: up to there.
    #[must_use]
    pub fn last_trace(&self) -> u64 {
        self.left.value()
    }

    /// From now on the simulated disk lies about its syncs: the checkers must notice. A campaign whose canary lives is
    /// worth nothing.
    pub fn set_canary(&mut self, canary: bool) {
        self.canary = if canary {
            Canary::LyingSync
        } else {
            Canary::Off
        };
    }

    /// From now on everything that happens is noted; see [`World::take_log`].
    pub fn set_logging(&mut self, on: bool) {
        self.log = on.then(Log::default);
    }

    /// What happened since it was taken last, if it was noted.
    pub fn take_log(&mut self) -> Vec<Entry> {
        let log = self.log.as_mut().map(std::mem::take);
        log.unwrap_or_default().entries
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// One run.
    ///
    /// # Errors
    /// What a checker found.
    pub fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        self.run_as(tape, &Script::default())
    }

    /// One run, of which a script decides something.
    ///
    /// # Errors
    /// What a checker found.
    pub fn run_as(&mut self, tape: &mut Tape, script: &Script) -> Result<RunStats, Failure> {
        // A panic may have left work behind.
        self.out = Actions::new();
        tape.begin(Event::Shape);
        let shape = Shape::draw(self.profile, tape);
        tape.begin(Event::Swarm);
        let mut swarm = Swarm::draw(self.profile, tape);
        match script.power {
            Power::Drawn => {}
            Power::Lasts => swarm.cycles = 1,
            Power::CutAfter(_) | Power::CutInClose(_) => swarm.cycles = 2,
        }
        tape.begin(Event::Chain);
        let shorter = chain::draw(
            &shape,
            swarm.short,
            &mut self.lowers,
            &mut self.top,
            tape,
            &mut self.content,
        );
        self.model.reset(&self.content.all);
        tape.begin(Event::Faults);
        self.faults.draw(&swarm.faults, tape);
        if let Some(faults) = &script.faults {
            self.faults.clone_from(faults);
        }
        let mut run = Run {
            overlaps: !self.faults.causes_retries() && swarm.kills == 0,
            kills: swarm.kills,
            switches: if script.power == Power::Drawn {
                swarm.switches
            } else {
                0
            },
            swarm,
            power: script.power,
            enumerate: script.enumerate,
            ..Run::new(self, tape, shape)
        };
        run.stats.short_lowers = shorter;
        run.note(|run| Happening::Begun(Box::new(run.shape.clone())));
        let result = run.cycles();
        run.finish(result)
    }
}

impl<'a> Run<'a> {
    /// A run of a shape whose files are there, without faults, whose clients come from outside.
    fn new(world: &'a mut World, tape: &'a mut Tape, shape: Shape) -> Run<'a> {
        world.closed = None;
        let trace = Traced::new(&world.left);
        Run {
            world,
            tape,
            layout: shape.layout(),
            shape,
            swarm: Swarm::default(),
            power: Power::Drawn,
            enumerate: None,
            stats: RunStats::default(),
            trace,
            writes: 0,
            now: Millis(0),
            cycle: 0,
            kills: 0,
            switches: 0,
            copy: None,
            promoted: None,
            mark: Mark::Unmarked,
            poisoned: false,
            failed: false,
            overlaps: true,
            suspended: false,
            owes_turn: false,
            ios: 0,
        }
    }

    /// The counts of a run that has ended, or its failure with the trace until there.
    fn finish(self, result: Result<(), Failure>) -> Result<RunStats, Failure> {
        let trace = self.trace.value();
        let stats = RunStats {
            trace,
            faults: *self.world.faults.injected(),
            ..self.stats
        };
        result
            .map(|()| stats)
            .map_err(|failure| Failure { trace, ..failure })
    }
}

impl Run<'_> {
    fn cycles(&mut self) -> Result<(), Failure> {
        for cycle in 0..self.swarm.cycles {
            self.cycle = cycle;
            let mut device = self.open()?;
            let mut budget = self.swarm.budget;
            loop {
                match self.power_cycle(&device, &mut budget)? {
                    Over::Down => break,
                    Over::Killed => {
                        self.kill();
                        drop(device);
                        device = self.recover()?;
                    }
                    Over::Switched => {
                        if let Some(next) = self.switch(&device)? {
                            device = next;
                        }
                    }
                    Over::GoesOn => {}
                }
            }
        }
        Ok(())
    }

    /// Opens the chain as it is, with the power just switched on.
    fn open(&mut self) -> Result<Device, Failure> {
        self.world.slots = Arc::new(Slots::new(self.layout.entries.into()));
        let tags = usize::from(self.shape.options.queues) * usize::from(self.shape.options.depth);
        self.world.tags.resize_with(tags, TagState::default);
        self.world.tags.iter_mut().for_each(|tag| tag.active = None);
        self.open_as(Kept::From(Box::new(Shared(self.world.slots.clone()))))
    }

    /// Opens the chain after the server was killed.
    fn open_again(&mut self) -> Result<Device, Failure> {
        self.open_as(Kept::Recovered(Box::new(Shared(self.world.slots.clone()))))
    }

    fn open_as(&mut self, kept: Kept) -> Result<Device, Failure> {
        let settled = match kept {
            Kept::Recovered(_) => None,
            _ => {
                (self.poisoned, self.failed) = (false, false);
                self.settle_top(None)?
            }
        };
        let refused = |error: String| crate::check::failure("open", error);
        let mut chain = Vec::with_capacity(self.world.lowers.len() + 1);
        for (level, file) in self.world.lowers.iter().enumerate() {
            let loaded = match level {
                0 if self.shape.raw_base => ploop_core::load::load_raw(file, "base"),
                _ => ploop_core::load::load(file, "lower"),
            };
            chain.push(loaded.map_err(|error| refused(error.to_string()))?);
        }
        let top = match settled {
            Some(top) => top,
            None => ploop_core::load::load(&self.world.top, "top")
                .map_err(|error| refused(error.to_string()))?
                // It was settled when the killed server opened it.
                .known_durable(),
        };
        self.learn_extension(&top, matches!(kept, Kept::From(_)));
        chain.push(top);
        self.world.flights.clear();
        self.copy = None;
        self.promoted = None;
        self.world.out = Actions::new();
        self.mark = Mark::Unmarked;
        self.suspended = false;
        self.owes_turn = false;
        let device = Device::open_kept(chain, self.shape.options, kept)
            .map_err(|error| refused(error.to_string()))?;
        let step = self.tape.spans().len();
        if let Some(log) = &mut self.world.log {
            log.opened(step, &device.dump().to_string());
        }
        Ok(device)
    }

    /// What the extension of a top is held against that is being opened. `fresh`: not after a kill.
    fn learn_extension(&mut self, top: &LoadedDelta, fresh: bool) {
        let World {
            top: file, content, ..
        } = &mut *self.world;
        if content.kept.ext_off != 0 || content.since.knows != Knows::Nobody {
            content.kept.learn(&file.view(), top, !fresh);
        }
        if fresh {
            content.kept.loose = false;
            content.since.open(&Bytes(file.view()), top);
        } else {
            content.since.killed();
        }
    }

    /// Index of a tag in the world's table.
    fn tag_index(&self, origin: ploop_core::Origin) -> usize {
        usize::from(origin.queue.0) * usize::from(self.shape.options.depth)
            + usize::from(origin.tag.0)
    }

    /// Number of operations in flight.
    fn active(&self) -> usize {
        self.world
            .tags
            .iter()
            .filter(|tag| tag.active.is_some())
            .count()
    }

    /// Notes what happened, if anybody reads.
    #[inline]
    fn note(&mut self, what: impl FnOnce(&Self) -> Happening) {
        if self.world.log.is_some() {
            let what = what(self);
            let step = self.tape.spans().len();
            if let Some(log) = &mut self.world.log {
                log.push(step, what);
            }
        }
    }

    /// Notes a line for a person, if anybody reads.
    fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        self.note(|run| Happening::Note(line(run)));
    }

    /// Notes what has changed in the device, if anybody reads.
    #[inline]
    fn watch(&mut self, device: &Device) {
        if let Some(log) = &mut self.world.log {
            log.watch(self.tape.spans().len(), &device.dump().to_string());
        }
    }

    /// A queue that carries out the core's own I/O.
    fn some_queue(&mut self) -> QueueId {
        QueueId(self.tape.choose(
            crate::tape::Kind::Thread,
            u32::from(self.shape.options.queues),
        ) as u16)
    }
}

/// A hang that the world noticed.
fn hang(message: String) -> Failure {
    Failure {
        class: Class::Hang,
        checker: "progress",
        message,
        trace: 0,
    }
}
