//! What the model costs: `cargo run --release -p model --example speed`. Figures, no judgement.

use model::disk::{Model, OpId};
use model::fsck::Fsck;
use model::op::{End, Kind, Op, Value};
use std::hint::black_box;
use std::time::Instant;

const SECTORS: u64 = 32;

/// A cheap random number generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// One run as the simulator's tiny profile does it: `ops` operations, `depth` in flight, on a disk that applies all at its end; then
/// a crash with everything kept, compared. Returns sectors touched by operations.
fn run(
    model: &mut Model,
    dice: &mut Dice,
    ops: u32,
    depth: usize,
    disk: &mut [Value],
    bag: &mut Bag,
) -> u64 {
    let mut touched = 0;
    disk.fill(Value::ZERO);
    model.reset(disk);
    bag.in_flight.clear();
    let mut submitted = 0;
    while submitted < ops || !bag.in_flight.is_empty() {
        if submitted < ops && bag.in_flight.len() < depth {
            submitted += 1;
            let kind = match dice.roll(16) {
                0..=5 => Kind::Read,
                6..=11 => Kind::Write {
                    preflush: false,
                    fua: dice.roll(8) == 0,
                },
                12 => Kind::WriteZeroes {
                    fua: false,
                    unmap: true,
                },
                13 => Kind::Discard,
                _ => Kind::Flush,
            };
            let start = dice.roll(SECTORS);
            let len = if kind == Kind::Flush {
                0
            } else {
                1 + dice.roll(8).min(SECTORS - start - 1)
            };
            let op = Op { kind, start, len };
            touched += len;
            let id = model.submit(op, submitted);
            bag.in_flight.push((op, id, submitted));
            continue;
        }
        let (op, id, number) = bag
            .in_flight
            .swap_remove(dice.roll(bag.in_flight.len() as u64) as usize);
        bag.seen.clear();
        for sector in op.start..op.start + op.len {
            let cell = &mut disk[sector as usize];
            match op.kind {
                Kind::Read => bag.seen.push(*cell),
                Kind::Write { .. } => *cell = Value::of(number, sector),
                _ => *cell = Value::ZERO,
            }
        }
        model
            .complete(id, End::Ok, &bag.seen)
            .expect("an honest disk");
    }
    touched
}

#[derive(Default)]
struct Bag {
    in_flight: Vec<(Op, OpId, u32)>,
    seen: Vec<Value>,
}

fn main() {
    let mut model = Model::new(SECTORS);
    let mut dice = Dice(88_172_645_463_325_252);
    let mut disk = vec![Value::ZERO; SECTORS as usize];
    let mut bag = Bag::default();
    for (ops, depth) in [(10, 1), (10, 2), (10, 4), (30, 8), (100, 16)] {
        let runs = 1_000_000 / ops;
        let mut touched = 0;
        let begin = Instant::now();
        for _ in 0..runs {
            touched += run(&mut model, &mut dice, ops, depth, &mut disk, &mut bag);
        }
        let spent = begin.elapsed().as_nanos() as f64;
        let begin = Instant::now();
        for _ in 0..runs {
            model
                .check_all_after_crash(black_box(&disk))
                .expect("what is visible may survive");
        }
        let checked = begin.elapsed().as_nanos() as f64;
        let runs = f64::from(runs);
        println!(
            "{ops:3} ops, {depth:2} in flight: {:6.0} ns a run, {:5.0} ns an op, {:4.1} ns a sector; crash compare {:5.0} ns, {:3.1} ns a sector",
            spent / runs,
            spent / runs / f64::from(ops),
            spent / touched as f64,
            checked / runs,
            checked / runs / SECTORS as f64,
        );
    }

    // 8 clusters of 4 sectors, 6 of them mapped.
    let mut image = vec![0_u8; (1 + 8) * 4 * 512];
    image[..16].copy_from_slice(b"WithouFreSpacExt");
    for (at, word) in [
        (16, 2_u32),
        (28, 4),
        (32, 8),
        (36, 32),
        (48, 4),
        (64, 3),
        (68, 1),
        (72, 8),
        (80, 2),
        (84, 6),
        (92, 5),
    ] {
        image[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let mut fsck = Fsck::default();
    let rounds = 1_000_000;
    let begin = Instant::now();
    for _ in 0..rounds {
        assert!(fsck.check(black_box(&image)).problems.is_empty());
    }
    println!(
        "fsck of a tiny image: {:.0} ns, {} leaked",
        begin.elapsed().as_nanos() as f64 / f64::from(rounds),
        fsck.report().leaked()
    );
}
