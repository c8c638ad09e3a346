//! `sim shrink` and `sim explain` as a script sees them. A healthy core has no failing tape: the commands must say so,
//! and tell the story of a run that passes.

mod support;

use sim::profile::Profile;
use sim::tape::{Tape, TapeFile};
use sim::world::World;
use support::Folder;

/// A run with the names of its events, saved as `run.tape`.
fn recorded(folder: &Folder, profile: Profile, seed: u64) -> TapeFile {
    let mut tape = Tape::from_seed(seed);
    tape.note_spans();
    let stats = World::new(profile).run(&mut tape).expect("a healthy core");
    let file = TapeFile {
        profile: profile.to_string(),
        seed: Some(seed),
        trace: Some(stats.trace),
        lies: false,
        failure: String::new(),
        choices: tape.choices().to_vec(),
        spans: tape.spans().to_vec(),
    };
    let mut bytes = Vec::new();
    file.save(&mut bytes).expect("saved");
    std::fs::write(folder.0.join("run.tape"), bytes).expect("written");
    file
}

#[test]
fn a_tape_that_passes_cannot_be_shrunk() {
    let folder = Folder::new("shrink");
    recorded(&folder, Profile::Tiny, 3);
    let output = folder.sim("shrink run.tape");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains("does not fail"), "{message}");
    assert!(!folder.0.join("run.min.tape").exists());
}

#[test]
fn a_run_with_named_events_replays_and_says_how_well_it_aligns() {
    let folder = Folder::new("aligned");
    let file = recorded(&folder, Profile::Default, 4);
    let text = String::from_utf8(folder.sim("replay run.tape").stdout).expect("text");
    assert!(text.contains("alignment 100.0 %"), "{text}");
    assert!(text.contains("as recorded, to the last step"), "{text}");
    // A choice in the middle is gone, as if the code had drawn one less when it was recorded.
    let mut other = file.clone();
    let middle = other.spans[other.spans.len() / 2].at;
    other.choices.remove(middle);
    let behind = |span: &&mut sim::tape::Span| span.at > middle;
    other
        .spans
        .iter_mut()
        .filter(behind)
        .for_each(|span| span.at -= 1);
    let mut bytes = Vec::new();
    other.save(&mut bytes).expect("saved");
    std::fs::write(folder.0.join("other.tape"), bytes).expect("written");
    let text = String::from_utf8(folder.sim("replay other.tape").stdout).expect("text");
    let percent = text
        .lines()
        .find_map(|line| line.strip_prefix("alignment ")?.strip_suffix(" %"))
        .expect("a line for it");
    let percent: f64 = percent.parse().expect("a number");
    assert!(percent > 90.0, "{text}");
}

#[test]
fn the_story_of_a_run_that_passes() {
    let folder = Folder::new("explain");
    let file = recorded(&folder, Profile::Tiny, 5);
    let text = String::from_utf8(folder.sim("explain run.tape").stdout).expect("text");
    assert!(text.starts_with("passed"), "{text}");
    let output = folder.sim("explain run.tape --html page.html --json");
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["trace"], format!("{:016x}", file.trace.unwrap_or(0)));
    assert!(json["rows"].as_array().is_some_and(|rows| rows.len() > 10));
    let html = std::fs::read_to_string(folder.0.join("page.html")).expect("the page");
    assert!(html.ends_with("</html>\n"));
    let output = folder.sim("explain run.tape --html missing/folder/page.html");
    assert_eq!(output.status.code(), Some(0), "folders are made");
    let output = folder.sim("explain run.tape --html /dev/null/page.html");
    assert_eq!(output.status.code(), Some(1));
}
