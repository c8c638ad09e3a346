//! Whether files are sound and read as they must.
//!
//! Checkers: `open` (the core loads each file, and the top for writing), `image` (the model's fsck finds nothing but
//! leaks), `content` (the model's reader sees what it saw before), `in_use` (the mark), `size`.

use crate::check::failure;
use crate::disk::View;
use crate::report::Failure;
use model::fsck::{Problem, fsck};
use model::image::{Header, Image, ImageBytes, InUse, Level, Place, find_sector};
use model::op::Value;
use ploop_core::delta::{LoadedDelta, chain};
use ploop_core::load;

/// The model's view of a file.
pub struct Bytes<'a>(pub View<'a>);

impl ImageBytes for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len_bytes()
    }

    fn read(&self, at: u64, buf: &mut [u8]) {
        let done = self.0.read_bytes(at, buf);
        buf[done..].fill(0);
    }
}

/// Loads a file as the core does, and asks the model's fsck.
///
/// # Errors
/// What is wrong with it.
pub fn sound(view: View<'_>, name: &str) -> Result<LoadedDelta, Failure> {
    sound_but(view, name, false)
}

/// As [`sound`]; `slack`: there may be anything between the BAT and the first data.
///
/// # Errors
/// What is wrong with it.
pub fn sound_but(view: View<'_>, name: &str, slack: bool) -> Result<LoadedDelta, Failure> {
    let delta = load::load(&view, name)
        .map_err(|error| failure("open", format!("the loader refuses it: {error}")))?;
    let layout = delta.expanded().map(|image| image.layout);
    let report = fsck(&Bytes(view));
    let wrong = |problem: &&Problem| match **problem {
        // The last cluster of a file may end where the disk does.
        Problem::EntryCut { guest, sector } => layout.is_none_or(|layout| {
            let inside = u32::try_from(guest).map_or(u64::MAX, |clu| {
                layout.guest_len(ploop_core::units::Clu(clu)).0
            });
            sector + inside > report.file_sectors
        }),
        Problem::SlotBeyondSize { slot } => {
            let entries = report.header.map_or(0, |header| header.bat_entries);
            !(slack && slot >= entries)
        }
        _ => true,
    };
    match report.problems.iter().find(wrong) {
        Some(problem) => Err(failure("image", format!("fsck of {name}: {problem}"))),
        None => Ok(delta),
    }
}

/// As [`sound`], and it may be written.
///
/// # Errors
/// What is wrong with it.
pub fn writable(view: View<'_>, name: &str) -> Result<LoadedDelta, Failure> {
    writable_but(view, name, false)
}

/// As [`writable`]; `slack`: there may be anything between the BAT and the first data.
///
/// # Errors
/// What is wrong with it.
pub fn writable_but(view: View<'_>, name: &str, slack: bool) -> Result<LoadedDelta, Failure> {
    let delta = sound_but(view, name, slack)?;
    match chain::validate(std::slice::from_ref(&delta), true) {
        Ok(()) => Ok(delta),
        Err(error) => Err(failure("open", format!("refused for writing: {error}"))),
    }
}

/// How a file is marked.
///
/// # Errors
/// It has no header.
pub fn mark(view: View<'_>) -> Result<InUse, Failure> {
    match Header::read(&Bytes(view)) {
        Ok(header) => Ok(header.in_use),
        Err(why) => Err(failure("image", why.to_string())),
    }
}

/// An operation that ended without a fault has cleared the mark.
///
/// # Errors
/// It has not.
pub fn closed(view: View<'_>, name: &str) -> Result<(), Failure> {
    match mark(view)? {
        InUse::Closed | InUse::Closed21 => Ok(()),
        other => Err(failure(
            "in_use",
            format!("{name} is left marked as {other:?} (I31)"),
        )),
    }
}

/// A file on its own is a disk of so many sectors.
///
/// # Errors
/// It is not.
pub fn size(view: View<'_>, raw: bool, sectors: u64) -> Result<(), Failure> {
    let found = if raw {
        view.len_sectors()
    } else {
        let header = Header::read(&Bytes(view));
        header
            .map_err(|why| failure("image", why.to_string()))?
            .size_sectors
    };
    if found == sectors {
        return Ok(());
    }
    let message = format!("{found} sectors, must be {sectors} (raw: {raw})");
    Err(failure("size", message))
}

/// Compares what the stack shows with what it must.
///
/// # Errors
/// The first sector that differs.
pub fn content(views: &[View<'_>], raw_base: bool, expected: &[Value]) -> Result<(), Failure> {
    let bytes: Vec<Bytes<'_>> = views.iter().map(|&view| Bytes(view)).collect();
    let mut levels: Vec<Level<'_>> = Vec::new();
    for (level, file) in bytes.iter().enumerate() {
        levels.push(if level == 0 && raw_base {
            Level::Raw(file)
        } else {
            Level::Image(Image::open(file).map_err(|why| failure("image", why.to_string()))?)
        });
    }
    for (sector, &value) in (0..).zip(expected) {
        let found = match find_sector(&levels, sector) {
            Place::Hole => Value::ZERO,
            Place::At { level, sector } => views[level].read_value(sector),
        };
        if found != value {
            return Err(failure(
                "content",
                format!("sector {sector} reads as {found:?}, must be {value:?} (I23)"),
            ));
        }
    }
    Ok(())
}
