use sim::fuzzing::control::{self, Stats};
use sim::tape::Tape;

/// What one operation leaves, cut or failed, the next one finds.
#[test]
fn operations_in_any_order() {
    let mut all = Stats::default();
    for seed in 0..20_000 {
        let mut tape = Tape::from_seed(seed);
        match control::run(&mut tape) {
            Ok(stats) => all.add(&stats),
            Err(failure) => panic!("seed {seed}: {failure}"),
        }
    }
    println!("sessions: {all:?}");
    assert!(all.cuts > 3000 && all.faults > 2000, "{all:?}");
}

#[test]
fn a_seed_runs_the_same_twice() {
    for seed in 0..50 {
        let run = || control::run(&mut Tape::from_seed(seed));
        assert_eq!(run(), run(), "seed {seed}");
    }
}
