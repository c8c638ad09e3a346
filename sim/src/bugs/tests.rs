//! What the runner makes of headers and of other programs' output.

use super::explorer::failures;
use super::fuzzer::{checker_in, executions, panic_message};
use super::patch::{Patch, read_all};
use super::verdict::Other;
use super::*;
use crate::shrink::Counts;

const HEADER: &str = "Id: S4\nOrigin: somewhere,\n  in two lines: with a colon\nMistake: m\nSteps:\n  a | b\n\
    Violates: I13\nChecker: loom core assertion \"held twice\"\nChecker: sim durable\nTest: loom page::\n";
const DIFF: &str = "\ndiff --git a/core/src/x.rs b/core/src/x.rs\n--- a/core/src/x.rs\n";

#[test]
fn a_header_names_checkers_and_tests() {
    let patch = Patch::parse("002-a-name.patch", &format!("{HEADER}{DIFF}")).expect("a patch");
    assert_eq!(
        (patch.number.as_str(), patch.name.as_str()),
        ("002", "a-name")
    );
    assert!(
        patch.is_called("S4")
            && patch.is_called("s4")
            && patch.is_called("2")
            && patch.is_called("002")
    );
    assert!(!patch.is_called("S") && !patch.is_called("3"));
    let loom = patch.checker(Engine::Loom).expect("named");
    assert!(loom.is("core assertion", "cluster held twice"));
    assert!(!loom.is("core assertion", "cluster held") && !loom.is("linear", "held twice"));
    assert!(loom.is_in("so: cluster held twice!") && !loom.is_in("[core assertion]"));
    let sim = patch.checker(Engine::Sim).expect("named");
    assert!(sim.is("durable", "") && sim.is_in("Wrong [durable] x") && !sim.is_in("durable"));
    let any = patch.checker(Engine::BatOps).expect("any");
    assert!(any.is("what", "ever") && any.is_any() && !patch.names(Engine::BatOps));
    assert_eq!(patch.tests(Engine::Loom), ["page::"]);
    let control = Patch::none();
    assert!(control.is_control() && control.checker(Engine::Sim).is_none());
}

#[test]
fn consequences_are_named_beside_a_checker() {
    let also = "Also: loom any \"(I35)\"\nAlso: sim open\n";
    let patch = Patch::parse("002-a.patch", &format!("{also}{HEADER}{DIFF}")).expect("a patch");
    assert!(patch.is_consequence(Engine::Sim, "open", "whatever"));
    assert!(!patch.is_consequence(Engine::Sim, "image", "whatever"));
    assert!(patch.is_consequence(Engine::Loom, "page::one", "never drained (I35)"));
    assert!(!patch.is_consequence(Engine::Loom, "page::one", "held"));
    assert_eq!(
        Patch::parse("002-a.patch", &format!("Also: rules open\n{HEADER}{DIFF}")),
        Err("Also: rules open: no Checker of rules".to_owned())
    );
}

#[test]
fn what_the_patch_does_not_name_is_red() {
    let other = Other {
        name: "open".to_owned(),
        count: 1,
        message: "refused".to_owned(),
    };
    let row = |strangers: Vec<Other>| Row {
        number: "002".to_owned(),
        id: "S4".to_owned(),
        name: "a".to_owned(),
        cells: vec![Cell {
            engine: Engine::Sim,
            named: true,
            expected: None,
            result: Ok(Verdict {
                found: Some("lost".to_owned()),
                others: vec![other.clone()],
                ..Verdict::default()
            }),
            cached: false,
            outgrown: None,
            strangers,
        }],
    };
    assert!(row(Vec::new()).is_well());
    assert!(!row(vec![other.clone()]).is_well());
}

#[test]
fn complaints_that_differ_in_values_are_one() {
    let mut verdict = Verdict::default();
    for message in ["sector 3: stale: saw 4", "sector 9: stale: saw 1", "lost"] {
        verdict.other("linear", message.to_owned());
    }
    verdict.other("durable", "lost".to_owned());
    let counts: Vec<u64> = verdict.others.iter().map(|other| other.count).collect();
    assert_eq!(counts, [2, 1, 1]);
}

#[test]
fn a_header_that_says_too_little_is_refused() {
    assert!(Patch::parse("2-a.patch", &format!("{HEADER}{DIFF}")).is_err());
    assert_eq!(
        Patch::parse("002-a.patch", HEADER),
        Err("no diff".to_owned())
    );
    for key in ["Id", "Origin", "Mistake", "Steps", "Violates"] {
        let without = format!("{HEADER}{DIFF}").replace(&format!("{key}:"), "Test: sim");
        // The lines of `Steps` now belong to the key before them, which refuses them itself.
        let expected = match key {
            "Steps" => "Test: ENGINE FILTER".to_owned(),
            key => format!("no {key}"),
        };
        assert_eq!(Patch::parse("002-a.patch", &without), Err(expected));
    }
    let unknown = format!("Chekcer: sim durable\n{HEADER}{DIFF}");
    assert!(Patch::parse("002-a.patch", &unknown).is_err());
}

#[test]
fn the_catalogue_can_be_read_and_has_what_was_asked_for() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/bugs");
    let patches = read_all(&folder).expect("all patches have headers");
    assert!(patches.len() >= 60, "only {} bugs", patches.len());
    let asked_for = "S1 S2 S3 S4 S5 S7 S8 S9 S10 S15 S16 S21 S22 S23 D1 D6 D7 D8 D9 D12 D13 D15 D16 D18 D23 D24 D29 D35 \
        D36 D37 D43 O1 O4 U1 U19 U27 U28 U31 U32 Q14";
    for id in asked_for.split_ascii_whitespace() {
        assert!(
            patches.iter().any(|patch| patch.id == id),
            "{id} is missing"
        );
    }
    for (number, engine) in SMOKE {
        let mut patches = patches.iter();
        assert!(
            patches.any(|patch| patch.number == number && patch.names(engine)),
            "smoke: no bug {number} for {engine}"
        );
    }
    for &engine in Engine::ALL {
        let asked = patches.iter().filter(|patch| patch.names(engine)).count();
        assert!(asked >= 3, "{engine}: only {asked}");
    }
}

#[test]
fn failed_tests_are_told_from_the_others() {
    let output = "running 3 tests\ntest a::one ... one: complete, 12 executions\nok\ntest a::two ... execution 7 failed\n\
        \nthread 'a::two' (1) panicked at sim/tests/x.rs:1:1:\nafter a power cut: lost\nFAILED\ntest b::three ... \
        thread 'b' panicked at x:\nheld twice\n";
    let failed = failures(output);
    let names: Vec<&str> = failed.iter().map(|failed| failed.name).collect();
    assert_eq!(names, ["a::two", "b::three"]);
    assert_eq!(
        (failed[0].schedules(), failed[1].schedules()),
        (Some(7), None)
    );
    assert!(
        failed[0].output.contains("after a power cut") && !failed[0].output.contains("held twice")
    );
}

#[test]
fn the_fuzzers_output_is_understood() {
    let output = "INFO: seed\n#2\tINITED cov: 3\n#4096\tpulse  cov: 9\nthread '<unnamed>' panicked at sim/src/fuzzing/mod.rs:25:9:\n\
        Wrong [durable] sector 3: lost\nnote: run with RUST_BACKTRACE\n==12== ERROR: libFuzzer\n";
    assert_eq!(executions(output), Some(4096));
    assert_eq!(
        panic_message(output),
        Some("Wrong [durable] sector 3: lost")
    );
    assert_eq!(panic_message("#2 INITED\nDone 5 runs\n"), None);
    assert_eq!(checker_in("Wrong [durable] sector 3: lost"), "durable");
    assert_eq!(checker_in("index [7] out of bounds"), "panic");
    assert_eq!(checker_in("assertion failed"), "panic");
    let endless = "#9\tpulse\n==12== ERROR: libFuzzer: timeout after 10 seconds\n";
    assert!(panic_message(endless).is_some_and(|said| said.contains("timeout")));
}

#[test]
fn only_a_named_checker_makes_a_bug_found() {
    let row = |id: &str, result: Result<Verdict, Trouble>| Row {
        number: "001".into(),
        id: id.into(),
        name: String::new(),
        cells: vec![Cell {
            engine: Engine::Sim,
            named: true,
            expected: None,
            result,
            cached: false,
            outgrown: None,
            strangers: Vec::new(),
        }],
    };
    let found = Verdict {
        found: Some("x".into()),
        ..Verdict::default()
    };
    let mut other = Verdict::default();
    other.other("panic", "x".into());
    other.other("panic", "x".into());
    assert_eq!((other.others.len(), other.others[0].count), (1, 2));
    assert!(row("S4", Ok(found.clone())).is_well());
    assert!(!row("S4", Ok(other.clone())).is_well());
    assert!(!row("S4", Ok(Verdict::default())).is_well());
    assert!(!row("S4", Err(Trouble::Build("x".into()))).is_well());
    assert!(row("", Ok(Verdict::default())).is_well());
    assert!(!row("", Ok(found.clone())).is_well() && !row("", Ok(other)).is_well());
    // What an engine finds of which no checker is named counts for nothing, and what it does not find is no trouble.
    let any = Verdict {
        by: Some("durable".into()),
        ..found
    };
    let mut row = row("S4", Ok(any));
    assert!(!row.is_well());
    row.cells[0].named = false;
    assert!(row.is_left_out());
    row.cells[0].result = Err(Trouble::Engine("x".into()));
    assert!(!row.is_left_out());
}

#[test]
fn every_patch_applies_to_this_core() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut stale = Vec::new();
    for patch in read_all(&root.join("corpus/bugs")).expect("all patches have headers") {
        let file = format!("corpus/bugs/{}-{}.patch", patch.number, patch.name);
        let mut git = std::process::Command::new("git");
        git.args(["apply", "--check", &file]).current_dir(&root);
        let ended = process::run(&mut git, None).expect("git runs");
        if !ended.ok {
            stale.push(ended.output);
        }
    }
    assert!(
        stale.is_empty(),
        "the core has moved on:\n{}",
        stale.concat()
    );
}

#[test]
fn what_the_shrinker_says_is_understood() {
    let line = r#"{"class":"wrong","checker":"durable","message":"sector 1: lost","trace":"5f6681779ca8a987","before":
        {"operations":8,"crashes":1,"kills":0,"faults":0,"switches":14,"events":32,"choices":143},"after":
        {"operations":2,"crashes":1,"kills":0,"faults":0,"switches":0,"events":8,"choices":53},"runs":23240,
        "seconds":1.5,"output":"a.min.tape"}"#;
    let small: Small = serde_json::from_str(line).expect("as sim shrink --json writes it");
    assert_eq!((small.before.operations, small.after.operations), (8, 2));
}

/// What was recorded last must be what we aim at: 8 operations, 1 crash, 3 switches, in the middle of all tapes.
#[test]
fn recorded_tapes_are_as_small_as_aimed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/bugs");
    let recorded = Recorded::read(&folder).expect("expected.json");
    let records = recorded.bugs.values().flat_map(|bug| bug.values());
    let tapes: Vec<_> = records.filter_map(|record| record.shrunk).collect();
    assert!(tapes.len() >= 40, "only {} tapes", tapes.len());
    let median = |of: fn(&expected::Shrunk) -> u32| {
        let mut all: Vec<u32> = tapes.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    assert!(median(|tape| tape.operations) <= 8);
    assert!(median(|tape| tape.crashes) <= 1);
    assert!(median(|tape| tape.switches) <= 3);
}

#[test]
fn the_matrix_says_what_was_found_and_what_was_not() {
    let header = format!("{HEADER}Checker: shuttle durable\n{DIFF}");
    let patch = Patch::parse("002-a-<name>.patch", &header).expect("a patch");
    let mut recorded = Recorded::default();
    let found = Verdict {
        found: Some("x".into()),
        schedules: vec![7],
        cpu_seconds: 0.25,
        ..Verdict::default()
    };
    recorded.put("002", Engine::Sim, &found);
    recorded.put("002", Engine::Loom, &Verdict::default());
    let patches = [patch];
    let text = matrix::markdown(&patches, &recorded);
    assert!(text.contains("1 of 1 bugs are found"), "{text}");
    assert!(!text.contains("shrinking"), "there is no tape: {text}");
    let row = "| 002 | S4 | a <name> | 7 · 0.25 s | not in budget | not recorded | not recorded | not recorded |";
    assert!(text.lines().any(|line| line.starts_with(row)), "{text}");
    let small = Small {
        before: Counts::default(),
        after: Counts {
            operations: 5,
            ..Counts::default()
        },
        runs: 9,
        seconds: 0.25,
        output: "a.tape".into(),
    };
    let with_tape = Verdict {
        small: Some(small),
        ..found.clone()
    };
    recorded.put("002", Engine::Sim, &with_tape);
    let text = matrix::markdown(&patches, &recorded);
    assert!(
        text.contains("Their 1 tapes after shrinking (median / most / aim): operations 5 / 5 / 8,"),
        "{text}"
    );
    let by = Verdict {
        by: Some("rules".into()),
        ..found
    };
    recorded.put("002", Engine::BatOps, &by);
    let text = matrix::markdown(&patches, &recorded);
    assert!(
        text.contains("| not recorded | 7 · 0.25 s (rules) | not recorded |"),
        "{text}"
    );
    assert!(text.contains("1 of 1 bugs are found"), "{text}");
    recorded.put("002", Engine::Sim, &Verdict::default());
    let text = matrix::markdown(&patches, &recorded);
    assert!(
        text.contains("0 of 1 bugs are found"),
        "by its name alone: {text}"
    );
    let survivor = Verdict {
        runs: Some(1000),
        cpu_seconds: 600.2,
        ..Verdict::default()
    };
    recorded.put_control("000", Engine::Sim, &survivor);
    let fired = Verdict {
        others: vec![Other {
            name: "durable".into(),
            count: 1,
            message: "x".into(),
        }],
        ..Verdict::default()
    };
    recorded.put_control("000", Engine::Loom, &fired);
    let text = matrix::markdown(&patches, &recorded);
    let row = "| | | none | 1000 · 600 s | **found** | not recorded |";
    assert!(text.contains(row), "{text}");
    let page = matrix::html(&patches, &recorded);
    assert!(page.contains("a &lt;name>") && page.contains("class=\"missed\""));
    assert!(!page.contains("http"), "it loads nothing from elsewhere");
}
