//! What the fuzz targets do with their bytes. The targets are a few lines each; this is plain code, so that `cargo test`
//! replays the stored inputs without a fuzzer.
//!
//! * All functions end normally for every input, or panic with what is wrong.
//! * Same bytes, same run.

pub mod control;
pub mod far;
mod kept;
mod memory;
mod mended;
mod never;
mod open;
mod parts;
mod picture;
mod session;

use crate::campaign::attempt;
use crate::profile::Profile;
use crate::tape::{Tape, TapeFile};
use crate::world::World;
use arbitrary::Unstructured;
use picture::Scene;
use std::cell::RefCell;

thread_local! {
    /// Keeps its memory from run to run, and nothing else.
    static WORLD: RefCell<World> = RefCell::new(World::new(Profile::Tiny));
}

thread_local! {
    static TAPE: RefCell<Tape> = RefCell::new(Tape::from_bytes(&[]));
}

/// The bytes are a tape: a tiny world with operations, faults and crashes runs on it.
///
/// # Panics
/// If a checker finds something.
pub fn bat_ops(bytes: &[u8]) {
    bat_ops_watched(bytes, |_| ());
}

/// As [`bat_ops`]; `feature` is told what the run looked like: hashes of happens-before patterns (the last three events of an
/// object, or of all) and of the world's states, each with the event that came in it.
///
/// # Panics
/// As [`bat_ops`].
pub fn bat_ops_watched(bytes: &[u8], feature: impl FnMut(u64)) {
    let result = TAPE.with_borrow_mut(|tape| {
        tape.watch(true, true);
        tape.restart_bytes(bytes);
        let result = WORLD.with_borrow_mut(|world| world.run(tape));
        if let Some(seen) = tape.watch_of_run() {
            let features = seen.patterns().iter().chain(seen.states());
            features.copied().for_each(feature);
        }
        result
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// The run of [`bat_ops`] as a tape, and what is wrong with it.
#[must_use]
pub fn bat_ops_tape(bytes: &[u8]) -> TapeFile {
    let mut tape = Tape::from_bytes(bytes);
    tape.note_spans();
    let result = attempt(&mut World::new(Profile::Tiny), &mut tape);
    let (trace, failure) = match result {
        Ok(stats) => (stats.trace, String::new()),
        Err(failure) => (failure.trace, failure.checker.to_owned()),
    };
    TapeFile {
        profile: Profile::Tiny.to_string(),
        trace: Some(trace),
        failure,
        choices: tape.choices().to_vec(),
        spans: tape.spans().to_vec(),
        ..TapeFile::default()
    }
}

/// The bytes are an image (the first byte is even: the rest is the file itself), or describe a stack of images and what
/// is done to it: loaded, inspected, opened for reading and for writing, compared with the model.
///
/// # Panics
/// If the core panics, writes where it must not, or disagrees with the model.
pub fn open_image(bytes: &[u8]) {
    // A fuzzer has many inputs, and no time for all of it with each: the first byte says which.
    let drawn = bytes.first().map_or(0, |first| first >> 1);
    image_from(bytes, Extras::One(drawn.into()));
}

/// As [`open_image`], with everything that can be done to an image: for inputs that are kept.
///
/// # Panics
/// As [`open_image`].
pub fn open_image_fully(bytes: &[u8]) {
    image_from(bytes, Extras::All);
}

/// What is done to an image besides opening it.
#[derive(Clone, Copy, Debug)]
enum Extras {
    All,
    /// One of them or, mostly, none, by this number.
    One(u32),
}

impl Extras {
    /// How many there are.
    const COUNT: u32 = 10;

    fn has(self, number: u32) -> bool {
        match self {
            Extras::All => true,
            Extras::One(drawn) => drawn % (3 * Extras::COUNT) == number,
        }
    }
}

fn image_from(bytes: &[u8], extras: Extras) {
    let scene = match bytes.split_first() {
        None => return,
        Some((first, file)) if first % 2 == 0 => Scene::of_file(file),
        Some((_, rest)) => match Unstructured::new(rest).arbitrary() {
            Ok(scene) => scene,
            Err(_) => return,
        },
    };
    open::run(&scene, extras);
}

/// The bytes are a tape: the control plane's operations on drawn images, with power cuts and faults between them.
///
/// # Panics
/// If a checker finds something.
pub fn control_ops(bytes: &[u8]) {
    let mut tape = Tape::from_bytes(bytes);
    if let Err(failure) = control::run(&mut tape) {
        panic!("{failure}");
    }
}
