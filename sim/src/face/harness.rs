//! A random run of a device: power cycles of operations, each ended by a close or a power cut, faults in between.
//!
//! ```text
//!   create ─▶ open ─▶ operations ─┬─ close ───────────────▶ open, read all ─▶ ...
//!                 ▲               ├─ close, power cut ─┐
//!                 │               └─ power cut ────────┴▶ every crash image: open, read all; one lives on
//!                 └── recovery, in one of four cases cut, too ◀──────────────────────────────────────┘
//! ```
//! A power cut comes at rest or inside an operation, at any call that changes or syncs a file: that call is in flight then.

use std::cell::RefMut;
use std::io;

use model::disk::Model;
use model::op::{End, Kind as OpKind, Op, Value};

use crate::campaign::{Subject, catch};
use crate::check::failure;
use crate::disk::fault::FaultRates;
use crate::face::bench::{Bench, Loan, Shared, handles};
use crate::face::judge::{Examiner, MOST};
use crate::face::perform::{end, perform, read_all};
use crate::face::workload::{Swarm, grain, shown};
use crate::face::{File, OnFiles};
use crate::profile::Profile;
use crate::report::{Failure, RunStats};
use crate::tape::{Event, Kind, Label, Tape};
use crate::world::named::object;

/// Faults of a run that has some.
const RATES: FaultRates = FaultRates {
    io: 500,
    short: 300,
    nothing: 100,
    no_space: 250,
    unsupported: 150,
    horizon: 60,
};

/// Makes what a campaign runs; with `canary`, on files that lie about their syncs. The profile means nothing here.
#[must_use]
pub fn make<D: OnFiles>(_profile: Profile, canary: bool) -> Box<dyn Subject> {
    let harness: Harness<D> = Harness::new();
    harness.bench.borrow_mut().lies = canary;
    Box::new(harness)
}

/// Runs devices of one sort.
pub(super) struct Harness<D> {
    pub(super) bench: Shared,
    examiner: Examiner<D>,
    model: Model,
}

impl<D: OnFiles> Harness<D> {
    pub(super) fn new() -> Harness<D> {
        Harness {
            bench: Bench::new(),
            examiner: Examiner::new(),
            model: Model::new(0),
        }
    }
}

impl<D: OnFiles> Subject for Harness<D> {
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        let loan = Loan::new(tape, &self.bench);
        let mut run = Run {
            files: Vec::new(),
            device: None::<D>,
            stats: RunStats::default(),
            writes: 0,
            harness: self,
        };
        let result = run.play();
        let mut stats = run.stats;
        drop(run);
        let mut bench = self.bench.borrow_mut();
        stats.faults = *bench.faults.injected();
        stats.steps = bench.calls;
        bench.trace.push(stats.crash_images);
        let trace = bench.trace.value();
        drop(bench);
        drop(loan);
        match result {
            Ok(()) => Ok(RunStats { trace, ..stats }),
            Err(failure) => Err(Failure { trace, ..failure }),
        }
    }
}

/// How a power cycle ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Close,
    Cut,
    CloseCut,
}

struct Run<'a, D: OnFiles> {
    harness: &'a mut Harness<D>,
    files: Vec<File>,
    device: Option<D>,
    stats: RunStats,
    writes: u32,
}

impl<D: OnFiles> Run<'_, D> {
    fn bench(&self) -> RefMut<'_, Bench> {
        self.harness.bench.borrow_mut()
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Tape) -> T) -> T {
        draw(&mut self.bench().tape)
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        self.bench().tell(line);
    }

    fn play(&mut self) -> Result<(), Failure> {
        self.create()?;
        let (swarm, cycles) = self.draw(|tape| {
            tape.begin(Event::Swarm);
            (Swarm::draw(tape), 1 + tape.choose(Kind::Other, 3))
        });
        self.draw(|tape| tape.begin(Event::Faults));
        if D::FAULTS && self.draw(|tape| tape.chance(Kind::Fault, 1, 2)) {
            let bench = &mut *self.bench();
            bench.faults.draw(&RATES, &mut bench.tape);
        }
        self.open()?;
        for _ in 0..cycles {
            self.cycle(&swarm)?;
        }
        self.bench().faults.cease();
        self.draw(|tape| tape.begin(Event::Read));
        self.read_everything()?;
        self.close_and_open()?;
        self.read_everything()
    }

    fn create(&mut self) -> Result<(), Failure> {
        self.bench().reset::<D>();
        self.files = handles(&self.harness.bench);
        let made = D::create(&self.files, D::SECTORS);
        made.map_err(|error| failure("create", error.to_string()))?;
        self.bench().settle();
        let zeros = vec![Value::ZERO; usize::try_from(D::SECTORS).unwrap_or(0)];
        self.harness.model.reset(&zeros);
        Ok(())
    }

    fn cycle(&mut self, swarm: &Swarm) -> Result<(), Failure> {
        let (ending, inside, ops) = self.draw(|tape| {
            tape.begin(Event::Plan);
            let endings = [Ending::Close, Ending::Cut, Ending::CloseCut];
            let ending = endings[tape.weighted(Kind::Crash, &[2, 6, 1])];
            let inside = tape.choose(Kind::Crash, 12);
            (ending, inside, 1 + tape.choose(Kind::Event, 12))
        });
        for left in (0..ops).rev() {
            if self.draw(Tape::stops) {
                break;
            }
            let op = self.draw(|tape| {
                tape.begin(Event::Any);
                let op = swarm.op::<D>(D::SECTORS, tape);
                tape.name(|| Label {
                    event: Event::Submit,
                    queue: Some(0),
                    object: object(op, grain::<D>()),
                    ..Label::default()
                });
                op
            });
            if left == 0 && ending == Ending::Cut && inside > 0 {
                self.bench().left = Some(inside - 1);
            }
            self.operate(op)?;
            if self.bench().lost {
                return self.cut();
            }
        }
        self.bench().left = None;
        match ending {
            Ending::Close => self.close_and_open(),
            Ending::Cut => self.cut(),
            Ending::CloseCut => {
                self.close()?;
                self.cut()
            }
        }
    }

    fn operate(&mut self, op: Op) -> Result<(), Failure> {
        let mut write = 0;
        if matches!(op.kind, OpKind::Write { .. }) {
            self.writes += 1;
            write = self.writes;
        }
        self.tell(|| shown(op, write));
        self.stats.ops += 1;
        let Some(device) = &mut self.device else {
            return Err(failure("harness", "no device is open".to_owned()));
        };
        let id = self.harness.model.submit(op, write);
        let result = catch(|| perform(device, op, write));
        if self.bench().lost {
            // Nobody hears the answer, or the panic.
            return Ok(());
        }
        let (end, read) = self.answer(result?, || shown(op, write))?;
        self.bench().trace.push(op.start << 8 | end as u64);
        read.iter().for_each(|v| self.bench().trace.push(v.0));
        self.stats.sectors_compared += read.len() as u64;
        let judged = self.harness.model.complete(id, end, &read);
        judged.map_err(|violation| failure("linear", violation.to_string()))
    }

    /// Takes an answer apart. An error needs a fault.
    fn answer<T: Default>(
        &self,
        result: io::Result<T>,
        what: impl Fn() -> String,
    ) -> Result<(End, T), Failure> {
        match result {
            Ok(answer) => {
                self.tell(|| "    acknowledged".to_owned());
                Ok((End::Ok, answer))
            }
            Err(error) => {
                self.tell(|| format!("    failed: {error}"));
                self.excuse(&error, &what())?;
                Ok((end(&error), T::default()))
            }
        }
    }

    fn excuse(&self, error: &io::Error, what: &str) -> Result<(), Failure> {
        if self.bench().faults.untouched() {
            let message = format!("{what} failed, and no file had: {error}");
            return Err(failure("outcome", message));
        }
        Ok(())
    }

    fn read_everything(&mut self) -> Result<(), Failure> {
        self.operate(Op {
            kind: OpKind::Read,
            start: 0,
            len: D::SECTORS,
        })
    }

    /// Opens the device. A fault may prevent it once.
    fn open(&mut self) -> Result<(), Failure> {
        for again in [true, false] {
            self.tell(|| "open".to_owned());
            let opened = catch(|| D::open(&self.files));
            if self.bench().lost {
                return Ok(());
            }
            match opened? {
                Ok(device) => {
                    self.device = Some(device);
                    return Ok(());
                }
                Err(error) if again => {
                    self.excuse(&error, "the open")?;
                    self.bench().faults.cease();
                }
                Err(error) => return Err(failure("open", error.to_string())),
            }
        }
        Ok(())
    }

    /// Closes the device, which is a flush.
    fn close(&mut self) -> Result<End, Failure> {
        self.draw(|tape| tape.begin(Event::Close));
        self.tell(|| "close".to_owned());
        let Some(device) = self.device.take() else {
            return Ok(End::Ok);
        };
        let flush = Op {
            kind: OpKind::Flush,
            start: 0,
            len: 0,
        };
        let id = self.harness.model.submit(flush, 0);
        let (end, ()) = self.answer(device.close(), || "the close".to_owned())?;
        let judged = self.harness.model.complete(id, end, &[]);
        judged.map_err(|violation| failure("linear", violation.to_string()))?;
        Ok(end)
    }

    fn close_and_open(&mut self) -> Result<(), Failure> {
        if self.close()? != End::Ok {
            // What it had in memory is gone.
            return self.cut();
        }
        self.open()?;
        self.read_everything()
    }

    fn cut(&mut self) -> Result<(), Failure> {
        self.bench().lost = true;
        // A device without power does nothing more, and whatever it says is not heard.
        let device = self.device.take();
        let _ = catch(|| drop(device));
        self.stats.crashes += 1;
        self.tell(|| "POWER CUT".to_owned());
        self.draw(|tape| tape.begin(Event::Cut));
        self.harness.model.crash();
        let Harness {
            bench,
            examiner,
            model,
        } = &*self.harness;
        let examined = examiner.cut(&mut bench.borrow_mut(), model, MOST, &mut self.stats)?;
        self.stats.complete_cuts += u64::from(examined.complete);
        self.crash();
        if self.draw(|tape| tape.chance(Kind::Crash, 1, 4)) {
            let calls = self.draw(|tape| tape.choose(Kind::Crash, 8));
            self.bench().left = Some(calls);
        }
        self.survive()?;
        self.open()?;
        if self.bench().lost {
            self.stats.recovery_crashes += 1;
            self.tell(|| "POWER CUT during the recovery".to_owned());
            self.crash();
            self.survive()?;
            self.open()?;
        }
        self.bench().left = None;
        let seen = self.read_recovered()?;
        self.stats.sectors_compared += seen.len() as u64;
        let restarted = self.harness.model.restart(&seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))
    }

    /// The files are what one crash leaves of them, and the power is back.
    fn crash(&self) {
        let bench = &mut *self.bench();
        let mut reports = Vec::new();
        for file in &mut bench.files {
            reports.push(file.crash(&mut bench.tape));
        }
        (bench.lost, bench.left) = (false, None);
        for (index, report) in reports.into_iter().enumerate() {
            let sum = [report.survived, report.lost, report.torn];
            bench
                .trace
                .push(sum.iter().fold(0, |all, &n| all << 16 | u64::from(n)));
            bench.tell(|| {
                let [survived, lost, torn] = sum;
                let length = if report.length_lost {
                    ", its length is not what it was"
                } else {
                    ""
                };
                format!(
                    "    file {index}: {survived} unsynced changes survive, {lost} are lost, {torn} in part{length}"
                )
            });
        }
    }

    fn survive(&mut self) -> Result<(), Failure> {
        let Harness {
            bench,
            examiner,
            model,
        } = &*self.harness;
        examiner.survivor(&bench.borrow(), model, &mut self.stats)
    }

    /// The content after a recovery. A fault may prevent it once.
    fn read_recovered(&mut self) -> Result<Vec<Value>, Failure> {
        for again in [true, false] {
            let Some(device) = &mut self.device else {
                break;
            };
            match read_all(device, D::SECTORS) {
                Ok(seen) => return Ok(seen),
                Err(error) if again => {
                    self.excuse(&error, "reading after the recovery")?;
                    self.bench().faults.cease();
                    // It may be sulking.
                    self.device = None;
                    self.open()?;
                }
                Err(error) => return Err(failure("read", error.to_string())),
            }
        }
        Err(failure("open", "no device came up".to_owned()))
    }
}
