//! Long histories from a small disk that keeps the promise, many operations at once: it is never accused. And from the
//! same disk with one fault: it is found out.

use super::exhaustive::Dice;
use super::*;

/// What the disk does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A read sometimes answers with what stood there before the last change.
    StaleRead,
    /// A flush forgets one sector.
    FlushForgets,
    /// FUA is ignored.
    NoFua,
    /// A flush covers what was visible when it was submitted only sometimes: it may take an older state.
    EarlyFlush,
    /// A failed flush counts as done, for the next flush.
    FailedFlushCleans,
    /// A discard shows what stood there before the last change.
    DiscardResurrects,
    /// A failed write is applied after its end.
    LateFailure,
}

/// Sectors of the disk: few, so that operations meet.
const SIZE: u64 = 4;

#[derive(Clone, Debug, Default)]
struct Cell {
    visible: Value,
    before: Value,
    /// What was visible at some moment not before the last flush that covers it.
    durable: Value,
    dirty: bool,
}

struct Running {
    id: OpId,
    op: Op,
    number: u32,
    /// Sectors not applied (or read) yet.
    left: Vec<u64>,
    seen: Vec<Value>,
}

struct Disk {
    model: Model,
    cells: Vec<Cell>,
    running: Vec<Running>,
    /// Writes that come too late.
    late: Vec<(u64, Value)>,
    writes: u32,
    fault: Fault,
}

impl Disk {
    fn new(fault: Fault) -> Disk {
        let cells = vec![Cell::default(); SIZE as usize];
        Disk {
            model: Model::new(SIZE),
            cells,
            running: Vec::new(),
            late: Vec::new(),
            writes: 0,
            fault,
        }
    }

    fn submit(&mut self, dice: &mut Dice) {
        let fua = dice.roll(5) == 0;
        let kind = match dice.roll(20) {
            0..=6 => Kind::Read,
            7..=13 => Kind::Write {
                preflush: dice.roll(8) == 0,
                fua,
            },
            14..=15 => Kind::WriteZeroes { fua, unmap: true },
            16..=17 => Kind::Discard,
            _ => Kind::Flush,
        };
        let start = dice.roll(SIZE);
        let len = if kind == Kind::Flush {
            0
        } else {
            1 + dice.roll(SIZE - start)
        };
        let op = Op { kind, start, len };
        self.writes += 1;
        let id = self.model.submit(op, self.writes);
        if matches!(kind, Kind::Write { preflush: true, .. }) {
            self.flush(dice);
        }
        let left = (start..start + len).collect();
        let seen = vec![Value::ZERO; if kind == Kind::Read { len as usize } else { 0 }];
        self.running.push(Running {
            id,
            op,
            number: self.writes,
            left,
            seen,
        });
    }

    fn flush(&mut self, dice: &mut Dice) {
        let forgotten = if self.fault == Fault::FlushForgets {
            dice.roll(SIZE)
        } else {
            SIZE
        };
        for (cell, sector) in self.cells.iter_mut().zip(0..) {
            if sector != forgotten && cell.dirty {
                let early = self.fault == Fault::EarlyFlush && dice.roll(3) == 0;
                cell.durable = if early { cell.before } else { cell.visible };
                cell.dirty = false;
            }
        }
    }

    fn show(&mut self, sector: u64, value: Value) {
        let cell = &mut self.cells[sector as usize];
        (cell.before, cell.visible, cell.dirty) = (cell.visible, value, true);
    }

    /// One sector of one operation takes effect.
    fn apply(&mut self, i: usize, dice: &mut Dice) {
        let run = &mut self.running[i];
        let sector = run
            .left
            .swap_remove(dice.roll(run.left.len() as u64) as usize);
        let cell = &self.cells[sector as usize];
        match run.op.kind {
            Kind::Read => {
                let stale = self.fault == Fault::StaleRead && dice.roll(8) == 0;
                run.seen[(sector - run.op.start) as usize] =
                    if stale { cell.before } else { cell.visible };
            }
            Kind::Write { .. } => {
                let value = Value::of(run.number, sector);
                self.show(sector, value);
            }
            Kind::WriteZeroes { .. } => self.show(sector, Value::ZERO),
            Kind::Discard if self.fault == Fault::DiscardResurrects => {
                let before = cell.before;
                self.show(sector, before);
            }
            Kind::Discard if dice.roll(3) > 0 => self.show(sector, Value::ZERO),
            Kind::Discard | Kind::Flush | Kind::Promote { .. } => {}
        }
    }

    fn complete(&mut self, i: usize, dice: &mut Dice) -> Result<(), Violation> {
        let fails = dice.roll(8) == 0;
        while !fails && !self.running[i].left.is_empty() {
            self.apply(i, dice);
        }
        let run = self.running.swap_remove(i);
        if run.op.kind == Kind::Flush {
            if !fails {
                self.flush(dice);
            } else if self.fault == Fault::FailedFlushCleans {
                self.cells.iter_mut().for_each(|cell| cell.dirty = false);
            }
        }
        if fails {
            if let (Fault::LateFailure, Kind::Write { .. }) = (self.fault, run.op.kind) {
                self.late.extend(
                    run.left
                        .iter()
                        .map(|&sector| (sector, Value::of(run.number, sector))),
                );
            }
            return self.model.complete(run.id, End::Io, &[]);
        }
        let fua = matches!(
            run.op.kind,
            Kind::Write { fua: true, .. } | Kind::WriteZeroes { fua: true, .. }
        );
        if fua && self.fault != Fault::NoFua {
            for sector in run.op.start..run.op.start + run.op.len {
                let cell = &mut self.cells[sector as usize];
                (cell.durable, cell.dirty) = (cell.visible, false);
            }
        }
        self.model.complete(run.id, End::Ok, &run.seen)
    }

    fn crash(&mut self, dice: &mut Dice) -> Result<(), Violation> {
        let survivor = |cell: &Cell, dice: &mut Dice| {
            if dice.roll(2) == 0 {
                cell.visible
            } else {
                cell.durable
            }
        };
        let seen: Vec<Value> = self.cells.iter().map(|cell| survivor(cell, dice)).collect();
        self.model.crash();
        self.running.clear();
        self.late.clear();
        self.cells = seen
            .iter()
            .map(|&v| Cell {
                visible: v,
                before: v,
                durable: v,
                dirty: false,
            })
            .collect();
        self.model.restart(&seen)
    }

    fn step(&mut self, most: u64, dice: &mut Dice) -> Result<(), Violation> {
        if !self.late.is_empty() && dice.roll(12) == 0 {
            let (sector, value) = self.late.remove(0);
            self.show(sector, value);
        }
        let n = self.running.len() as u64;
        match dice.roll(10) {
            _ if n == 0 => self.submit(dice),
            0..=3 if n < most => self.submit(dice),
            4..=6 => return self.complete(dice.roll(n) as usize, dice),
            _ if dice.roll(40) == 0 => return self.crash(dice),
            _ => {
                let i = dice.roll(n) as usize;
                if !self.running[i].left.is_empty() {
                    self.apply(i, dice);
                }
            }
        }
        Ok(())
    }
}

/// The first violation within that many steps.
fn first_violation(fault: Fault, seed: u64, steps: u32) -> Option<Violation> {
    let mut dice = Dice(seed);
    let most = 1 + dice.roll(24);
    let mut disk = Disk::new(fault);
    (0..steps).find_map(|_| disk.step(most, &mut dice).err())
}

#[test]
fn an_honest_disk_is_never_accused() {
    for seed in 0..60 {
        let violation = first_violation(Fault::None, seed, 5_000);
        assert!(
            violation.is_none(),
            "seed {seed}: {}",
            violation.map_or(String::new(), |v| v.to_string())
        );
    }
}

#[test]
fn every_fault_is_found() {
    let faults = [
        Fault::StaleRead,
        Fault::FlushForgets,
        Fault::NoFua,
        Fault::EarlyFlush,
        Fault::FailedFlushCleans,
        Fault::DiscardResurrects,
        Fault::LateFailure,
    ];
    for fault in faults {
        let found = (0..40)
            .filter(|&seed| first_violation(fault, seed, 5_000).is_some())
            .count();
        assert!(found >= 8, "{fault:?} was found in {found} of 40 runs only");
    }
}
