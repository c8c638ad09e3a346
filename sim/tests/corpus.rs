//! Replays what is kept in `corpus`: every fuzz input, and every tape twice. Nothing is skipped: a missing folder or an
//! empty one of fuzz inputs is a failure.

use sim::fuzzing;
use sim::profile::Profile;
use sim::report::{Failure, RunStats};
use sim::tape::{Tape, TapeFile};
use sim::world::World;
use std::fs;
use std::io::BufReader;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// The files of a folder of the corpus, in the order of their names.
fn files_of(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(folder);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| {
            path.is_file()
                && !path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .collect();
    files.sort();
    files
}

fn replay_inputs(target: &str, run: fn(&[u8])) {
    let files = files_of(&format!("fuzz/{target}"));
    assert!(!files.is_empty(), "no input of {target} in the corpus");
    let mut failed = Vec::new();
    for path in &files {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if catch_unwind(|| run(&bytes)).is_err() {
            failed.push(path.display().to_string());
        }
    }
    println!("{target}: {} inputs", files.len());
    assert!(failed.is_empty(), "failed, see above: {failed:#?}");
}

#[test]
fn inputs_of_bat_ops() {
    replay_inputs("bat_ops", fuzzing::bat_ops);
}

#[test]
fn inputs_of_control_ops() {
    replay_inputs("control_ops", fuzzing::control_ops);
}

#[test]
fn inputs_of_open_image() {
    replay_inputs("open_image", fuzzing::open_image_fully);
}

#[test]
fn entries_that_name_all_they_can() {
    fuzzing::far::run();
}

fn replay(profile: Profile, file: &TapeFile) -> Result<RunStats, Failure> {
    World::new(profile).run(&mut Tape::replay_spans(&file.choices, &file.spans))
}

#[test]
fn tapes_run_the_same_twice_and_find_nothing() {
    let files = files_of("tapes");
    assert!(!files.is_empty(), "no tape in the corpus");
    let mut wrong = Vec::new();
    for path in &files {
        let name = path.display();
        let text = fs::File::open(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let tape =
            TapeFile::load(BufReader::new(text)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let profile: Profile = tape
            .profile
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        match (replay(profile, &tape), replay(profile, &tape)) {
            (Ok(first), Ok(second)) => {
                if first != second {
                    wrong.push(format!("{name}: two runs differ: {first:?} and {second:?}"));
                }
                if tape.trace.is_some_and(|trace| trace != first.trace) {
                    wrong.push(format!(
                        "{name}: trace {:016x}, recorded as {:016x}",
                        first.trace,
                        tape.trace.unwrap_or(0)
                    ));
                }
            }
            (Err(failure), _) | (_, Err(failure)) => wrong.push(format!("{name}: {failure}")),
        }
    }
    println!("{} tapes", files.len());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_seed_runs_the_same_from_its_recorded_tape() {
    for profile in Profile::ALL {
        for seed in 0..20 {
            let mut tape = Tape::from_seed(seed);
            let first = World::new(*profile).run(&mut tape);
            let mut again = Tape::replay(tape.choices().to_vec());
            let second = World::new(*profile).run(&mut again);
            assert_eq!(first, second, "profile {profile}, seed {seed}");
            assert_eq!(again.misaligned(), 0, "profile {profile}, seed {seed}");
        }
    }
}
