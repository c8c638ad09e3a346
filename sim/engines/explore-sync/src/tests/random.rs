//! Random small programs: whatever plain search over all interleavings finds, the optimal one finds, in one execution for
//! each Mazurkiewicz trace.

use super::{options, task};
use crate::atomic::{AtomicU64, Ordering};
use crate::{Access, Mode, Mutex, Object, Receipt, explore, race};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One thing that a task does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Multiplies what the lock guards, and adds.
    Section(usize),
    /// Takes a lock, and in it a later one.
    Nested(usize, usize),
    Load(usize),
    Store(usize),
    /// Loads, and stores only if something is there.
    IfSet(usize, usize),
    /// Places, whether they are written, and what is done beside them.
    Touch(u32, u32, bool, Option<Access>),
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 33) % n) as usize
    }
}

/// Shared by the tasks of one execution.
struct World {
    locks: Vec<Mutex<u64>>,
    cells: Vec<AtomicU64>,
    file: Object,
    content: std::sync::Mutex<[u64; 6]>,
}

const SHARED: usize = 3;

fn acts(dice: &mut Dice, most: u64) -> Vec<Act> {
    (0..1 + dice.below(most))
        .map(|_| {
            let (a, b) = (dice.below(SHARED as u64), dice.below(SHARED as u64));
            match dice.below(8) {
                0 | 1 => Act::Section(a),
                2 if a != b => Act::Nested(a.min(b), a.max(b)),
                2 | 3 => Act::Load(a),
                4 | 5 => Act::Store(a),
                6 => Act::IfSet(a, b),
                _ => {
                    let from = dice.below(4) as u32;
                    let aside =
                        [None, None, Some(Access::Read), Some(Access::Write)][dice.below(4)];
                    Act::Touch(
                        from,
                        from + 1 + dice.below(2) as u32,
                        dice.below(3) > 0,
                        aside,
                    )
                }
            }
        })
        .collect()
}

fn perform(acts: &[Act], me: u64, world: &World) -> u64 {
    let mut seen = me;
    let lock = |index: usize| match world.locks[index].lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    };
    for &act in acts {
        match act {
            Act::Section(a) => {
                let mut guard = lock(a);
                *guard = *guard * 7 + me;
                seen = seen * 31 + *guard;
            }
            Act::Nested(a, b) => {
                let mut outer = lock(a);
                *outer = *outer * 5 + me;
                let mut inner = lock(b);
                *inner = *inner * 3 + *outer;
            }
            Act::Load(a) => seen = seen * 31 + world.cells[a].load(Ordering::SeqCst),
            Act::Store(a) => world.cells[a].store(seen, Ordering::SeqCst),
            Act::IfSet(a, b) => {
                if world.cells[a].load(Ordering::SeqCst) != 0 {
                    world.cells[b].store(seen, Ordering::SeqCst);
                }
            }
            Act::Touch(from, to, write, aside) => {
                let access = if write { Access::Write } else { Access::Read };
                world.file.touch_with(access, from, to, aside);
                if let Ok(mut content) = world.content.lock() {
                    for cell in content.iter_mut().take(to as usize).skip(from as usize) {
                        seen = seen.wrapping_mul(31).wrapping_add(*cell);
                        if write {
                            *cell = cell.wrapping_mul(11).wrapping_add(me);
                        }
                    }
                    match aside {
                        Some(Access::Write) => content[5] = content[5].wrapping_mul(13) + seen,
                        Some(_) => seen = seen.wrapping_mul(31).wrapping_add(content[5]),
                        None => {}
                    }
                }
            }
        }
        seen %= 1_000_003;
    }
    seen
}

fn run(mode: Mode, program: &[Vec<Act>]) -> (Receipt, BTreeSet<Vec<u64>>) {
    let states = RefCell::new(BTreeSet::new());
    let mut options = options(mode);
    options.limit = 300_000;
    let receipt = explore(&options, || {
        let world = Arc::new(World {
            locks: (0..SHARED).map(|_| Mutex::new(0)).collect(),
            cells: (0..SHARED).map(|_| AtomicU64::new(0)).collect(),
            file: Object::new(),
            content: std::sync::Mutex::new([0; 6]),
        });
        let tasks = (1u64..).zip(program).map(|(me, acts)| {
            let (world, acts) = (Arc::clone(&world), acts.clone());
            task(move || perform(&acts, me, &world))
        });
        let mut state = race(tasks.collect());
        state.extend(
            world
                .locks
                .iter()
                .map(|lock| lock.lock().map_or(0, |value| *value)),
        );
        state.extend(world.cells.iter().map(|cell| cell.load(Ordering::SeqCst)));
        state.extend(world.content.lock().map_or([0; 6], |content| *content));
        states.borrow_mut().insert(state);
    });
    (receipt, states.into_inner())
}

#[test]
fn optimal_finds_what_all_interleavings_find() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut compared, mut saved) = (0, 0);
    for _ in 0..600 {
        let tasks = 2 + dice.below(3);
        let most = [0, 0, 5, 3, 2][tasks];
        let program: Vec<Vec<Act>> = (0..tasks).map(|_| acts(&mut dice, most)).collect();
        let (all, states) = run(Mode::All, &program);
        if !all.complete {
            continue;
        }
        compared += 1;
        for mode in [Mode::Optimal, Mode::Sleep] {
            let (reduced, found) = run(mode, &program);
            assert!(reduced.complete, "{mode:?}: {reduced} of {program:?}");
            assert_eq!(found, states, "{mode:?}: states of {program:?}");
            assert_eq!(
                reduced.traces, all.traces,
                "{mode:?}: traces of {program:?}"
            );
            let traces = all.traces.len() as u64;
            assert_eq!(
                reduced.distinct(),
                traces,
                "{mode:?}: {reduced} of {program:?}"
            );
            if mode == Mode::Optimal {
                assert_eq!(reduced.executions, traces, "{reduced} of {program:?}");
                saved += all.executions - reduced.executions;
            }
        }
    }
    println!("{compared} programs, {saved} executions saved");
    assert!(compared > 400);
}
