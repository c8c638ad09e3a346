//! The control plane's operations on files, under power cuts and faults: drawn images, every call, every crash image.

pub mod bitmaps;
pub mod compact;
pub mod converting;
pub mod draw;
pub mod drill;
pub mod grow;
pub mod judge;
pub mod merge;
pub mod repair;
pub mod session;
pub mod stack;

pub use bitmaps::Bitmaps;
pub use compact::{Compact, Index};
pub use drill::{Drill, Ground, Stage, Stats};
pub use grow::Grow;
pub use merge::Merge;
pub use repair::Repair;

use crate::check::failure;
use crate::disk::fault::FaultPlan;
use crate::disk::{BlockingFile, Power, SimFile};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use ploop_core::control::files::ControlError;
use ploop_core::drive::DeltaFile;

/// Crash images of one cut.
const IMAGES: u64 = 8;

/// What a tape says: a session on a chain, or a damaged image, or slots that move, or what must be refused.
///
/// # Errors
/// What a checker found.
pub fn run(tape: &mut Tape) -> Result<Stats, Failure> {
    fn once<D: Drill>(
        (drill, files): (D, Vec<SimFile>),
        tape: &mut Tape,
    ) -> Result<Stats, Failure> {
        let mut ground = Ground::new(&drill, tape, IMAGES);
        ground.once(&files)?;
        Ok(ground.stats)
    }
    match tape.choose(Kind::Op, 11) {
        10 => converting::run(tape),
        9 => stack::run(tape),
        8 => once(Bitmaps::draw(tape), tape),
        7 => once(Index::draw(tape), tape),
        5 | 6 => once(Repair::draw(tape), tape),
        _ => session::run(tape),
    }
}

/// A refusal says which file, and why.
fn tells_why(error: &ControlError) -> bool {
    match (error.to_string().split_once(": "), error.refusal()) {
        (Some((file, told)), Some(why)) => !file.is_empty() && told == why.to_string(),
        (Some((file, _)), None) => !file.is_empty(),
        (None, _) => false,
    }
}

/// Something that must be refused before it changes or syncs anything.
fn no_calls(
    files: &mut [SimFile],
    tape: &mut Tape,
    what: &str,
    run: impl FnOnce(&[&dyn DeltaFile]) -> Result<(), ControlError>,
) -> Result<(), Failure> {
    let mut none = FaultPlan::none();
    let power = Power::new(tape, &mut none, None);
    let blocking: Vec<_> = files
        .iter_mut()
        .map(|file| BlockingFile::new(file, &power))
        .collect();
    let refs: Vec<&dyn DeltaFile> = blocking.iter().map(|file| file as _).collect();
    let result = run(&refs);
    match (&result, power.calls()) {
        (Err(ControlError::Load(_)), 0) => Ok(()),
        (Err(error), 0) if error.is_refusal() && !error.is_no_space() && tells_why(error) => Ok(()),
        (_, calls) => Err(failure(
            "refused",
            format!("{what}: {result:?} after {calls} calls"),
        )),
    }
}
