use super::*;
use crate::tape::{Choice, Kind, TapeFile};
use std::path::PathBuf;

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
        "run extra",
    ] {
        assert_eq!(sim(line), (1, String::new()), "{line}");
    }
}

#[test]
fn help_is_no_error() {
    let (code, text) = sim("--help");
    assert_eq!(code, 0);
    for word in ["run", "replay", "bench", "Exit codes"] {
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

#[test]
fn a_replay_shows_the_choices_on_demand() {
    let choice = |kind, n, k| Choice { kind, n, k };
    let mut text = Vec::new();
    super::replay::trace(
        &[choice(Kind::Op, 5, 3), choice(Kind::Survive, 2, 1)],
        &mut text,
    )
    .expect("written");
    let text = String::from_utf8(text).expect("text");
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines,
        [
            ["0", "op", "3", "of", "5"],
            ["1", "survive", "1", "of", "2"]
        ]
    );
}
