use super::*;
use crate::profile::Profile;
use crate::replay::{Agreement, replay, replay_in_time};
use crate::report::{Class, Failure, RunStats};
use crate::tape::{Choice, Event, Kind, Label, Object, Tape, TapeFile};
use crate::world::World;
use std::io::BufReader;

mod hangs;

/// A subject made of a function. A canary is flagged by it unless the function says what else.
struct Fake<F>(F);

impl<F: FnMut(&mut Tape) -> Result<RunStats, Failure>> Subject for Fake<F> {
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        (self.0)(tape)
    }
}

fn wrong(checker: &'static str, trace: u64) -> Failure {
    Failure {
        class: Class::Wrong,
        checker,
        message: "on demand".into(),
        trace,
    }
}

/// A run of a few choices whose counts depend on them all. The first choice comes back.
fn walk(tape: &mut Tape) -> (u32, RunStats) {
    let first = tape.choose(Kind::Other, 1000);
    let mut stats = RunStats {
        ops: 8,
        trace: u64::from(first),
        ..RunStats::default()
    };
    for _ in 0..5 {
        let k = u64::from(tape.choose(Kind::Event, 7));
        stats.steps += k;
        stats.trace = stats.trace.wrapping_mul(31).wrapping_add(k);
    }
    (first, stats)
}

fn healthy(_: Profile, canary: bool) -> Box<dyn Subject> {
    let mut runs = 0;
    Box::new(Fake(move |tape: &mut Tape| {
        let (_, stats) = walk(tape);
        runs += 1;
        if canary && runs == 5 {
            return Err(wrong("fake", stats.trace));
        }
        Ok(stats)
    }))
}

/// A few events on a few objects.
fn busy(_: Profile, canary: bool) -> Box<dyn Subject> {
    Box::new(Fake(move |tape: &mut Tape| {
        tape.begin(Event::Shape);
        let (first, stats) = walk(tape);
        if canary {
            return Err(wrong("fake", stats.trace));
        }
        for at in 0..first % 8 {
            tape.begin(Event::Any);
            let clu = tape.choose(Kind::Arg, 3);
            let object = [Object::Write(clu), Object::Read(clu)][(at % 2) as usize];
            let event = Event::Submit;
            tape.name(|| Label {
                event,
                object,
                ..Label::default()
            });
        }
        Ok(stats)
    }))
}

/// One run of about a hundred fails.
fn sick(_: Profile, canary: bool) -> Box<dyn Subject> {
    Box::new(Fake(move |tape: &mut Tape| {
        let (first, stats) = walk(tape);
        if canary || first < 10 {
            return Err(wrong("fake", stats.trace));
        }
        Ok(stats)
    }))
}

fn plan(make: Make, seeds: Seeds, jobs: usize) -> Plan {
    Plan {
        seeds,
        shard: Shard::WHOLE,
        mix: Mix::All,
        engine: Engine::Swarm,
        time: None,
        until_unseen: None,
        failures: 1,
        lies: false,
        jobs,
        patience: Duration::from_secs(60),
        make,
    }
}

const SOME: Seeds = Seeds::Range {
    first: 100,
    last: 3099,
};

/// The one that is there.
fn first(found: Vec<Found>) -> Found {
    let [found] = <[Found; 1]>::try_from(found).expect("one failure");
    found
}

#[test]
fn the_number_of_jobs_changes_nothing() {
    let one = run(&plan(healthy, SOME, 1), |_| {});
    let three = run(&plan(healthy, SOME, 3), |_| {});
    assert_eq!((one.totals.runs(), one.found.len()), (3000, 0));
    assert_eq!(one.totals, three.totals);
    assert!(one.totals.iter().count() > 2, "profiles are mixed");
    // The fifth of one profile.
    let canaries = |canary| match canary {
        Canary::Flagged {
            runs,
            checker: "fake",
        } => runs,
        other => panic!("{other:?}"),
    };
    assert!(canaries(one.canary) >= 5);
    assert_eq!(one.canary, three.canary);
}

#[test]
fn neither_do_they_where_runs_build_on_each_other() {
    let seeds = Seeds::Range {
        first: 7,
        last: 7 + 2 * crate::search::HUNT,
    };
    let campaign = |jobs| {
        let plan = Plan {
            engine: Engine::Portfolio,
            mix: Mix::Only(Profile::Tiny),
            ..plan(busy, seeds, jobs)
        };
        run(&plan, |_| {})
    };
    let (one, two) = (campaign(1), campaign(2));
    assert_eq!(one.found, []);
    assert_eq!(one.totals.runs(), 2 * crate::search::HUNT + 1);
    assert_eq!(one.totals, two.totals);
    assert_eq!(one.saturation, two.saturation);
    let swarm = run(&plan(busy, seeds, 1), |_| {});
    assert_ne!(one.totals.sum().trace, swarm.totals.sum().trace);
}

#[test]
fn a_campaign_ends_when_there_is_little_new() {
    let until = |until_unseen| Plan {
        until_unseen,
        time: Some(Duration::from_secs(60)),
        mix: Mix::Only(Profile::Tiny),
        ..plan(busy, Seeds::Base(5), 1)
    };
    let summary = run(&until(Some(0.01)), |_| {});
    let seen = &summary.saturation;
    assert!(seen.unseen_patterns() <= 0.01, "{}", seen.unseen_patterns());
    assert!(seen.runs() >= saturation::LEAST_RUNS && summary.elapsed < Duration::from_secs(30));
    assert_eq!(summary.found, []);
    let few = Seeds::Range {
        first: 0,
        last: 999,
    };
    let plan = Plan {
        until_unseen: Some(1.0),
        ..plan(busy, few, 1)
    };
    assert_eq!(
        run(&plan, |_| {}).totals.runs(),
        1000,
        "too few runs to say so"
    );
}

#[test]
fn the_failure_of_the_lowest_index_is_reported_whatever_the_jobs() {
    let one = run(&plan(sick, Seeds::Base(3), 1), |_| {});
    let runs = one.totals.runs();
    let found = first(one.found);
    assert_eq!(found.failure.checker, "fake");
    assert_eq!(runs, found.index, "all before it passed");
    for jobs in [2, 4] {
        let more = run(&plan(sick, Seeds::Base(3), jobs), |_| {});
        assert_eq!(more.found, std::slice::from_ref(&found));
    }
    let seeds = Seeds::Range {
        first: found.seed,
        last: found.seed,
    };
    let again = run(
        &Plan {
            mix: Mix::Only(found.profile),
            ..plan(sick, seeds, 1)
        },
        |_| {},
    );
    let again = first(again.found);
    assert_eq!(
        (again.index, again.failure, again.choices),
        (0, found.failure, found.choices)
    );
}

/// Fails in three ways, each of ten seeds in a hundred, and says where.
fn sicker(_: Profile, canary: bool) -> Box<dyn Subject> {
    Box::new(Fake(move |tape: &mut Tape| {
        let (first, stats) = walk(tape);
        let what = ["lost", "stale", "foreign"].get(first as usize / 10);
        match what {
            Some(what) if !canary => Err(Failure {
                message: format!("sector {first}: {what}: saw zeros"),
                ..wrong("fake", stats.trace)
            }),
            _ if canary => Err(wrong("fake", stats.trace)),
            _ => Ok(stats),
        }
    }))
}

#[test]
fn a_campaign_goes_on_until_it_has_found_so_many_sorts() {
    let going = |failures, jobs| {
        let mut plan = plan(sicker, SOME, jobs);
        plan.failures = failures;
        run(&plan, |_| {})
    };
    // More than there are: all runs are done, and each sort is there once, with its first run.
    let all = going(9, 1);
    let complaints: Vec<_> = all.found.iter().map(|found| found.sort().2).collect();
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    assert!(all.found.is_sorted_by_key(|found| found.index));
    assert_eq!((all.totals.runs() + all.failing, all.undone), (3000, 0));
    assert!(all.failing > 60, "{}", all.failing);
    let three = going(9, 3);
    assert_eq!(
        (three.found, three.failing),
        (all.found.clone(), all.failing)
    );
    // As many as there are, or fewer: the rest is left, and said to be.
    for failures in [1, 2, 3] {
        let some = going(failures, 1);
        assert_eq!(some.found, all.found[..failures]);
        assert_eq!(some.totals.runs() + some.failing + some.undone, 3000);
        assert!(some.undone > 100, "{}", some.undone);
    }
}

#[test]
fn a_saved_tape_replays_to_the_same_failure() {
    let found = first(run(&plan(sick, Seeds::Base(9), 2), |_| {}).found);
    let folder = std::env::temp_dir().join(format!("sim-campaign-{}", std::process::id()));
    let path = found
        .save(&folder)
        .expect("saved")
        .expect("there is a tape");
    let file = std::fs::File::open(&path).expect("opens");
    let tape = TapeFile::load(BufReader::new(file)).expect("a tape");
    assert_eq!(
        (tape.seed, tape.failure.as_str()),
        (Some(found.seed), "fake")
    );
    let again = replay(&tape, found.profile, sick);
    assert_eq!(
        (again.result, again.agreement, again.misaligned),
        (Err(found.failure), Agreement::Same, 0)
    );
    // A core that no longer fails, and one that fails otherwise.
    let fixed = replay(&tape, found.profile, healthy);
    assert_eq!(fixed.agreement, Agreement::Other);
    let changed = TapeFile {
        trace: Some(1),
        ..tape
    };
    let moved = replay(&changed, found.profile, sick);
    assert_eq!(moved.agreement, Agreement::SameVerdict);
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_panic_is_a_failure_with_a_tape() {
    fn make(_: Profile, _: bool) -> Box<dyn Subject> {
        Box::new(Fake(|tape: &mut Tape| {
            let (first, stats) = walk(tape);
            assert!(first >= 10, "too small");
            Ok(stats)
        }))
    }
    let summary = run(&plan(make, Seeds::Base(1), 2), |_| {});
    let found = first(summary.found);
    assert_eq!(
        (found.failure.class, found.failure.checker),
        (Class::Panic, "panic")
    );
    assert!(found.failure.message.starts_with("too small, at "));
    assert_eq!(found.choices.map(|choices| choices.len()), Some(6));
    assert_eq!(
        summary.canary,
        Canary::Alive { runs: 2000 },
        "a panic is no verdict about a canary"
    );
}

/// A world that panics when it has gone some way.
struct Breaks(World);

impl Subject for Breaks {
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        self.0.run(tape)?;
        panic!("broken")
    }

    fn last_trace(&self) -> u64 {
        self.0.last_trace()
    }
}

#[test]
fn a_panic_has_the_trace_until_there() {
    let make: Make = |profile, _| Box::new(Breaks(World::new(profile)));
    let (mut seen, mut differing) = (Vec::new(), 0);
    for seed in 0..20 {
        let mut tape = Tape::from_seed(seed);
        let failure = attempt(&mut *make(Profile::Tiny, false), &mut tape).expect_err("broken");
        let honest = World::new(Profile::Tiny).run(&mut Tape::from_seed(seed));
        assert_eq!(failure.trace, honest.expect("healthy").trace, "seed {seed}");
        seen.push(failure.trace);
        // Another run is told from it.
        let file = |choices: &[Choice]| TapeFile {
            profile: "tiny".to_owned(),
            trace: Some(failure.trace),
            failure: failure.checker.to_owned(),
            choices: choices.to_vec(),
            ..TapeFile::default()
        };
        let same = replay(&file(tape.choices()), Profile::Tiny, make);
        assert_eq!(same.agreement, Agreement::Same);
        let mut other = tape.choices().to_vec();
        other[0].k = (other[0].k + 1) % other[0].n;
        let other = replay(&file(&other), Profile::Tiny, make);
        differing += u32::from(other.agreement == Agreement::SameVerdict);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 20);
    // The number of sectors of a cluster, say, may make no difference to what happens.
    assert!(differing >= 15, "{differing}");
}

#[test]
fn a_run_that_remembers_the_one_before_is_not_deterministic() {
    fn make(_: Profile, canary: bool) -> Box<dyn Subject> {
        let mut before = 0;
        Box::new(Fake(move |tape: &mut Tape| {
            let (_, mut stats) = walk(tape);
            stats.trace ^= before;
            before += 1;
            if canary || before == 700 {
                return Err(wrong("fake", stats.trace));
            }
            Ok(stats)
        }))
    }
    // A failing run is always repeated.
    let mut short = plan(make, Seeds::Base(1), 1);
    short.mix = Mix::Only(Profile::Tiny);
    let found = first(run(&short, |_| {}).found);
    assert_eq!((found.failure.checker, found.index), ("determinism", 699));
    assert!(found.failure.message.contains("NOT DETERMINISTIC"));
    assert_eq!(found.failure.class, Class::Wrong);
}

#[test]
fn a_passing_run_is_repeated_now_and_then() {
    fn make(_: Profile, canary: bool) -> Box<dyn Subject> {
        let mut before = 0;
        Box::new(Fake(move |tape: &mut Tape| {
            let (_, mut stats) = walk(tape);
            stats.trace ^= before;
            before += 1;
            if canary {
                return Err(wrong("fake", stats.trace));
            }
            Ok(stats)
        }))
    }
    let mut long = plan(make, Seeds::Base(1), 1);
    long.mix = Mix::Only(Profile::Tiny);
    let found = first(run(&long, |_| {}).found);
    assert_eq!(
        (found.failure.checker, found.index),
        ("determinism", RECHECK)
    );
}

#[test]
fn a_campaign_ends_when_its_time_is_up() {
    let mut timed = plan(healthy, Seeds::Base(1), 2);
    timed.time = Some(Duration::from_millis(50));
    let summary = run(&timed, |_| {});
    assert!(summary.totals.runs() > 0 && summary.found.is_empty());
    assert!(summary.elapsed >= Duration::from_millis(50));
}

#[test]
fn only_a_large_campaign_must_have_seen_everything() {
    let mut asked = plan(healthy, SOME, 1);
    let summary = run(&asked, |_| {});
    let small = coverage::Coverage::of(asked.time, &summary, vec!["Extended".into()]);
    assert!(!small.is_complete() && !small.is_red());
    assert_eq!(small.marks, ["Extended"]);
    for missing in [
        "EIO on sync",
        "a round torn apart",
        "a crash inside a recovery",
    ] {
        assert!(small.others.iter().any(|name| name == missing), "{missing}");
    }
    assert!(
        !small.others.iter().any(|name| name == "ENOSPC on read"),
        "a read takes no space"
    );
    asked.time = Some(coverage::LARGE_TIME);
    assert!(coverage::Coverage::of(asked.time, &summary, Vec::new()).is_red());
}
