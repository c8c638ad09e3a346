//! Textbook programs whose number of traces is known, faults that must be found, and random programs against every
//! interleaving.

use crate::atomic::{AtomicU64, Ordering};
use crate::{Mode, Mutex, Object, Options, Receipt, Task, explore, race};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

mod random;

fn options(mode: Mode) -> Options {
    Options {
        mode,
        keep_traces: true,
        ..Options::default()
    }
}

/// Explores, and collects what the program returns.
fn states<S: Ord + 'static>(mode: Mode, mut program: impl FnMut() -> S) -> (Receipt, BTreeSet<S>) {
    let seen = RefCell::new(BTreeSet::new());
    let receipt = explore(&options(mode), || {
        let state = program();
        seen.borrow_mut().insert(state);
    });
    (receipt, seen.into_inner())
}

fn task<R>(f: impl FnOnce() -> R + 'static) -> Task<R> {
    Box::new(f)
}

/// Explores with every mode; all agree about the states, and the optimal one takes exactly `traces` executions.
#[track_caller]
fn count<S: Ord + Debug + 'static>(traces: u64, mut program: impl FnMut() -> S) -> BTreeSet<S> {
    let (optimal, found) = states(Mode::Optimal, &mut program);
    assert!(optimal.complete, "{optimal}");
    assert_eq!((optimal.executions, optimal.sleep_blocked), (traces, 0));
    for mode in [Mode::Sleep, Mode::All] {
        let (other, states) = states(mode, &mut program);
        assert!(other.complete, "{mode:?}: {other}");
        assert_eq!(states, found, "{mode:?}");
        assert_eq!(other.traces, optimal.traces, "{mode:?}");
        assert!(other.executions >= traces, "{mode:?}: {other}");
    }
    found
}

/// Tasks that take these locks, one critical section after the other.
fn sections(locks: usize, tasks: &'static [&'static [usize]]) -> Vec<u8> {
    let locks: Arc<Vec<Mutex<Vec<u8>>>> =
        Arc::new((0..locks).map(|_| Mutex::new(Vec::new())).collect());
    let tasks = (0u8..).zip(tasks).map(|(me, wanted)| {
        let locks = Arc::clone(&locks);
        task(move || {
            for &lock in *wanted {
                if let Ok(mut guard) = locks[lock].lock() {
                    guard.push(me);
                }
            }
        })
    });
    race(tasks.collect());
    let order = locks.iter().map(|lock| match lock.lock() {
        Ok(order) => order.clone(),
        Err(_) => Vec::new(),
    });
    order.collect::<Vec<_>>().join(&u8::MAX)
}

#[test]
fn independent_locks_are_one_trace() {
    count(1, || sections(3, &[&[0, 0], &[1, 1], &[2, 2]]));
}

#[test]
fn tasks_with_one_lock_are_all_their_orders() {
    count(2, || sections(1, &[&[0], &[0]]));
    count(6, || sections(1, &[&[0], &[0], &[0]]));
    count(24, || sections(1, &[&[0], &[0], &[0], &[0]]));
    // Five sections each: 10 over 5.
    count(252, || sections(1, &[&[0; 5], &[0; 5]]));
}

#[test]
fn two_locks_in_turn() {
    // Either is taken by either first: all four, since the sections are separate.
    count(4, || sections(2, &[&[0, 1], &[0, 1]]));
    // But the other way round not both by him who takes it last.
    count(3, || sections(2, &[&[0, 1], &[1, 0]]));
}

/// What three tasks with six lock operations each come to: three critical sections of one lock, or one of each of six.
#[test]
fn three_tasks_with_six_lock_operations() {
    // 9 sections in any order that keeps each task's own: 9! / 3!^3.
    count(1680, || sections(1, &[&[0; 3], &[0; 3], &[0; 3]]));
    // Any order at each of six locks: 6^6, since no task is held up by a later lock.
    const EVERY: &[usize] = &[0, 1, 2, 3, 4, 5];
    let (receipt, orders) = states(Mode::Optimal, || sections(6, &[EVERY; 3]));
    assert!(receipt.complete, "{receipt}");
    assert_eq!((receipt.executions, orders.len()), (46_656, 46_656));
    assert_eq!(receipt.sleep_blocked, 0);
}

/// What is left out because it makes no difference is counted.
#[test]
fn independent_neighbours_are_counted() {
    let (one, _) = states(Mode::Optimal, || sections(2, &[&[0], &[1]]));
    assert_eq!((one.executions, one.independent), (1, 1));
    let (dependent, _) = states(Mode::Optimal, || sections(1, &[&[0], &[0]]));
    assert_eq!((dependent.executions, dependent.independent), (2, 0));
}

/// One writer of each of n variables, one reader of all: of each variable before or after its writer.
#[test]
fn readers_and_writers() {
    fn program(readers: usize) -> Vec<u64> {
        let x = Arc::new(AtomicU64::new(0));
        let mut tasks = vec![];
        for _ in 0..readers {
            let x = Arc::clone(&x);
            tasks.push(task(move || x.load(Ordering::SeqCst)));
        }
        let writer = Arc::clone(&x);
        tasks.push(task(move || {
            writer.store(1, Ordering::SeqCst);
            0
        }));
        race(tasks)
    }
    for readers in 1..=5 {
        let states = count(1 << readers, || program(readers));
        assert_eq!(states.len(), 1 << readers);
    }
}

/// Each of n - 1 tasks adds one to the cell in front of its own; one looks for the last zero. A program on which sleep sets
/// without wakeup trees run into dead ends.
#[test]
fn last_zero() {
    fn program(n: usize) -> Vec<u64> {
        let cells: Arc<Vec<AtomicU64>> = Arc::new((0..n).map(|_| AtomicU64::new(0)).collect());
        let looking = Arc::clone(&cells);
        let mut tasks = vec![task(move || {
            let mut at = n - 1;
            while looking[at].load(Ordering::SeqCst) != 0 {
                at -= 1;
            }
            at as u64
        })];
        for me in 1..n {
            let cells = Arc::clone(&cells);
            tasks.push(task(move || {
                let before = cells[me - 1].load(Ordering::SeqCst);
                cells[me].store(before + 1, Ordering::SeqCst);
                0
            }));
        }
        race(tasks)
    }
    // As published: with 5 adders 64, with 10 of them 3328.
    for adders in 1..=5 {
        let traces = ((adders + 3) << adders) >> 2;
        if adders <= 3 {
            count(traces, || program(adders as usize + 1));
        }
        let (optimal, _) = states(Mode::Optimal, || program(adders as usize + 1));
        assert_eq!((optimal.executions, optimal.sleep_blocked), (traces, 0));
    }
}

/// Tasks that insert into a hash table of so many cells, at places that collide or not (`indexer`).
#[test]
fn indexer() {
    fn program(tasks: u64, cells: u64) -> u64 {
        let table: Arc<Vec<Mutex<u64>>> = Arc::new((0..cells).map(|_| Mutex::new(0)).collect());
        let tasks = (0..tasks).map(|me| {
            let table = Arc::clone(&table);
            task(move || {
                let mut at = me * 2 % cells;
                loop {
                    if let Ok(mut cell) = table[at as usize].lock()
                        && *cell == 0
                    {
                        *cell = me + 1;
                        return;
                    }
                    at = (at + 1) % cells;
                }
            })
        });
        race(tasks.collect());
        table.iter().fold(0, |sum, cell| match cell.lock() {
            Ok(cell) => sum * 10 + *cell,
            Err(_) => sum,
        })
    }
    // No two of them meet: one trace.
    count(1, || program(4, 8));
    // The first and the last begin at one cell.
    let states = count(2, || program(3, 4));
    assert_eq!(states.len(), 2);
}

#[test]
fn ranges_of_an_object_conflict_where_they_overlap() {
    fn program(ranges: &'static [(u32, u32)]) -> Vec<usize> {
        let file = Rc::new(Object::new());
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks = ranges.iter().enumerate().map(|(me, &(from, to))| {
            let (file, order) = (Rc::clone(&file), Rc::clone(&order));
            task(move || {
                file.touch(crate::Access::Write, from, to);
                order.borrow_mut().push(me);
            })
        });
        race(tasks.collect());
        Vec::new()
    }
    count(1, || program(&[(0, 4), (4, 8), (8, 12)]));
    count(2, || program(&[(0, 4), (3, 8), (8, 12)]));
    count(6, || program(&[(0, 9), (3, 8), (2, 12)]));
}

fn fails(mode: Mode, program: impl FnMut()) -> crate::Failure {
    let receipt = explore(&options(mode), program);
    assert!(!receipt.complete);
    receipt.failure.expect("the fault is found")
}

fn inversion() {
    let locks = Arc::new((Mutex::new(0), Mutex::new(0)));
    let other = Arc::clone(&locks);
    race(vec![
        task(move || {
            let _a = locks.0.lock();
            let _b = locks.1.lock();
        }),
        task(move || {
            let _b = other.1.lock();
            let _a = other.0.lock();
        }),
    ]);
}

#[test]
fn a_deadlock_is_found_and_its_schedule_finds_it_again() {
    for mode in [Mode::Optimal, Mode::Sleep, Mode::All] {
        let failure = fails(mode, inversion);
        assert_eq!(
            failure.message,
            "deadlock: task 0 waits for lock 8.1, task 1 waits for lock 8.0"
        );
        let again = Options {
            schedule: Some(failure.schedule),
            ..Options::default()
        };
        let receipt = explore(&again, inversion);
        assert_eq!(receipt.executions, 1);
        assert_eq!(receipt.failure.expect("again").message, failure.message);
    }
}

#[test]
fn a_lost_update_is_found() {
    let failure = fails(Mode::Optimal, || {
        let x = Arc::new(AtomicU64::new(0));
        let add = |x: Arc<AtomicU64>| {
            task(move || {
                let seen = x.load(Ordering::SeqCst);
                x.store(seen + 1, Ordering::SeqCst);
            })
        };
        race(vec![add(Arc::clone(&x)), add(Arc::clone(&x))]);
        assert_eq!(x.load(Ordering::SeqCst), 2, "an update is lost");
    });
    assert!(failure.message.contains("an update is lost"), "{failure:?}");
    assert!(
        failure.story.contains("task 1 read 8.0"),
        "{}",
        failure.story
    );
}

#[test]
fn a_panic_of_a_task_is_a_failure_and_the_others_are_unwound() {
    struct Counted(Rc<std::cell::Cell<u32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(std::cell::Cell::new(0));
    let drops = Rc::clone(&dropped);
    let failure = fails(Mode::Optimal, move || {
        let lock = Arc::new(Mutex::new(0));
        let (first, second) = (Arc::clone(&lock), Arc::clone(&lock));
        let counted = Counted(Rc::clone(&drops));
        race(vec![
            task(move || {
                let _guard = first.lock();
                panic!("on purpose");
            }),
            task(move || {
                let _counted = counted;
                let _guard = second.lock();
                let _again = second.lock();
            }),
        ]);
    });
    assert_eq!(failure.message, "on purpose");
    assert_eq!(dropped.get(), 1);
    // And the engine is of use still.
    count(2, || sections(1, &[&[0], &[0]]));
}

#[test]
fn a_cut_is_seen() {
    let cut = Options {
        limit: 5,
        ..Options::default()
    };
    let receipt = explore(&cut, || drop(sections(1, &[&[0], &[0], &[0]])));
    assert!(!receipt.complete && receipt.failure.is_none());
    assert_eq!(
        receipt.to_string(),
        "cut at 5, 5 traces, 5 executions, 0 sleep-blocked, 0 independent, longest 3"
    );
    let limit = Options {
        limit: 6,
        ..Options::default()
    };
    assert!(explore(&limit, || drop(sections(1, &[&[0], &[0], &[0]]))).complete);
}

#[test]
fn a_program_that_does_not_repeat_itself_is_refused() {
    let mut runs = 0;
    let failure = fails(Mode::Optimal, move || {
        runs += 1;
        let locks: Arc<Vec<Mutex<u8>>> = Arc::new((0..2).map(|_| Mutex::new(0)).collect());
        let other = Arc::clone(&locks);
        race(vec![
            task(move || {
                drop(locks[0].lock());
                drop(locks[0].lock());
            }),
            task(move || {
                drop(other[usize::from(runs > 1)].lock());
            }),
        ]);
    });
    assert!(
        failure.message.contains("does not do the same again"),
        "{failure:?}"
    );
}

#[test]
fn each_task_has_its_own_variables() {
    crate::thread_local! {
        static MINE: std::cell::Cell<u32> = std::cell::Cell::new(7);
    }
    let lock = || Arc::new(Mutex::new(()));
    let receipt = explore(&Options::default(), || {
        let lock = lock();
        let tasks = (0..3).map(|me| {
            let lock = Arc::clone(&lock);
            task(move || {
                let before = MINE.with(|mine| mine.replace(me));
                drop(lock.lock());
                let after = MINE.with(|mine| mine.replace(before));
                assert_eq!((before, after), (7, me));
            })
        });
        race(tasks.collect());
    });
    assert_eq!((receipt.complete, receipt.executions), (true, 6));
}
