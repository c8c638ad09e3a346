//! Scenarios on a device that is not the mapping core, judged by the same model.
//!
//! | line | here |
//! |---|---|
//! | operations | done at once, one after the other; `promote` means nothing |
//! | `close` | closed, opened anew |
//! | `cut`, `close cut` | the power is cut at rest: every crash image is examined, one lives on |
//! | `kill` | the device is dropped, its files stay as they were written, it is opened anew |
//! | `grow` | it is as large from the beginning; the other changes of a chain are a close |
//! | `ended`, `expect` | demanded as long as the lines before happened as they say |
//! | `deliver`, `turn`, `tick`, `settle`, `waits`, `mapped`, `suspend`, `resume` | speak of the core's inside: left out |
//!
//! After a fault (a scenario names an I/O of the core for it), a discard, a suspend, a cut or a kill, what the author
//! expects may not be what happens: from there on the model alone judges. It always judges everything that is read. What is left out is
//! counted, by name ([`Played::left_out`]).

mod simulated;

use std::collections::BTreeMap;
use std::fmt;

use model::disk::Model;
use model::op::{End, Kind, Op, Value};
use ploop_core::Origin;

use crate::check::failure;
use crate::disk::SimFile;
use crate::disk::sector::{SECTOR, fill_pattern};
use crate::face::perform::{end, perform, read_all};
use crate::face::{Device, bytes};
use crate::report::Failure;
use crate::scenario::{LeftOut, Scenario, ScenarioError, Step, Wanted};
use crate::trace::TraceHash;
use crate::world::chain::{self, Content};
use crate::world::crash::Survivor;
use crate::world::stage::Ending;
use crate::world::switch::Switch;

pub use simulated::play;

/// Where a scenario is played: a device, and what can be done to it besides operations.
pub trait Host {
    /// Sectors of the device in one of a scenario.
    fn scale(&self) -> u64 {
        1
    }

    /// The open device.
    ///
    /// # Errors
    /// There is none.
    fn device(&mut self) -> Result<&mut dyn Device, Failure>;

    /// The content that was written when the scenario began is durable from now on.
    ///
    /// # Errors
    /// It cannot be made so.
    fn begin(&mut self) -> Result<(), Failure> {
        let flushed = self.device()?.flush();
        flushed.map_err(|error| failure("begin", error.to_string()))
    }

    /// Closes the device and opens it again.
    ///
    /// # Errors
    /// It cannot be closed, or not be opened.
    fn reopen(&mut self) -> Result<(), Failure>;

    /// Cuts the power, examines what may be left, and opens the device on what is left. False: the power of this device
    /// cannot be cut. The model has crashed already and is restarted by the caller.
    ///
    /// # Errors
    /// What may be left is not as the model says.
    fn cut(&mut self, survivor: Survivor, model: &Model) -> Result<bool, Failure>;

    /// The process that serves the device dies; another one opens it. False: this cannot be done here. As for a cut.
    ///
    /// # Errors
    /// It cannot be opened.
    fn kill(&mut self) -> Result<bool, Failure>;

    /// Crash images examined so far.
    fn images(&self) -> u64 {
        0
    }
}

/// What became of a scenario's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Operations.
    pub ops: u64,
    /// Demands of the author (`ended`, `expect`) that were met.
    pub demands: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Crash images examined.
    pub images: u64,
    /// Processes killed.
    pub kills: u64,
    /// Closed and opened again.
    pub closes: u64,
    /// Sectors compared with the model.
    pub sectors: u64,
    /// Lines that mean nothing here, or cannot be done.
    pub left_out: LeftOut,
    /// Hash of everything that was read.
    pub trace: u64,
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations, {} demands, {} cuts ({} crash images), {} kills, {} closes, {} sectors compared",
            self.ops, self.demands, self.cuts, self.images, self.kills, self.closes, self.sectors
        )?;
        if !self.left_out.is_empty() {
            write!(f, "; {}", self.left_out)?;
        }
        Ok(())
    }
}

/// Sectors that a scenario needs, before scaling: as large as its disk ever becomes.
#[must_use]
pub fn sectors_of(scenario: &Scenario) -> u64 {
    let grown = scenario.steps.iter().map(|line| match line.step {
        Step::Switch(Switch::Grow(more), _) => more,
        _ => 0,
    });
    scenario.shape.size + grown.sum::<u64>()
}

/// Plays a scenario on a device that is there, of at least [`sectors_of`] sectors (scaled). What stands there is overwritten.
///
/// # Errors
/// Something is wrong.
pub fn play_on(scenario: &Scenario, host: &mut dyn Host) -> Result<Played, ScenarioError> {
    let at = |line| move |failure| ScenarioError::Failed { line, failure };
    let mut play = Play::begin(scenario, host).map_err(at(None))?;
    for line in &scenario.steps {
        play.line(&line.step).map_err(at(Some(line.number)))?;
    }
    play.end().map_err(at(None))
}

struct Play<'a> {
    host: &'a mut dyn Host,
    model: Model,
    base: Vec<Value>,
    writes: u32,
    /// How the last operation of each client ended.
    ended: BTreeMap<(u16, u16), End>,
    /// The author's expectations still hold.
    as_written: bool,
    played: Played,
    trace: TraceHash,
}

fn linear(violation: &model::violation::Violation) -> Failure {
    failure("linear", violation.to_string())
}

impl<'a> Play<'a> {
    /// The device gets the content that the scenario's images have.
    fn begin(scenario: &Scenario, host: &'a mut dyn Host) -> Result<Play<'a>, Failure> {
        let (mut lowers, mut top) = (Vec::new(), SimFile::new());
        let mut content = Content::default();
        let mut shape = scenario.shape.clone();
        shape.cluster *= host.scale();
        shape.size *= host.scale();
        shape.options.prealloc.0 *= host.scale();
        chain::build(
            &shape,
            &scenario.lowers,
            &scenario.top,
            &mut lowers,
            &mut top,
            &mut content,
        );
        let mut base = content.all;
        let size = sectors_of(scenario) * host.scale();
        base.resize(usize::try_from(size).unwrap_or(usize::MAX), Value::ZERO);
        for (at, values) in (0..).step_by(64).zip(base.chunks(64)) {
            let mut buffer = vec![0; values.len() * SECTOR];
            for (value, sector) in values.iter().zip(buffer.chunks_mut(SECTOR)) {
                fill_pattern(*value, 0, sector);
            }
            let written = host.device()?.write(at, &buffer);
            written.map_err(|error| failure("begin", error.to_string()))?;
        }
        host.begin()?;
        let mut model = Model::new(0);
        model.reset(&base);
        Ok(Play {
            host,
            model,
            base,
            writes: 0,
            ended: BTreeMap::new(),
            as_written: true,
            played: Played::default(),
            trace: TraceHash::new(),
        })
    }

    fn line(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Submit(from, op) => return self.submit(*from, *op),
            Step::Ended(from, wanted) if self.as_written => {
                self.played.demands += 1;
                let found = self.ended.get(&(from.queue.0, from.tag.0));
                if found != Some(wanted) {
                    let message = format!("ended {found:?}, not {wanted:?}");
                    return Err(failure("scenario", message));
                }
            }
            Step::Expect { start, len, wanted } if self.as_written => {
                self.played.demands += 1;
                return self.expect(*start, *len, wanted);
            }
            Step::Close(None) => return self.close(),
            Step::Close(Some(_)) => return self.cut(Survivor::Seed(1)),
            Step::Cut(survivor) => return self.cut(*survivor),
            Step::Kill => return self.kill(),
            _ => return self.missed(step),
        }
        Ok(())
    }

    /// A line that is not played.
    fn missed(&mut self, step: &Step) -> Result<(), Failure> {
        if let Some(what) = step.missed() {
            self.leave_out(what);
        }
        // After a fault or a suspend it may not be as written; after a rollback, what was to be gone stays.
        let other = match step {
            Step::Deliver(_, ending) => *ending != Ending::Done,
            Step::Suspend(_) | Step::Switch(Switch::Rollback, _) => true,
            _ => false,
        };
        self.as_written &= !other;
        match step {
            Step::Switch(Switch::Grow(_) | Switch::Rollback, _) => Ok(()),
            Step::Copies(_) | Step::Switch(..) => self.close(),
            _ => Ok(()),
        }
    }

    fn leave_out(&mut self, what: &'static str) {
        self.played.left_out.note(what);
    }

    fn submit(&mut self, from: Origin, op: Op) -> Result<(), Failure> {
        let scale = self.host.scale();
        let op = Op {
            start: op.start * scale,
            len: op.len * scale,
            ..op
        };
        if let Kind::Promote { .. } = op.kind {
            self.leave_out("promote");
            self.ended.insert((from.queue.0, from.tag.0), End::Ok);
            return Ok(());
        }
        let end = self.operate(op)?;
        // The author knows what our core makes of it.
        self.as_written &= op.kind != Kind::Discard;
        self.ended.insert((from.queue.0, from.tag.0), end);
        Ok(())
    }

    fn operate(&mut self, op: Op) -> Result<End, Failure> {
        let mut write = 0;
        if matches!(op.kind, Kind::Write { .. }) {
            self.writes += 1;
            write = self.writes;
        }
        self.played.ops += 1;
        let id = self.model.submit(op, write);
        let (ended, read) = match perform(self.host.device()?, op, write) {
            Ok(read) => (End::Ok, read),
            Err(error) => {
                // Faults are not played here: there is no reason for one.
                let message = format!("{op:?} failed: {error}");
                let _ = self.model.complete(id, end(&error), &[]);
                return Err(failure("outcome", message));
            }
        };
        self.saw(&read);
        let judged = self.model.complete(id, ended, &read);
        judged.map_err(|violation| linear(&violation))?;
        Ok(ended)
    }

    fn saw(&mut self, values: &[Value]) {
        self.played.sectors += values.len() as u64;
        values.iter().for_each(|value| self.trace.push(value.0));
    }

    fn read_everything(&mut self) -> Result<(), Failure> {
        let len = self.model.sectors();
        let (kind, start) = (Kind::Read, 0);
        self.operate(Op { kind, start, len }).map(drop)
    }

    fn expect(&mut self, start: u64, len: u64, wanted: &[Wanted]) -> Result<(), Failure> {
        let scale = self.host.scale();
        let (start, len) = (start * scale, len * scale);
        let mut buffer = vec![0xa5; bytes(len)];
        let read = self.host.device()?.read(start, &mut buffer);
        read.map_err(|error| failure("outcome", error.to_string()))?;
        for (sector, found) in (start..).zip(buffer.chunks(SECTOR)) {
            let is = |wanted: &Wanted| {
                let value = match wanted {
                    Wanted::Write(number) => Value::of(*number, sector),
                    Wanted::Zero => Value::ZERO,
                    Wanted::Base => self.base[usize::try_from(sector).unwrap_or(usize::MAX)],
                };
                let mut expected = [0; SECTOR];
                fill_pattern(value, 0, &mut expected);
                expected == found
            };
            if !wanted.iter().any(is) {
                let message = format!("sector {sector} does not hold {wanted:?}");
                return Err(failure("scenario", message));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.played.closes += 1;
        self.host.reopen()?;
        // A close is a flush.
        let flush = Op {
            kind: Kind::Flush,
            start: 0,
            len: 0,
        };
        let id = self.model.submit(flush, 0);
        let judged = self.model.complete(id, End::Ok, &[]);
        judged.map_err(|violation| linear(&violation))?;
        self.read_everything()
    }

    fn cut(&mut self, survivor: Survivor) -> Result<(), Failure> {
        if self.host.cut(survivor, &self.model)? {
            self.played.cuts += 1;
            return self.restart();
        }
        self.as_written = false;
        self.leave_out("power cut");
        self.close()
    }

    fn kill(&mut self) -> Result<(), Failure> {
        if self.host.kill()? {
            self.played.kills += 1;
            return self.restart();
        }
        self.as_written = false;
        self.leave_out("kill");
        self.close()
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.as_written = false;
        self.model.crash();
        let seen = read_all(self.host.device()?, self.model.sectors());
        let seen = seen.map_err(|error| failure("read", error.to_string()))?;
        self.saw(&seen);
        let restarted = self.model.restart(&seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))
    }

    fn end(mut self) -> Result<Played, Failure> {
        self.read_everything()?;
        self.close()?;
        self.played.images = self.host.images();
        self.played.trace = self.trace.value();
        Ok(self.played)
    }
}
