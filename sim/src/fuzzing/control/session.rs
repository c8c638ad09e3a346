//! A chain to which one operation after the other is done, some cut, some failing, in any order: what one leaves the next
//! finds.
//!
//! Checkers: those of `judge`; `refused` (what is refused is not written), `size`, `progress`.

use super::draw::{self, Wish};
use super::drill::{Drill, Ground, Stage, Stats, views};
use super::grow::geometry;
use super::judge;
use super::merge::{draw_size, raw_file};
use crate::check::failure;
use crate::disk::fault::{FaultPlan, FaultRates};
use crate::disk::{SimFile, View};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::op::Value;
use ploop_core::control::files::{Compact, ControlError, Merge, Source, grow, repair};
use ploop_core::drive::DeltaFile;
use ploop_core::units::Sectors;

/// Most operations of a session.
const MOST: u32 = 8;
/// Crash images looked at after each operation.
const IMAGES: u64 = 6;
const RATES: FaultRates = FaultRates {
    io: 400,
    short: 300,
    nothing: 100,
    no_space: 300,
    unsupported: 100,
    horizon: 40,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Grow { level: usize, size: u64 },
    Shrink { level: usize },
    Compact { level: usize, step: u32 },
    Repair { level: usize },
    Forward { step: u32, stop: u32 },
    Backward { step: u32, stop: u32 },
}

/// One operation on the chain as it is.
struct Step {
    op: Op,
    raw: bool,
    expected: Vec<Value>,
    /// Size of the top afterwards.
    size: u64,
}

/// Runs a session.
///
/// # Errors
/// What a checker found.
pub fn run(tape: &mut Tape) -> Result<Stats, Failure> {
    let cluster = [1, 2, 4, 3][tape.index(Kind::Geometry, 4)];
    let entries = match tape.choose(Kind::Geometry, 3) {
        0 => 100 + u64::from(tape.choose(Kind::Geometry, 14)),
        _ => 1 + u64::from(tape.choose(Kind::Geometry, 14)),
    };
    let size = draw_size(entries, cluster, tape);
    let levels = 1 + tape.choose(Kind::Geometry, 3);
    let mut raw = levels > 1 && tape.choose(Kind::Geometry, 4) == 3;
    let (mut files, mut expected) = (Vec::new(), vec![Value::ZERO; size as usize]);
    for level in 0..levels {
        let size = if raw && level == 0 {
            size.min(10 * cluster)
        } else {
            size
        };
        let (file, values) = if raw && level == 0 {
            raw_file(size, tape)
        } else {
            let wish = Wish {
                cluster,
                size,
                mapped: 5,
                write: 1 + level,
            };
            let drawn = draw::image(&wish, tape);
            let mut file = SimFile::new();
            file.reset_bytes(geometry(tape), &drawn.bytes);
            (file, drawn.values)
        };
        for (expected, value) in expected.iter_mut().zip(values) {
            *expected = value.unwrap_or(*expected);
        }
        files.push(file);
    }
    let mut stats = Stats::default();
    for _ in 0..=tape.choose(Kind::Op, MOST) {
        let step = Step::draw(&files, raw, &expected, cluster, tape)?;
        let done = step.carry_out(&mut files, tape, &mut stats)?;
        let first = merged_levels(&files, &step.op);
        match step.op {
            Op::Forward { .. } if done => {
                files.remove(first);
                raw &= first > 0;
            }
            Op::Backward { .. } if done => {
                files.remove(first + 1);
            }
            _ => {}
        }
        let top = files.last().ok_or_else(|| nothing("no file"))?;
        if raw && files.len() == 1 {
            break;
        }
        let size = size_of(top.view())?;
        expected.resize(size as usize, Value::ZERO);
    }
    Ok(stats)
}

fn nothing(what: &str) -> Failure {
    failure("image", what.to_owned())
}

fn size_of(view: View<'_>) -> Result<u64, Failure> {
    let header = model::image::Header::read(&judge::Bytes(view));
    header.map_or_else(
        |why| Err(nothing(&why.to_string())),
        |header| Ok(header.size_sectors),
    )
}

/// The lower level of the pair that a merge is about: the last pair.
fn merged_levels(files: &[SimFile], op: &Op) -> usize {
    match op {
        Op::Forward { .. } | Op::Backward { .. } => files.len().saturating_sub(2),
        _ => 0,
    }
}

impl Step {
    fn draw(
        files: &[SimFile],
        raw: bool,
        expected: &[Value],
        cluster: u64,
        tape: &mut Tape,
    ) -> Result<Step, Failure> {
        let top = files.len() - 1;
        let level = match tape.index(Kind::Arg, files.len()) {
            0 if raw => top,
            level => level,
        };
        let size = size_of(files[level].view())?;
        let most = size_of(files[top].view())?;
        let step = 1 + tape.choose(Kind::Arg, 4);
        let stop = tape.choose(Kind::Arg, 4);
        let op = match tape.choose(Kind::Op, 8) {
            0 | 1 => {
                let more = match tape.choose(Kind::Arg, 3) {
                    0 => tape.choose(Kind::Arg, 5),
                    1 => tape.choose(Kind::Arg, 40 * cluster as u32),
                    _ => tape.choose(Kind::Arg, 140 * cluster as u32),
                };
                let size = size + u64::from(more);
                let size = if level < top { size.min(most) } else { size };
                Op::Grow { level, size }
            }
            2 => Op::Compact { level, step },
            3 => Op::Repair { level },
            4 if top > 0 => Op::Forward { step, stop },
            5 if top > 0 => Op::Backward { step, stop },
            6 if size > 0 => Op::Shrink { level },
            _ => Op::Repair { level },
        };
        let after = match op {
            Op::Grow { level, size } if level == top => size,
            _ => most,
        };
        Ok(Step {
            op,
            raw,
            expected: expected.to_vec(),
            size: after,
        })
    }

    /// True if it came to its end.
    fn carry_out(
        &self,
        files: &mut [SimFile],
        tape: &mut Tape,
        stats: &mut Stats,
    ) -> Result<bool, Failure> {
        let (mut faults, mut calls) = (FaultPlan::none(), None);
        match tape.choose(Kind::Crash, 4) {
            2 => calls = Some(tape.choose(Kind::Crash, 40)),
            3 => faults.draw(&RATES, tape),
            _ => {}
        }
        let mut ground = Ground::new(self, tape, IMAGES);
        let tried = ground.attempt(files, &mut faults, calls);
        let stage = if tried.result.is_ok() {
            Stage::Done
        } else {
            Stage::Midway
        };
        let refused = matches!(&tried.result, Err(error) if error.is_refusal());
        if refused && tried.calls > 0 {
            let message = format!("{:?}: {} calls", self.op, tried.calls);
            return Err(failure("refused", message));
        }
        if matches!(self.op, Op::Shrink { .. }) && tried.result.is_ok() {
            return Err(failure("refused", format!("{:?} was done", self.op)));
        }
        match &tried.result {
            Err(error) if !refused && !tried.lost && faults.untouched() => {
                let message = format!("{:?} failed without a fault: {error}", self.op);
                return Err(failure("progress", message));
            }
            _ => {}
        }
        ground.stats.cuts += u64::from(tried.lost);
        ground.stats.faults += faults.injected().total();
        self.judge(&views(files), stage)?;
        ground.every_image(files, |_, image| self.judge(&views(image), stage))?;
        stats.add(&ground.stats);
        // A failed one may have left either size: what is seen need not be what a later crash leaves.
        let unsure = matches!(self.op, Op::Grow { .. }) && tried.result.is_err();
        let crash = tried.lost || unsure || tape.choose(Kind::Crash, 3) == 2;
        if crash {
            for file in files.iter_mut() {
                file.crash(tape);
            }
        }
        Ok(tried.result.is_ok() && self.comes_to_its_end())
    }

    /// False for a merge that is cancelled.
    fn comes_to_its_end(&self) -> bool {
        !matches!(
            self.op,
            Op::Forward { stop: 1.., .. } | Op::Backward { stop: 1.., .. }
        )
    }
}

impl Drill for Step {
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError> {
        let source = |level: usize| Source {
            file: files[level],
            name: "delta",
            raw: self.raw && level == 0,
        };
        let run_merge = |mut merge: Merge<'_>, step, stop| {
            for _ in 0..if stop > 0 { stop } else { u32::MAX } {
                if merge.step(step)?.finished {
                    return Ok(());
                }
            }
            merge.cancel()
        };
        let top = files.len() - 1;
        match self.op {
            Op::Grow { level, size } => {
                let grown = grow(files[level], "delta", Sectors(size))?;
                assert_eq!(grown.to.0, size, "[size] grown to another size");
                Ok(())
            }
            Op::Shrink { level } => {
                let size = ploop_core::load::load(files[level], "delta")?;
                let size = size.expanded().map_or(0, |image| image.layout.size.0);
                grow(files[level], "delta", Sectors(size - 1)).map(drop)
            }
            Op::Compact { level, step } => {
                let mut compact = Compact::new(files[level], "delta")?;
                while !compact.step(step)?.finished {}
                Ok(())
            }
            Op::Repair { level } => {
                let done = repair(files[level], "delta")?;
                assert!(done.sound, "[sound] repair of a sound image: {done:?}");
                Ok(())
            }
            Op::Forward { step, stop } => {
                run_merge(Merge::forward(source(top - 1), source(top))?, step, stop)
            }
            Op::Backward { step, stop } => {
                run_merge(Merge::backward(source(top - 1), source(top))?, step, stop)
            }
        }
    }

    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure> {
        for (level, view) in views.iter().enumerate() {
            if !(self.raw && level == 0) {
                judge::writable(*view, "delta")?;
            }
        }
        let top = views.len() - 1;
        let size = size_of(views[top])?;
        let old = self.expected.len() as u64;
        if size != self.size && (stage == Stage::Done || size != old) {
            return Err(failure("size", format!("{:?}: size {size}", self.op)));
        }
        let mut expected = self.expected.clone();
        expected.resize(size as usize, Value::ZERO);
        judge::content(views, self.raw, &expected)?;
        let merged = stage == Stage::Done && self.comes_to_its_end();
        let mut rest = views.to_vec();
        let raw = match self.op {
            Op::Forward { .. } if merged => {
                rest.remove(top - 1);
                self.raw && top > 1
            }
            Op::Backward { .. } if merged => {
                rest.remove(top);
                self.raw
            }
            _ => return Ok(()),
        };
        let taker = rest.len() - 1;
        judge::size(rest[taker], raw && taker == 0, size)?;
        judge::content(&rest, raw, &expected)
    }
}
