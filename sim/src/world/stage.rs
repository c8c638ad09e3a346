//! A run whose events come from outside, one by one: a scenario's. Same device, disk, model and checkers as a run from
//! the tape, which decides only what nobody says (of a torn write, what was written; at the end, which I/O comes next).
//!
//! ```text
//!   new ──▶ closed ◀──────── close, cut ────────┐
//!             └──any step: load, open──▶ open ──┘──▶ end: everything ends, the disk is read, closed, compared
//! ```

use std::sync::Arc;

use model::op::{End, Kind as OpKind, Op, Value};
use ploop_core::control::inspect::Mapping;
use ploop_core::units::{Millis, QueueId, Sector, Tag};
use ploop_core::{Device, Failure as CoreFailure, Origin, Outcome};

use crate::check::bitmaps::Knows;
use crate::check::failure;
use crate::disk::SimFile;
use crate::disk::fault::{FaultKind, IoKind};
use crate::report::{Failure, RunStats};
use crate::scenario::Track;
use crate::scenario::copies::{Closed, OnCopies};
use crate::tape::Tape;
use crate::world::chain::{self, Level, Plan};
use crate::world::close::Within;
use crate::world::crash::Survivor;
use crate::world::flight::Applied;
use crate::world::log::Happening;
use crate::world::shape::Shape;
use crate::world::switch::Switch;
use crate::world::trouble::Trouble;
use crate::world::{Run, World, hang};

/// Most crash images of one cut.
const MOST_IMAGES: u64 = 20_000;
/// More I/O than a scenario needs.
const MOST_DELIVERIES: usize = 100_000;

/// Which I/O in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Of which sort.
    pub sort: Sort,
    /// Whose, if it matters: a read or write of this client's request.
    pub of: Option<Origin>,
    /// The newest of those, not the oldest.
    pub newest: bool,
}

/// Sorts of I/O in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Any.
    Any,
    /// I/O on a file.
    Io(IoKind),
    /// Zeros for a buffer, from no file.
    Hole,
}

/// How an I/O ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it was done.
    Done,
    /// So many bytes of it were done.
    Short(u64),
    /// It failed.
    Failed {
        /// With which error.
        failure: CoreFailure,
        /// What it did all the same.
        applied: Applied,
    },
}

/// See the module.
pub struct Stage<'a> {
    run: Run<'a>,
    device: Option<Arc<Device>>,
    /// The stage's own client, that looks at sectors.
    spectator: Origin,
}

/// What a step asked for cannot be.
fn impossible(message: String) -> Failure {
    failure("scenario", message)
}

impl<'a> Stage<'a> {
    /// Builds the files of a chain, `lowers` bottom to top. `tape` decides what no step says.
    #[must_use]
    pub fn new(
        world: &'a mut World,
        tape: &'a mut Tape,
        shape: &Shape,
        lowers: &[Level],
        top: &Plan,
    ) -> Stage<'a> {
        let mut shape = shape.clone();
        let spectator = Origin {
            queue: QueueId(0),
            tag: Tag(shape.options.depth),
        };
        shape.options.depth += 1;
        world.out = ploop_core::Actions::new();
        world.faults.clear();
        chain::build(
            &shape,
            lowers,
            top,
            &mut world.lowers,
            &mut world.top,
            &mut world.content,
        );
        world.model.reset(&world.content.all);
        let mut run = Run {
            enumerate: Some(MOST_IMAGES),
            ..Run::new(world, tape, shape)
        };
        run.note(|run| Happening::Begun(Box::new(run.shape.clone())));
        Stage {
            run,
            device: None,
            spectator,
        }
    }

    /// The device; opened now if it is not open.
    fn device(&mut self) -> Result<Arc<Device>, Failure> {
        if let Some(device) = &self.device {
            return Ok(Arc::clone(device));
        }
        let device = Arc::new(self.run.open()?);
        self.device = Some(Arc::clone(&device));
        Ok(device)
    }

    fn gone(&mut self) {
        self.device = None;
        self.run.cycle += 1;
    }

    /// What the chain read as in the beginning.
    #[must_use]
    pub fn initial(&self, sector: u64) -> Value {
        let all = &self.run.world.content.all;
        all.get(sector as usize).copied().unwrap_or(Value::ZERO)
    }

    /// A client submits an operation. Its tag must be idle.
    pub fn submit(&mut self, from: Origin, op: Op) -> Result<(), Failure> {
        let device = self.device()?;
        self.run.stats.steps += 1;
        self.run.owes_turn = true;
        let index = self.run.tag_index(from);
        if self.run.world.tags[index].active.is_some() {
            return Err(impossible(format!(
                "{from:?} is busy: its operation has not ended"
            )));
        }
        self.run.world.tags[index].ended = None;
        self.run.submit(&device, from, op)
    }

    /// How the last operation of a client ended; `None` while it is in flight.
    pub fn ended(&mut self, from: Origin) -> Result<Option<End>, Failure> {
        self.device()?;
        let index = self.run.tag_index(from);
        let tag = &self.run.world.tags[index];
        if tag.active.is_none() && tag.ended.is_none() {
            return Err(impossible(format!(
                "{from:?} has submitted nothing since the image was opened"
            )));
        }
        Ok(tag.ended)
    }

    fn find(&self, pick: Pick) -> Option<usize> {
        let fits = |flight: &super::flight::Flight| {
            let sort = match pick.sort {
                Sort::Any => true,
                Sort::Hole => flight.kind().is_none(),
                Sort::Io(kind) => flight.kind() == Some(kind),
            };
            sort && (pick.of.is_none() || flight.origin() == pick.of)
        };
        let flights = &self.run.world.flights;
        if pick.newest {
            flights.iter().rposition(fits)
        } else {
            flights.iter().position(fits)
        }
    }

    /// The completion of an I/O in flight is delivered.
    pub fn deliver(&mut self, pick: Pick, ending: Ending) -> Result<(), Failure> {
        let device = self.device()?;
        let Some(index) = self.find(pick) else {
            let flights = self.run.world.flights.iter();
            let there: Vec<String> = flights.map(|flight| format!("{flight}")).collect();
            return Err(impossible(format!(
                "no such I/O in flight; there is: {}",
                there.join("; ")
            )));
        };
        let kind = self.run.world.flights[index].kind();
        let (outcome, fault, applied) = match ending {
            Ending::Done => (Outcome::Done, None, Applied::Drawn),
            Ending::Short(bytes) => {
                let fault = if bytes == 0 {
                    FaultKind::Nothing
                } else {
                    FaultKind::Short
                };
                (Outcome::Short { bytes }, Some(fault), Applied::Drawn)
            }
            Ending::Failed { failure, applied } => {
                let fault = match failure {
                    CoreFailure::NoSpace => FaultKind::NoSpace,
                    CoreFailure::Unsupported => FaultKind::Unsupported,
                    _ => FaultKind::Io,
                };
                (Outcome::Failed(failure), Some(fault), applied)
            }
        };
        if let (Some(kind), Some(fault)) = (kind, fault) {
            let bytes = self.run.world.flights[index].bytes();
            let too_long = matches!(ending, Ending::Short(done) if done >= bytes);
            if !fault.can_hit(kind) || too_long {
                return Err(impossible(format!(
                    "{} of {bytes} bytes cannot end with {ending:?}",
                    kind.name()
                )));
            }
            self.run.world.faults.note(kind, fault);
        }
        self.run.owes_turn = true;
        self.run.deliver_as(&device, index, outcome, applied)
    }

    /// Delivers everything in flight and what follows from it, oldest first; nobody takes a turn.
    pub fn deliver_all(&mut self) -> Result<(), Failure> {
        let device = self.device()?;
        for _ in 0..MOST_DELIVERIES {
            if self.run.world.flights.is_empty() {
                return Ok(());
            }
            self.run.owes_turn = true;
            self.run
                .deliver_as(&device, 0, Outcome::Done, Applied::Drawn)?;
        }
        Err(hang(format!("I/O without end\n{}", device.dump())))
    }

    /// Turns and deliveries until nothing is in flight. No time passes.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let device = self.device()?;
        self.run.drain(&device)
    }

    /// The end of a batch: index write-back and syncs start.
    pub fn turn(&mut self, queue: QueueId) -> Result<(), Failure> {
        let device = self.device()?;
        self.run.turn_on(&device, queue)
    }

    /// So much time passes.
    pub fn tick(&mut self, passed: Millis) -> Result<(), Failure> {
        let device = self.device()?;
        let now = Millis(self.run.now.0.saturating_add(passed.0));
        self.run.tick(&device, now)
    }

    /// The device is suspended, or resumed.
    pub fn suspend(&mut self, on: bool) -> Result<(), Failure> {
        let device = self.device()?;
        if self.run.suspended == on {
            return Err(impossible(format!("suspended already: {on}")));
        }
        self.run.suspend_or_resume(&device)
    }

    /// The image is closed. `power`: cut after so many calls of the close.
    pub fn close(&mut self, power: Option<u32>) -> Result<(), Failure> {
        let device = self.device()?;
        self.run
            .close(&device, power.map_or(Within::Nothing, Within::Cut))?;
        self.gone();
        Ok(())
    }

    /// The power is cut. All distinct crash images are examined, then one of them lives on.
    pub fn cut(&mut self, survivor: Survivor) -> Result<(), Failure> {
        self.device()?;
        self.run.cut(survivor)?;
        self.gone();
        Ok(())
    }

    /// The server is killed and another one takes over.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.device()?;
        self.run.kill();
        // The old one is gone before the new one looks.
        self.device = None;
        self.device = Some(Arc::new(self.run.recover()?));
        Ok(())
    }

    /// The chain is changed, and opened anew.
    pub fn switch(&mut self, switch: Switch, trouble: Trouble) -> Result<(), Failure> {
        let device = self.device()?;
        let (levels, raw) = (self.run.shape.levels, self.run.shape.raw_base);
        match switch {
            Switch::Forward | Switch::Backward | Switch::Rollback if levels < 2 => {
                return Err(impossible("there is no level below the top".to_owned()));
            }
            Switch::Backward if levels == 2 && raw => {
                return Err(impossible("a raw file cannot be the top".to_owned()));
            }
            Switch::Index {
                level: Some(level), ..
            } if level >= levels || level == 0 && raw => {
                return Err(impossible(format!("there is no image at level {level}")));
            }
            Switch::ClearBitmap | Switch::StopBitmap
                if self.run.world.content.since.knows != Knows::Device =>
            {
                return Err(impossible("there is no dirty bitmap".to_owned()));
            }
            Switch::Snapshot if levels == u8::MAX => {
                return Err(impossible("there are 255 levels".to_owned()));
            }
            _ => {}
        }
        match self.run.switch_to(&device, switch, trouble)? {
            Some(next) => self.device = Some(Arc::new(next)),
            None => {
                return Err(impossible(
                    "not everything is durable: the chain is as it was".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// The device is closed, something is done to copies of its files, and it is opened anew.
    pub fn on_copies(&mut self, copies: &OnCopies) -> Result<(), Failure> {
        let device = self.device()?;
        let next = self.run.look_at_files(&device, &mut |run| {
            let files = run.world.lowers.iter().chain([&run.world.top]);
            let bytes = |file: &SimFile| {
                let mut bytes = vec![0; file.len_bytes() as usize];
                file.view().read_bytes(0, &mut bytes);
                bytes
            };
            let sum = copies.play(&Closed {
                files: files.map(bytes).collect(),
                raw: run.shape.raw_base,
                options: run.shape.options,
            })?;
            run.trace.push(sum);
            Ok(())
        })?;
        match next {
            Some(next) => self.device = Some(Arc::new(next)),
            None => return Err(impossible("not everything is durable".to_owned())),
        }
        Ok(())
    }

    /// What a line says about tracking.
    pub fn track(&mut self, track: Track) -> Result<(), Failure> {
        let device = self.device()?;
        if track == Track::Same && !self.run.world.flights.is_empty() {
            return Err(impossible("something is in flight".to_owned()));
        }
        self.run.track(&device, track)
    }

    /// What a client reads from a sector now. Nothing but the read itself is delivered.
    pub fn look(&mut self, sector: u64) -> Result<Value, Failure> {
        let device = self.device()?;
        let op = Op {
            kind: OpKind::Read,
            start: sector,
            len: 1,
        };
        self.submit(self.spectator, op)?;
        let own = Pick {
            sort: Sort::Any,
            of: Some(self.spectator),
            newest: false,
        };
        while let Some(index) = self.find(own) {
            self.run
                .deliver_as(&device, index, Outcome::Done, Applied::Drawn)?;
        }
        let tag = &self.run.world.tags[self.run.tag_index(self.spectator)];
        match (tag.active, tag.buffer.first()) {
            (None, Some(&value)) => Ok(value),
            _ => Err(impossible(format!(
                "sector {sector} cannot be read now: the read waits"
            ))),
        }
    }

    /// The top's level.
    #[must_use]
    pub fn top_level(&self) -> u8 {
        self.run.shape.levels - 1
    }

    /// The level where a sector is mapped now.
    pub fn level_of(&mut self, sector: u64) -> Result<Option<u8>, Failure> {
        Ok(match self.device()?.locate(Sector(sector)) {
            Mapping::Unmapped => None,
            Mapping::Mapped { level, .. } => Some(level),
        })
    }

    /// Checks the core's own invariants, and that its counts say what its lookups say. Panics if one is broken.
    pub fn verify(&self) {
        let Some(device) = &self.device else { return };
        device.verify();
        let (cluster, top) = (self.run.shape.cluster, self.top_level());
        let starts = (0..self.run.shape.size).step_by(cluster as usize);
        let mapped = starts.filter(|&start| {
            let found = device.locate(Sector(start));
            matches!(found, Mapping::Mapped { level, .. } if level == top)
        });
        let (stats, mapped) = (device.stats(), mapped.count() as u64);
        assert_eq!(stats.mapped, mapped, "clusters counted as mapped");
        let dump = device.dump().to_string();
        let free = dump.lines().filter(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words[..], ["host", _, life] if life.starts_with("Free"))
        });
        assert_eq!(stats.free, free.count() as u64, "clusters counted as free");
        let flights = self.run.world.flights.len();
        assert!(
            flights == 0 || device.try_quiesce().is_none(),
            "quiescent with {flights} I/Os in flight (I35)\n{dump}"
        );
        let hosts = self.run.world.top.view().len_sectors().div_ceil(cluster);
        assert!(
            stats.mapped + stats.free <= hosts,
            "{stats:?}, and the file has {hosts} clusters"
        );
    }

    /// Everything in flight ends, the whole disk is read, and the image is closed and compared.
    pub fn end(&mut self) -> Result<(), Failure> {
        let device = self.device()?;
        for _ in 0..MOST_DELIVERIES {
            self.run.drain(&device)?;
            if !self.run.idle(&device)? {
                self.run.read_all(&device)?;
                return self.close(None);
            }
        }
        Err(hang(format!("no end in sight\n{}", device.dump())))
    }

    /// The counts of the run, or its failure with the trace until there.
    pub fn finish(self, result: Result<(), Failure>) -> Result<RunStats, Failure> {
        self.run.finish(result)
    }
}
