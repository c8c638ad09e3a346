use super::*;
use crate::campaign::{Make, Mix, Plan, Seeds, Shard, Subject};
use crate::profile::Profile;
use crate::report::{Class, Failure, RunStats};
use crate::search::Engine;
use crate::tape::{Kind, Tape, TapeFile};
use std::path::PathBuf;
use std::time::Duration;

/// Exit code and standard output.
fn sim(line: &str) -> (u8, String) {
    let mut out = Vec::new();
    let words = std::iter::once("sim").chain(line.split_whitespace());
    let code = execute(words.map(OsString::from), &Meter::NONE, &mut out);
    (code, String::from_utf8(out).expect("text"))
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sim-cli-{}-{name}", std::process::id()));
    std::fs::write(&path, content).expect("written");
    path
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    for line in [
        "fly",
        "--json",
        "run --profile huge",
        "run --seeds 5..5",
        "run --seeds 1..2 --seed 3",
        "run --time soon",
        "run --jobs 0",
        "replay",
        "replay /no/such/tape",
        "shrink",
        "shrink /no/such/tape",
        "shrink x.tape --time never",
        "explain /no/such/tape",
        "explain x.tape --samples -1",
        "explain x.tape --samples 49",
        "run extra",
    ] {
        assert_eq!(sim(line), (1, String::new()), "{line}");
    }
}

#[test]
fn help_is_no_error() {
    let (code, text) = sim("--help");
    assert_eq!(code, 0);
    for word in ["run", "replay", "shrink", "explain", "bench", "Exit codes"] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn a_file_that_is_no_tape_is_a_usage_error() {
    let path = file("rubbish", b"rubbish");
    assert_eq!(
        sim(&format!("replay {}", path.display())),
        (1, String::new())
    );
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn a_tape_of_no_profile_is_a_usage_error() {
    let mut bytes = Vec::new();
    let tape = TapeFile {
        profile: "huge".into(),
        ..TapeFile::default()
    };
    tape.save(&mut bytes).expect("saved");
    let path = file("huge", &bytes);
    assert_eq!(
        sim(&format!("replay {}", path.display())),
        (1, String::new())
    );
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn an_output_that_nobody_reads_is_no_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let words = ["sim", "--help"].map(OsString::from);
    assert_eq!(execute(words, &Meter::NONE, &mut Closed), 1);
}

/// What a fake does with the runs of some seeds. The first choice of a run tells them apart.
fn fake(canary: bool, bad: fn(RunStats) -> Result<RunStats, Failure>) -> Box<dyn Subject> {
    struct Fake(bool, fn(RunStats) -> Result<RunStats, Failure>);
    impl Subject for Fake {
        fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
            let first = tape.choose(Kind::Other, 100);
            let stats = RunStats {
                ops: 1,
                steps: u64::from(first),
                ..RunStats::default()
            };
            if self.0 {
                Err(failure(Class::Wrong))
            } else if first == 0 {
                (self.1)(stats)
            } else {
                Ok(stats)
            }
        }
    }
    Box::new(Fake(canary, bad))
}

fn failure(class: Class) -> Failure {
    Failure {
        class,
        checker: "fake",
        message: "on demand".into(),
        trace: 5,
    }
}

/// The JSON line and the exit code of a campaign of fakes, and how many tapes it left.
fn campaign(name: &str, make: Make, time: Option<Duration>) -> (serde_json::Value, u8, usize) {
    let plan = Plan {
        seeds: Seeds::Range {
            first: 0,
            last: 999,
        },
        shard: Shard::WHOLE,
        mix: Mix::Only(Profile::Tiny),
        engine: Engine::Swarm,
        time,
        until_unseen: None,
        failures: 1,
        lies: false,
        jobs: 2,
        patience: Duration::from_secs(60),
        make,
    };
    let folder = std::env::temp_dir().join(format!("sim-cli-{}-{name}", std::process::id()));
    let mut out = Vec::new();
    let code = super::run::carry_out(&plan, &folder, false, true, &mut out).expect("written");
    let tapes = std::fs::read_dir(&folder).map_or(0, Iterator::count);
    let _ = std::fs::remove_dir_all(&folder);
    let line = serde_json::from_slice(&out).expect("one line of JSON");
    (line, code, tapes)
}

#[test]
fn every_class_of_failure_has_its_exit_code_and_its_tape() {
    let makes: [(&str, Make, u8); 3] = [
        (
            "wrong",
            |_, canary| fake(canary, |_| Err(failure(Class::Wrong))),
            2,
        ),
        (
            "hang",
            |_, canary| fake(canary, |_| Err(failure(Class::Hang))),
            3,
        ),
        (
            "panic",
            |_, canary| fake(canary, |_| panic!("on demand")),
            4,
        ),
    ];
    for (class, make, expected) in makes {
        let (line, code, tapes) = campaign(class, make, None);
        assert_eq!((code, tapes), (expected, 1), "{class}");
        assert_eq!(line["exit_code"], expected);
        let failure = &line["failure"];
        assert_eq!(failure["class"], class);
        let message = failure["message"].as_str().expect("a message");
        assert!(message.contains("on demand"), "{message}");
        let replay = failure["replay"].as_str().expect("a command");
        let tape = failure["tape"].as_str().expect("a path");
        assert!(
            replay.contains(" replay ") && replay.contains(tape),
            "{replay}"
        );
    }
}

#[test]
fn a_campaign_whose_canary_lives_is_red() {
    let (line, code, tapes) = campaign("canary", |_, _| fake(false, Ok), None);
    assert_eq!((code, tapes), (2, 0));
    assert_eq!(line["canary"]["flagged"], false);
    assert_eq!(
        (&line["ok"], &line["failure"]),
        (&false.into(), &serde_json::Value::Null)
    );
}

#[test]
fn a_campaign_is_red_for_what_it_did_not_see_only_if_it_is_large() {
    let make: Make = |_, canary| fake(canary, Ok);
    let (line, code, _) = campaign("small", make, None);
    assert_eq!((code, &line["coverage_required"]), (0, &false.into()));
    assert_eq!(line["runs"], 1000);
    let (line, code, _) = campaign("large", make, Some(Duration::from_secs(60)));
    assert_eq!((code, &line["coverage_required"]), (2, &true.into()));
    assert!(
        line["others_unseen"]
            .as_array()
            .is_some_and(|unseen| !unseen.is_empty())
    );
}
