//! Runs that do not end.

use super::*;

/// Hangs where the first choice is low.
fn endless(_: Profile, canary: bool) -> Box<dyn Subject> {
    Box::new(Fake(move |tape: &mut Tape| {
        let (first, stats) = walk(tape);
        if canary {
            return Err(wrong("fake", stats.trace));
        }
        if first < 10 {
            std::thread::sleep(Duration::from_secs(3600));
        }
        Ok(stats)
    }))
}

#[test]
fn a_run_that_does_not_end_is_a_hang() {
    let mut hanging = plan(endless, Seeds::Base(5), 2);
    hanging.patience = Duration::from_millis(1500);
    let mut beats = 0;
    let found = first(run(&hanging, |_| beats += 1).found);
    assert_eq!(
        (found.failure.class, found.failure.checker),
        (Class::Hang, "watchdog")
    );
    assert!(beats > 0);
    let mut tape = Tape::from_seed(found.seed);
    assert!(walk(&mut tape).0 < 10, "the seed is the one that hangs");
    let choices = found.choices.as_deref();
    assert_eq!(choices, Some(tape.choices()), "as far as it came");
    let again = found.replay_arguments(None);
    let seeds = format!("--seeds {seed}..={seed}", seed = found.seed);
    assert!(again.contains(&seeds), "{again}");
}

#[test]
fn the_tape_of_a_hang_hangs_again_whoever_chose_it() {
    let folder = std::env::temp_dir().join(format!("sim-hang-{}", std::process::id()));
    let patience = Duration::from_millis(500);
    for engine in Engine::ALL {
        let mut hanging = plan(endless, Seeds::Base(3), 1);
        (hanging.patience, hanging.engine) = (patience, engine);
        let found = first(run(&hanging, |_| {}).found);
        let path = found.save(&folder).expect("saved").expect("a tape");
        let file = std::fs::File::open(&path).expect("there");
        let file = TapeFile::load(BufReader::new(file)).expect("a tape");
        let again = replay_in_time(&file, found.profile, endless, patience);
        assert!(again.hangs(), "{engine}: {:?}", again.result);
        assert_eq!(again.agreement, Agreement::Same, "{engine}");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    // One that ends is a replay like any other.
    let ends = TapeFile {
        failure: "watchdog".to_owned(),
        ..TapeFile::default()
    };
    let replayed = replay_in_time(&ends, Profile::Tiny, healthy, Duration::from_secs(60));
    assert_eq!(
        (replayed.hangs(), replayed.agreement),
        (false, Agreement::Other)
    );
}

#[test]
fn a_canary_that_hangs_is_alive() {
    fn make(_: Profile, canary: bool) -> Box<dyn Subject> {
        Box::new(Fake(move |tape: &mut Tape| {
            let (_, stats) = walk(tape);
            if canary {
                std::thread::sleep(Duration::from_secs(3600));
            }
            Ok(stats)
        }))
    }
    let mut hanging = plan(make, Seeds::Range { first: 0, last: 9 }, 1);
    hanging.patience = Duration::from_millis(300);
    assert_eq!(run(&hanging, |_| {}).canary, Canary::Alive { runs: 1 });
}
