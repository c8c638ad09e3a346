//! A line that works on copies of the files, at a point where the device is closed: the copies are edited as somebody could
//! have left them, and something is done to them. The disk itself is not touched, and goes on.
//!
//! ```text
//!   closed files ──copied──▶ edits ──a copy for each check──▶ open, read, repair, grow, ... ──▶ done, says WORDS, refused WORDS
//!                                                                  └─ each call fails, or is cut, or the work is given up
//! ```
//! * What is opened must read as the model's naive reader reads the edited files; and is written, closed and read again.
//! * What is done to files is judged by the drills of the control plane (`fuzzing::control`): sound, the same content, the mark.
//! * What is refused must say so in these words, and have changed nothing.
//! * Nobody else's tape: what a torn write leaves is drawn from one that begins anew with each check.

mod edit;
mod far;
mod files;
mod odd;
mod operate;
mod session;

pub use edit::{Amount, Area, Edit, Field, Link};
pub use far::{Far, FarDeed, FarFile, FarImage, Slots};

use ploop_core::Options;

use crate::check::failure;
use crate::disk::fault::FaultKind;
use crate::report::Failure;
use edit::Edited;

/// A line of this sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnCopies {
    /// What is changed first, in this order.
    pub edits: Vec<Edit>,
    /// What is done, each to a copy of its own.
    pub checks: Vec<Check>,
    /// Other files instead of copies, and what is done to those.
    pub far: Option<Far>,
}

/// Something that is done to a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub deed: Deed,
    /// What goes wrong meanwhile.
    pub under: Under,
    /// What must come of it.
    pub outcome: Outcome,
}

/// What can be done to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The chain is opened for writing, read, written, closed, opened and read again.
    Open,
    /// The chain is opened for reading, and read.
    Read,
    /// An image is looked at.
    Look,
    /// A new image is made in the file.
    Create {
        /// Of version 1.
        v1: bool,
        /// Sectors of a cluster.
        cluster: u64,
        /// Sectors of the disk.
        size: u64,
    },
    /// An image is repaired.
    Repair,
    /// It becomes so many sectors larger; or smaller.
    Grow(i64),
    /// Its clusters move into holes.
    Compact,
    /// Two images become one; true: in the upper.
    Merge(bool),
    /// One cluster in so many is copied, and its slots point there.
    Index(u32),
    /// It gets a dirty bitmap of this granularity.
    StartBitmap(u32),
    /// In its first bitmap nothing is dirty any more.
    ClearBitmap,
    /// Its first bitmap goes.
    StopBitmap,
    /// The slot of this guest cluster is pointed to this host cluster.
    Point(u32, u32),
}

/// What goes wrong meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// Nothing.
    Nothing,
    /// Call after call fails so, each in a try of its own; no space lasts for so many calls.
    Faults(FaultKind, u32),
    /// Call after call fails, and has been done all the same.
    Applied,
    /// The file that was edited last becomes shorter as soon as somebody knows its length: reads find its end here.
    Ends(u64),
    /// The power is cut in call after call.
    Cuts,
    /// It is given up after a step, after two, ...
    Cancels,
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is done, and says this on the way (of a look: what is wrong).
    Says(String),
    /// It is done, and this is still wrong.
    Left(String),
    /// It is refused with these words, and nothing was changed.
    Refused(String),
}

/// The files of a chain that nobody has open, bottom to top.
#[derive(Clone, Debug)]
pub struct Closed {
    /// What is in them.
    pub files: Vec<Vec<u8>>,
    /// The lowest is raw.
    pub raw: bool,
    /// How the chain is opened.
    pub options: Options,
}

impl OnCopies {
    /// Does all of it. Returns a number that is the same whenever the same was done.
    ///
    /// # Errors
    /// A check that came to something else.
    pub fn play(&self, closed: &Closed) -> Result<u64, Failure> {
        if let Some(far) = &self.far {
            return far.play();
        }
        let edited = Edited::new(closed, &self.edits)?;
        let mut sum = 0_u64;
        for check in &self.checks {
            let done = check.play(&edited);
            let done = done.map_err(|mut failure| {
                failure.message = format!("{:?}: {}", check.deed, failure.message);
                failure
            })?;
            sum = sum.wrapping_mul(1_000_003).wrapping_add(done);
        }
        Ok(sum)
    }
}

impl Check {
    fn play(&self, edited: &Edited) -> Result<u64, Failure> {
        match self.deed {
            Deed::Open | Deed::Read => session::play(self, edited),
            _ => operate::play(self, edited),
        }
    }
}

/// It came to something else than the line says.
fn wrong(message: String) -> Failure {
    failure("scenario", message)
}

impl Outcome {
    /// `said`: the error that refused it, or what was told on the way.
    fn holds(
        &self,
        refused: Option<&str>,
        said: &[String],
        left: &[String],
    ) -> Result<(), Failure> {
        let told = |list: &[String], words: &String| match list.iter().any(|s| s.contains(words)) {
            true => Ok(()),
            false => Err(wrong(format!("nothing says {words:?}, but: {list:?}"))),
        };
        match (self, refused) {
            (Outcome::Refused(words), Some(why)) if why.contains(words.as_str()) => Ok(()),
            (Outcome::Refused(words), Some(why)) => {
                Err(wrong(format!("refused, but not with {words:?}: {why}")))
            }
            (Outcome::Refused(words), None) => {
                Err(wrong(format!("done, and not refused with {words:?}")))
            }
            (_, Some(why)) => Err(wrong(format!("refused: {why}"))),
            (Outcome::Says(words), None) => told(said, words),
            (Outcome::Left(words), None) => told(left, words),
            (Outcome::Done, None) if left.is_empty() => Ok(()),
            (Outcome::Done, None) => Err(wrong(format!("this is wrong still: {left:?}"))),
        }
    }
}
