//! The story of a run: what happened, which events touched the sector that is wrong, and from when on it was inevitable.
//!
//! ```text
//!   tape ──▶ run, noted ──▶ story: rows, lives of operations and I/Os, lanes ──▶ text │ JSON │ one page of HTML
//!        └─▶ prefixes, each continued by chance ──▶ fates ──────────────────┘
//! ```
//! Everything shown is read from the run's own log; nothing is decided here.

mod fate;
mod guilt;
mod html;
mod locks;
pub(crate) mod names;
mod story;
mod svg;
mod teller;
#[cfg(test)]
mod tests;
mod text;

pub use fate::{Fate, Fates};
pub use html::page;
pub use locks::HandOver;
pub use story::{IoLife, Lane, OpLife, Row, Story};
pub use text::write as write_text;

use crate::campaign::{Make, attempt};
use crate::profile::Profile;
use crate::report::{Failure, RunStats};
use crate::tape::{Tape, TapeFile};
use crate::world::World;
use crate::world::log::Entry;

/// A run that was noted.
#[derive(Clone, Debug)]
pub struct Noted {
    /// The tape as it was read, with the names of its events.
    pub tape: TapeFile,
    /// What happened.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub result: Result<RunStats, Failure>,
}

/// Runs a tape and notes what happens. `canary`: on a disk that lies.
#[must_use]
pub fn note(file: &TapeFile, profile: Profile, canary: bool) -> Noted {
    let mut world = World::new(profile);
    world.set_canary(canary);
    world.set_logging(true);
    let mut tape = Tape::replay_spans(&file.choices, &file.spans);
    tape.note_spans();
    let result = attempt(&mut world, &mut tape);
    Noted {
        tape: TapeFile {
            choices: tape.choices().to_vec(),
            spans: tape.spans().to_vec(),
            ..file.clone()
        },
        entries: world.take_log(),
        result,
    }
}

/// Tells the story of a tape: how it went, and `samples` continuations of each of its prefixes.
#[must_use]
pub fn explain(file: &TapeFile, profile: Profile, make: Make, canary: bool, samples: u32) -> Story {
    let noted = note(file, profile, canary);
    let fates = match &noted.result {
        Ok(_) => Fates::default(),
        Err(failure) => fate::fates(&noted.tape, profile, make, failure, samples),
    };
    Story::of(&noted, fates)
}
