use super::*;
use crate::campaign::{Subject, world};
use crate::report::{Class, RunStats};
use crate::tape::{Event, Kind, Label, Object};
use crate::trace::TraceHash;

/// A run of events on two queues with eight clusters. It fails if a write to cluster 5 is delivered after a flush was
/// submitted and before the power is cut: three events, in that order, and the cut.
struct Toy;

const EVENTS: [Event; 3] = [Event::Submit, Event::Deliver, Event::Tick];

impl Subject for Toy {
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        let mut trace = TraceHash::new();
        tape.begin(Event::Shape);
        let noise: u32 = (0..4).map(|_| tape.choose(Kind::Geometry, 50)).sum();
        trace.push(noise.into());
        tape.begin(Event::Plan);
        let end = tape.choose(Kind::Crash, 2);
        let end = tape.choose(Kind::Crash, 60) + end;
        let mut flights: Vec<u32> = Vec::new();
        let (mut flushed, mut guilty) = (false, false);
        let mut stopped = false;
        for _ in 0..end {
            stopped |= tape.stops();
            tape.begin(Event::Any);
            let weights = [
                if stopped { 0 } else { 4 },
                if flights.is_empty() { 0 } else { 4 },
                1,
            ];
            let queue = Some(0);
            match tape.weighted_event(Kind::Event, &weights, &EVENTS) {
                0 => {
                    let queue = Some(tape.choose(Kind::Thread, 2) as u16);
                    let object = match tape.choose(Kind::Op, 9) {
                        8 => Object::Flush,
                        clu => Object::Write(clu),
                    };
                    tape.name(|| Label {
                        event: Event::Submit,
                        queue,
                        object,
                        ..Label::default()
                    });
                    match object {
                        Object::Write(clu) => flights.push(clu),
                        _ => flushed = true,
                    }
                }
                1 => {
                    let at = tape
                        .index_named(Kind::Event, flights.len(), |at| Object::Index(flights[at]));
                    let clu = flights.remove(at);
                    let object = Object::Index(clu);
                    tape.name(|| Label {
                        event: Event::Deliver,
                        queue,
                        object,
                        ..Label::default()
                    });
                    guilty |= flushed && clu == 5;
                    trace.push(clu.into());
                }
                _ => tape.name(|| Event::Tick.into()),
            }
        }
        tape.begin(Event::Cut);
        if tape.choose(Kind::Survive, 4) > 0 && guilty {
            return Err(Failure {
                class: Class::Wrong,
                checker: "toy",
                message: format!("sector 5: lost: saw {noise}"),
                trace: trace.value(),
            });
        }
        Ok(RunStats {
            trace: trace.value(),
            ..RunStats::default()
        })
    }
}

fn toy(_: Profile, _: bool) -> Box<dyn Subject> {
    Box::new(Toy)
}

/// Failing tapes of the toy, without the names of events.
fn failing() -> impl Iterator<Item = TapeFile> {
    (0..).filter_map(|seed| {
        let mut tape = Tape::from_seed(seed);
        let failure = Toy.run(&mut tape).err()?;
        Some(TapeFile {
            lies: false,
            profile: "tiny".into(),
            seed: Some(seed),
            trace: Some(failure.trace),
            failure: failure.checker.into(),
            choices: tape.choices().to_vec(),
            spans: Vec::new(),
        })
    })
}

fn effort(runs: u64) -> Effort {
    Effort {
        runs,
        time: Duration::from_secs(60),
    }
}

#[test]
fn what_is_not_needed_goes() {
    for file in failing().take(20) {
        let shrunk = shrink(&file, Profile::Tiny, toy, effort(20_000)).expect("it fails");
        let after = shrunk.after;
        assert_eq!((after.operations, after.crashes), (2, 1), "{after:?}");
        assert_eq!((after.events, after.switches), (3, 0), "{after:?}");
        assert!(shrunk.before.events >= after.events);
        assert_eq!(shrunk.failure.message, "sector 5: lost: saw 0");
        let stretches: Vec<String> = shrunk
            .file
            .spans
            .iter()
            .map(|s| s.label.to_string())
            .collect();
        assert!(
            stretches.contains(&"submit q0 write c5".to_owned()),
            "{stretches:?}"
        );
    }
}

#[test]
fn the_result_depends_on_the_tape_and_the_runs_alone() {
    let file = failing().nth(3).expect("one");
    let one = shrink(&file, Profile::Tiny, toy, effort(3000)).expect("it fails");
    let two = shrink(&file, Profile::Tiny, toy, effort(3000)).expect("it fails");
    assert_eq!((one.file, one.runs), (two.file, two.runs));
}

#[test]
fn a_small_tape_is_a_tape_like_others_and_does_not_become_smaller() {
    let file = failing().nth(5).expect("one");
    let small = shrink(&file, Profile::Tiny, toy, effort(20_000)).expect("it fails");
    let mut bytes = Vec::new();
    small.file.save(&mut bytes).expect("saved");
    let read = TapeFile::load(&bytes[..]).expect("read");
    assert_eq!(read, small.file);
    let again = shrink(&read, Profile::Tiny, toy, effort(20_000)).expect("it fails");
    assert_eq!(again.before, again.after);
}

#[test]
fn a_tape_that_passes_is_refused() {
    let file = TapeFile {
        profile: "tiny".into(),
        ..TapeFile::default()
    };
    let refused = shrink(&file, Profile::Tiny, toy, effort(100));
    assert_eq!(refused.map(|shrunk| shrunk.after), Err(Refusal::Passes));
}

/// The whole world, on a disk that lies about its syncs.
fn lying(profile: Profile, _: bool) -> Box<dyn Subject> {
    world(profile, true)
}

#[test]
fn runs_on_a_lying_disk_become_small() {
    let mut runner = Runner::new(lying, false);
    let failing = (0..).filter_map(|seed| {
        let failure = runner.run(Profile::Tiny, seed).err()?;
        Some(TapeFile {
            profile: "tiny".into(),
            failure: failure.checker.into(),
            choices: runner.choices().to_vec(),
            ..TapeFile::default()
        })
    });
    let mut sizes = Vec::new();
    for file in failing.take(5) {
        let shrunk = shrink(&file, Profile::Tiny, lying, effort(4000)).expect("it fails");
        assert_eq!(shrunk.failure.checker, file.failure);
        let counts = |counts: Counts| (counts.operations, counts.events, counts.choices);
        assert!(counts(shrunk.after) <= counts(shrunk.before));
        sizes.push(shrunk.after.operations);
    }
    sizes.sort_unstable();
    assert!(sizes[2] <= 8, "{sizes:?}");
}
