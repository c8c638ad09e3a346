//! The control plane's operations on files, under power cuts and faults: drawn images, every call, every crash image.

pub mod bitmaps;
pub mod compact;
pub mod draw;
pub mod drill;
pub mod grow;
pub mod judge;
pub mod merge;
pub mod repair;
pub mod session;

pub use bitmaps::Bitmaps;
pub use compact::{Compact, Index};
pub use drill::{Drill, Ground, Stage, Stats};
pub use grow::Grow;
pub use merge::Merge;
pub use repair::Repair;

use crate::report::Failure;
use crate::tape::{Kind, Tape};

/// Crash images of one cut.
const IMAGES: u64 = 8;

/// What a tape says: a session on a chain, or a damaged image, or slots that move.
///
/// # Errors
/// What a checker found.
pub fn run(tape: &mut Tape) -> Result<Stats, Failure> {
    fn once<D: Drill>(
        (drill, files): (D, Vec<crate::disk::SimFile>),
        tape: &mut Tape,
    ) -> Result<Stats, Failure> {
        let mut ground = Ground::new(&drill, tape, IMAGES);
        ground.once(&files)?;
        Ok(ground.stats)
    }
    match tape.choose(Kind::Op, 9) {
        8 => once(Bitmaps::draw(tape), tape),
        7 => once(Index::draw(tape), tape),
        5 | 6 => once(Repair::draw(tape), tape),
        _ => session::run(tape),
    }
}
