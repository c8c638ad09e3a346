//! The program, as a script sees it: exit codes, JSON on standard output, nothing else there.

mod support;

use serde_json::Value;
use sim::profile::Profile;
use sim::tape::{Tape, TapeFile};
use sim::world::World;
use support::Folder;

/// The only line of standard output, and the exit code.
fn json(folder: &Folder, line: &str) -> (Value, i32) {
    let output = folder.sim(line);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 1, "{line}: {text}");
    let value = serde_json::from_str(&text).expect("JSON");
    (value, output.status.code().expect("an exit code"))
}

fn number(line: &Value, key: &str) -> f64 {
    line[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} is no number: {line}"))
}

#[test]
fn a_campaign_of_few_seeds_passes_and_says_so() {
    let folder = Folder::new("campaign");
    let (line, code) = json(&folder, "run --seeds 0..200 --profile tiny --json");
    assert_eq!(code, 0, "{line}");
    assert_eq!(number(&line, "runs"), 200.0);
    for key in [
        "ops",
        "steps",
        "crash_images",
        "sectors_compared",
        "faults",
        "runs_per_s",
    ] {
        assert!(number(&line, key) > 0.0, "{key}: {line}");
    }
    for key in ["recovery_crashes", "torn_rounds"] {
        assert!(number(&line, key) >= 0.0, "{key}: {line}");
    }
    assert!(line["marks_unseen"].is_array());
    assert_eq!(line["canary"]["flagged"], true, "{line}");
    assert_eq!(line["failure"], Value::Null);
    assert!(
        !folder.0.join("target").exists(),
        "no failure, no folder for tapes"
    );
}

#[test]
fn an_engine_goes_a_way_of_its_own_and_the_same_again() {
    let folder = Folder::new("engines");
    let mut traces = Vec::new();
    for engine in ["swarm", "urw", "pct", "fuzz", "portfolio"] {
        let run = format!("run --engine {engine} --seeds 0..150 --profile tiny --json");
        let (line, code) = json(&folder, &run);
        assert_eq!(code, 0, "{line}");
        let (again, _) = json(&folder, &format!("{run} --jobs 1"));
        assert_eq!(line["trace"], again["trace"], "{engine}");
        assert_eq!(line["saturation"], again["saturation"], "{engine}");
        assert!(number(&line["saturation"], "traces") > 5.0, "{line}");
        traces.push(line["trace"].to_string());
    }
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 5);
    let output = folder.sim("run --engine dfs");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_same_seeds_go_the_same_way_whatever_the_jobs() {
    let folder = Folder::new("jobs");
    let (one, _) = json(&folder, "run --seeds 1000..1300 --jobs 1 --json");
    let (two, _) = json(&folder, "run --seeds 1000..1300 --jobs 2 --json");
    for key in [
        "runs",
        "ops",
        "steps",
        "sectors_compared",
        "faults",
        "trace",
    ] {
        assert_eq!(one[key], two[key], "{key}");
    }
    assert_ne!(one["trace"], "0000000000000000");
}

#[test]
fn the_table_has_the_rows_that_were_promised() {
    let folder = Folder::new("table");
    let output = folder.sim("run --time 200ms --seed 7");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    for row in [
        "seed 7",
        "runs ",
        "steps",
        "crash images",
        "sectors compared",
        "faults injected",
        "runs per second",
        "canary",
        "EIO",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
}

#[test]
fn a_recorded_run_goes_the_same_way_and_shows_what_happened() {
    let folder = Folder::new("replay");
    let mut tape = Tape::from_seed(5);
    let stats = World::new(Profile::Tiny)
        .run(&mut tape)
        .expect("a healthy core");
    let file = TapeFile {
        lies: false,
        profile: "tiny".into(),
        seed: Some(5),
        trace: Some(stats.trace),
        failure: String::new(),
        choices: tape.choices().to_vec(),
        spans: Vec::new(),
    };
    let mut bytes = Vec::new();
    file.save(&mut bytes).expect("saved");
    std::fs::write(folder.0.join("five.tape"), bytes).expect("written");
    let output = folder.sim("replay five.tape");
    assert_eq!(output.status.code(), Some(0));
    let short = String::from_utf8(output.stdout).expect("text");
    assert!(short.contains("as recorded, to the last step"), "{short}");
    assert!(
        short.contains(&format!("trace {:016x}", stats.trace)),
        "{short}"
    );
    let long = String::from_utf8(folder.sim("replay five.tape --trace").stdout).expect("text");
    assert!(long.ends_with(&short), "{long}");
    assert!(
        long.lines().count() as u64 > short.lines().count() as u64 + stats.ops,
        "{long}"
    );
}

/// A disk that lies about its syncs: failures, on demand. All that is made of them works, and says where they come from.
#[test]
fn a_failing_campaign_leaves_tapes_that_fail_again() {
    let folder = Folder::new("lying");
    let campaign = "run --lying-disk --seeds 0..400 --profile tiny --failures 3 --json";
    let (line, code) = json(&folder, campaign);
    assert_eq!(code, 2, "{line}");
    let first = &line["failure"];
    let more = line["more_failures"].as_array().expect("a list");
    assert!(!more.is_empty(), "one sort only: {line}");
    let runs = number(&line, "runs") + number(&line, "failing_runs");
    assert_eq!(runs + number(&line, "runs_undone"), 400.0, "{line}");
    let (again, _) = json(&folder, campaign);
    assert_eq!(again["failure"], *first, "the same campaign");
    for failure in more.iter().chain([first]) {
        let tape = failure["tape"].as_str().expect("a tape");
        let replay = folder.sim(&format!("replay {tape}"));
        let text = String::from_utf8(replay.stdout).expect("text");
        assert_eq!(replay.status.code(), Some(2), "{text}");
        assert!(text.contains("as recorded, to the last step"), "{text}");
        let (shrunk, code) = json(&folder, &format!("shrink {tape} --json"));
        assert_eq!((code, &shrunk["checker"]), (0, &failure["checker"]));
        let small = shrunk["output"].as_str().expect("a file");
        assert_eq!(
            folder.sim(&format!("replay {small}")).status.code(),
            Some(2)
        );
        let story = folder.sim(&format!("explain {small} --samples 50"));
        let story = String::from_utf8(story.stdout).expect("text");
        assert!(story.contains("inevitable"), "{story}");
    }
    // On an honest disk nothing of that happens.
    let (honest, code) = json(&folder, "run --seeds 0..400 --profile tiny --json");
    assert_eq!((code, &honest["failure"]), (0, &Value::Null));
}

#[test]
fn usage_errors_have_code_1() {
    let folder = Folder::new("usage");
    for line in ["nonsense", "run --profile huge", "replay missing.tape"] {
        let output = folder.sim(line);
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{line}"
        );
    }
}

#[test]
fn the_benchmark_has_its_figures() {
    let folder = Folder::new("bench");
    let (line, code) = json(&folder, "bench --json --time 10ms");
    assert_eq!(code, 0);
    for key in [
        "runs_per_s",
        "steps_per_s",
        "crash_images_per_s",
        "shuttle_schedules_per_s",
        "lookup_ns",
        "bytes_per_cluster",
        "pages_to_two_devices",
        "pages_to_global_1_thread",
        "pages_to_global_2_threads",
    ] {
        assert!(number(&line, key) > 0.0, "{key}: {line}");
    }
    // Not timed: these two are the core's own promise.
    assert_eq!(
        number(&line, "allocs_per_mapped_request"),
        0.0,
        "the mapped path allocates"
    );
    assert!(number(&line, "heap_bytes_per_cluster") <= 12.0, "{line}");
    let output = folder.sim("bench --time 1ms");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("at least") && text.contains("30,000"));
}
