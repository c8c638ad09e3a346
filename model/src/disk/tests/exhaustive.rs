//! Random small histories of one sector. After every event, what the model calls legal must be exactly what follows from
//! the definitions, spelled out here over *all* linearizations: nothing missing (false alarms), nothing more (misses).

use super::*;
use std::ops::ControlFlow;

/// End of what has not ended.
const NEVER: u64 = u64::MAX;

/// One operation of a history, in the words of the definitions.
#[derive(Clone, Copy, Debug)]
struct Act {
    kind: Kind,
    /// Written or read.
    value: Value,
    start: u64,
    end: u64,
    good: bool,
}

impl Act {
    fn writes(&self) -> bool {
        matches!(
            self.kind,
            Kind::Write { .. } | Kind::WriteZeroes { .. } | Kind::Discard
        )
    }

    fn surely_writes(&self) -> bool {
        self.writes() && self.good && self.kind != Kind::Discard
    }

    fn fua(&self) -> bool {
        matches!(
            self.kind,
            Kind::Write { fua: true, .. } | Kind::WriteZeroes { fua: true, .. }
        )
    }

    fn flushes(&self) -> bool {
        matches!(self.kind, Kind::Flush | Kind::Write { preflush: true, .. })
    }

    fn must_be_placed(&self) -> bool {
        self.surely_writes() || self.kind == Kind::Read
    }
}

/// Visits every linearization: indices of the operations that are part of it. The first operation is the initial content.
fn linearizations(
    acts: &[Act],
    visit: &mut dyn FnMut(&[usize]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    place(acts, &mut vec![0], acts[0].value, visit)
}

fn place(
    acts: &[Act],
    order: &mut Vec<usize>,
    content: Value,
    visit: &mut dyn FnMut(&[usize]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let unplaced: Vec<usize> = (0..acts.len()).filter(|i| !order.contains(i)).collect();
    if !unplaced.iter().any(|&i| acts[i].must_be_placed()) {
        visit(order)?;
    }
    for &next in &unplaced {
        let act = acts[next];
        let too_early = unplaced
            .iter()
            .any(|&i| acts[i].must_be_placed() && acts[i].end < act.start);
        let too_late = order.iter().any(|&i| act.end < acts[i].start);
        let impossible = act.kind == Kind::Read && act.value != content;
        if too_early || too_late || impossible {
            continue;
        }
        order.push(next);
        place(
            acts,
            order,
            if act.writes() { act.value } else { content },
            visit,
        )?;
        order.pop();
    }
    ControlFlow::Continue(())
}

/// Only what has a part in linearizations: no flushes, no reads that failed or have not ended.
fn part(acts: &[Act]) -> Vec<Act> {
    acts.iter()
        .copied()
        .filter(|a| a.writes() || (a.kind == Kind::Read && a.good && a.end != NEVER))
        .collect()
}

fn linearizable(acts: &[Act]) -> bool {
    linearizations(&part(acts), &mut |_| ControlFlow::Break(())).is_break()
}

/// Legal values after a crash, by the definitions; and values on which they are silent.
fn after_crash(acts: &[Act], rule: ReadThenFlush) -> (Vec<Value>, Vec<Value>) {
    let flushed = acts
        .iter()
        .filter(|a| a.flushes() && a.good)
        .map(|a| a.start)
        .max()
        .unwrap_or(0);
    // What was known when that flush was submitted.
    let mut known: Vec<Act> = acts
        .iter()
        .copied()
        .filter(|a| a.start < flushed || a.start == 0)
        .collect();
    for act in known
        .iter_mut()
        .filter(|a| a.end >= flushed && a.start != 0)
    {
        (act.end, act.good) = (NEVER, false);
    }
    let known = part(&known);
    let covered = |a: &Act| rule == ReadThenFlush::AnyRead || a.end < flushed;
    // For every known write: linearizations with it, and those of them where a covered write stands later and was read.
    let mut counts = vec![(0_u32, 0_u32); known.len()];
    if flushed > 0 {
        let _ = linearizations(&known, &mut |order| {
            let mut read_later = false;
            let mut read = false;
            for &i in order.iter().rev() {
                if known[i].kind == Kind::Read {
                    read = true;
                    continue;
                }
                counts[i].0 += 1;
                counts[i].1 += u32::from(read_later);
                read_later |= read && covered(&known[i]);
                read = false;
            }
            ControlFlow::Continue(())
        });
    }
    let (mut legal, mut silent) = (Vec::new(), Vec::new());
    for write in acts.iter().filter(|a| a.writes()) {
        let durable =
            |w: &&Act| w.surely_writes() && w.start > write.end && (w.fua() || w.end < flushed);
        if acts.iter().any(|w| durable(&w)) {
            continue;
        }
        let count = known
            .iter()
            .zip(&counts)
            .find(|(k, _)| k.start == write.start)
            .filter(|(k, _)| covered(k));
        match count {
            // It cannot have taken effect in any order that explains the reads. The definition says nothing of such a
            // write, but that it is excluded if all reads count.
            Some((_, (0, _))) if flushed > 0 => {
                if rule == ReadThenFlush::EndedWrites {
                    silent.push(write.value);
                }
            }
            Some((_, (with, older))) if with == older && flushed > 0 => {}
            _ => legal.push(write.value),
        }
    }
    (sorted(legal.into_iter()), silent)
}

/// A small random number generator, the same on every machine.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

struct Run {
    model: Model,
    rule: ReadThenFlush,
    acts: Vec<Act>,
    in_flight: Vec<(usize, OpId)>,
    clock: u64,
    writes: u32,
    /// Answers and crash contents compared.
    compared: u64,
}

impl Run {
    fn new(rule: ReadThenFlush, initial: Value) -> Run {
        let mut model = Model::new(1);
        model.set_read_then_flush(rule);
        model.reset(&[initial]);
        let (acts, in_flight) = (vec![Run::initial(initial)], Vec::new());
        Run {
            model,
            rule,
            acts,
            in_flight,
            clock: 0,
            writes: 0,
            compared: 0,
        }
    }

    fn initial(value: Value) -> Act {
        let kind = Kind::Write {
            preflush: false,
            fua: true,
        };
        Act {
            kind,
            value,
            start: 0,
            end: 0,
            good: true,
        }
    }

    fn submit(&mut self, kind: Kind) {
        self.clock += 1;
        let is_write = matches!(kind, Kind::Write { .. });
        self.writes += u32::from(is_write);
        let value = if is_write {
            Value::of(self.writes, 0)
        } else {
            Value::ZERO
        };
        let len = u64::from(kind != Kind::Flush);
        let id = self.model.submit(
            Op {
                kind,
                start: 0,
                len,
            },
            self.writes,
        );
        self.in_flight.push((self.acts.len(), id));
        self.acts.push(Act {
            kind,
            value,
            start: self.clock,
            end: NEVER,
            good: false,
        });
    }

    fn complete(&mut self, dice: &mut Dice) {
        let pick = dice.roll(self.in_flight.len() as u64) as usize;
        let (i, id) = self.in_flight.swap_remove(pick);
        self.clock += 1;
        let good = dice.roll(5) > 0;
        self.acts[i].end = self.clock;
        self.acts[i].good = good;
        if !(good && self.acts[i].kind == Kind::Read) {
            let end = if good { End::Ok } else { End::Io };
            self.model.complete(id, end, &[]).expect("nothing was read");
            return;
        }
        let legal: Vec<Value> = self
            .candidates()
            .into_iter()
            .filter(|&seen| self.read_agrees(i, id, seen))
            .collect();
        assert!(
            !legal.is_empty(),
            "something must be legal: {:#?}",
            self.acts
        );
        for wrong in self
            .candidates()
            .into_iter()
            .filter(|seen| !legal.contains(seen))
        {
            let violation = self
                .model
                .clone()
                .complete(id, End::Ok, &[wrong])
                .expect_err("found wrong just now");
            assert_eq!(
                violation.legal, legal,
                "{violation}, read {i} of {:#?}",
                self.acts
            );
        }
        let seen = legal[dice.roll(legal.len() as u64) as usize];
        self.acts[i].value = seen;
        self.model
            .complete(id, End::Ok, &[seen])
            .expect("found legal just now");
    }

    /// Would this answer of read `i` be legal? Model and definition must agree.
    fn read_agrees(&mut self, i: usize, id: OpId, seen: Value) -> bool {
        self.compared += 1;
        let mut acts = self.acts.clone();
        acts[i].value = seen;
        let expected = linearizable(&acts);
        let found = self.model.clone().complete(id, End::Ok, &[seen]);
        assert_eq!(found.is_ok(), expected, "read {i} of {acts:#?}: {found:?}");
        expected
    }

    fn candidates(&self) -> Vec<Value> {
        sorted(
            self.acts
                .iter()
                .filter(|a| a.writes())
                .map(|a| a.value)
                .chain([Value::ZERO]),
        )
    }

    fn check_crash(&mut self) -> Vec<Value> {
        self.compared += 1;
        let (expected, silent) = after_crash(&self.acts, self.rule);
        let found = self.model.legal_after_crash(0);
        for value in self.candidates() {
            let agree = found.contains(&value) == expected.contains(&value);
            assert!(
                agree || silent.contains(&value),
                "after a crash, {:?}: {value:?} in {found:?} or {expected:?}? {:#?}",
                self.rule,
                self.acts
            );
        }
        found
    }

    fn check_now(&mut self) {
        let legal = self.model.legal_now(0);
        for seen in self.candidates() {
            self.compared += 1;
            let mut acts = self.acts.clone();
            let (start, end) = (self.clock + 1, self.clock + 2);
            acts.push(Act {
                kind: Kind::Read,
                value: seen,
                start,
                end,
                good: true,
            });
            let found = legal.contains(&seen);
            assert_eq!(
                found,
                linearizable(&acts),
                "{seen:?} now, after {:#?}",
                self.acts
            );
        }
    }

    fn crash(&mut self, dice: &mut Dice) {
        let legal = self.check_crash();
        let seen = legal[dice.roll(legal.len() as u64) as usize];
        self.model.crash();
        self.model.restart(&[seen]).expect("found legal just now");
        self.in_flight.clear();
        self.acts = vec![Run::initial(seen)];
    }
}

/// What a run is made of: weights of write, write of zeros, discard, read, flush.
type Taste = [u64; 5];
const TASTES: [Taste; 6] = [
    [5, 0, 0, 5, 0],
    [4, 0, 0, 4, 3],
    [3, 2, 2, 5, 1],
    [2, 1, 4, 6, 0],
    [3, 1, 2, 3, 3],
    [2, 3, 3, 6, 2],
];
/// Zeros from everywhere.
const ZEROS: [Taste; 3] = [[2, 1, 3, 5, 0], [2, 2, 2, 5, 1], [1, 0, 3, 4, 1]];

fn random_kind(dice: &mut Dice, taste: &Taste) -> Kind {
    let mut at = dice.roll(taste.iter().sum());
    let which = taste.iter().position(|&weight| {
        let hit = at < weight;
        at = at.wrapping_sub(weight);
        hit
    });
    let fua = taste[4] > 0 && dice.roll(6) == 0;
    match which {
        Some(0) => Kind::Write {
            preflush: taste[4] > 0 && dice.roll(6) == 0,
            fua,
        },
        Some(1) => Kind::WriteZeroes {
            fua,
            unmap: dice.roll(2) == 0,
        },
        Some(2) => Kind::Discard,
        Some(3) => Kind::Read,
        _ => Kind::Flush,
    }
}

fn explore(tastes: &[Taste], seeds: std::ops::Range<u64>, most_acts: usize) -> u64 {
    let mut compared = 0;
    for seed in seeds {
        let mut dice = Dice(seed);
        let taste = tastes[dice.roll(tastes.len() as u64) as usize];
        let rule = [ReadThenFlush::EndedWrites, ReadThenFlush::AnyRead][dice.roll(2) as usize];
        let initial = [Value::ZERO, Value::of(1000, 0)][dice.roll(2) as usize];
        let most_in_flight = 1 + dice.roll(5) as usize;
        let crashes = dice.roll(4) == 0;
        let mut run = Run::new(rule, initial);
        loop {
            let may_submit = run.acts.len() <= most_acts && run.in_flight.len() < most_in_flight;
            match (may_submit, run.in_flight.is_empty()) {
                (false, true) => break,
                (true, true) => run.submit(random_kind(&mut dice, &taste)),
                (true, false) if dice.roll(2) == 0 => run.submit(random_kind(&mut dice, &taste)),
                _ => run.complete(&mut dice),
            }
            run.check_crash();
            run.check_now();
            if crashes && dice.roll(6) == 0 {
                run.crash(&mut dice);
            }
        }
        compared += run.compared;
    }
    compared
}

#[test]
fn the_model_agrees_with_all_linearizations_of_small_histories() {
    let compared = explore(&TASTES, seeds(0, 6_000), 6);
    assert!(compared > 100_000, "only {compared} comparisons");
}

#[test]
fn the_model_agrees_with_all_linearizations_of_larger_histories() {
    explore(&TASTES, seeds(1, 800), 8);
}

#[test]
fn the_model_agrees_where_zeros_come_from_everywhere() {
    explore(&ZEROS, seeds(2, 4_000), 7);
}

/// Seeds of test `test`; `MODEL_RUNS=factor` makes them more.
fn seeds(test: u64, usual: u64) -> std::ops::Range<u64> {
    let factor = std::env::var("MODEL_RUNS")
        .ok()
        .and_then(|f| f.parse::<u64>().ok());
    let first = test << 40;
    first..first + usual * factor.unwrap_or(1)
}
