//! How fast the engine is here: three tasks that take ten locks each. A figure, not an assertion: see DESIGN, budgets.

use std::time::Instant;

use shuttle::Runner;
use shuttle::scheduler::RandomScheduler;
use shuttle::sync::Mutex;

/// Schedules measured.
const SCHEDULES: usize = 20_000;

#[test]
fn rate_of_schedules() {
    let start = Instant::now();
    let scheduler = RandomScheduler::new_from_seed(3, SCHEDULES);
    let runs = Runner::new(scheduler, super::portfolio::config()).run(|| {
        let lock = std::sync::Arc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let lock = std::sync::Arc::clone(&lock);
                shuttle::thread::spawn(move || {
                    for _ in 0..10 {
                        *lock.lock().expect("not poisoned") += 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.join().expect("a task");
        }
        assert_eq!(*lock.lock().expect("not poisoned"), 30);
    });
    let rate = runs as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} schedules/s (3 tasks of 10 locks)");
    assert_eq!(runs, SCHEDULES);
}
