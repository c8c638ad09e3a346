//! Images on which a conversion between the versions has not ended (m_Flags bit 1), closed or not: they can be read, and
//! nothing is ever written to them. Our own in-use mark would make them what every checker must refuse.
//!
//! Checkers: `open` (refused for reading, or not refused for writing), `refused`.

use super::compact::draw_image;
use super::draw::{self, Wish};
use super::grow::geometry;
use super::{Stats, judge, no_calls};
use crate::check::failure;
use crate::disk::SimFile;
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use ploop_core::Options;
use ploop_core::control::files::{Compact, Merge, Source, grow, repair, settle, update_index};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::load;
use ploop_core::units::Sectors;

/// Byte of m_Flags.
const FLAGS_AT: usize = 52;

/// One such image.
///
/// # Errors
/// What a checker found.
pub fn run(tape: &mut Tape) -> Result<Stats, Failure> {
    let (mut drawn, cluster, _) = draw_image(tape);
    drawn.bytes[FLAGS_AT] = 2 | tape.choose(Kind::Geometry, 2) as u8;
    let size = drawn.values.len() as u64;
    let wish = Wish {
        cluster,
        size,
        mapped: 4,
        write: 2,
    };
    let other = draw::image(&wish, tape);
    let mut files = [drawn.bytes, other.bytes].map(|bytes| {
        let mut file = SimFile::new();
        file.reset_bytes(geometry(tape), &bytes);
        file
    });
    let loaded = judge::sound(files[0].view(), "converting")?;
    let settled = loaded.expanded().is_some_and(|image| image.settled);
    for write in [false, true] {
        let loaded = loaded.clone();
        let boxed: Box<dyn DeltaFile> = Box::new(files[0].clone());
        let options = Options {
            write,
            ..Options::default()
        };
        let opened = Disk::open(vec![loaded], vec![boxed], options);
        if opened.is_ok() == write {
            let message = format!("to be written: {write}, opened: {}", opened.is_ok());
            return Err(failure("open", message));
        }
    }
    let size = Sectors(size);
    let mut refused = |what, run: &dyn Fn(&[&dyn DeltaFile]) -> Result<(), _>| {
        no_calls(&mut files, tape, what, run)
    };
    refused("growing", &|files| {
        grow(files[0], "image", Sectors(size.0 + 1)).map(drop)
    })?;
    refused("compacting", &|files| {
        Compact::new(files[0], "image")?.step(9).map(drop)
    })?;
    refused("repairing", &|files| repair(files[0], "image").map(drop))?;
    if !settled {
        refused("settling", &|files| {
            settle(files[0], &mut load::load(files[0], "image")?).map(drop)
        })?;
    }
    refused("moving slots", &|files| {
        update_index(files[0], "image", &[]).map(drop)
    })?;
    for (lower, upper) in [(0, 1), (1, 0)] {
        refused("merging forward", &|files| {
            Merge::forward(source(files[lower]), source(files[upper]))?
                .step(9)
                .map(drop)
        })?;
        refused("merging backward", &|files| {
            Merge::backward(source(files[lower]), source(files[upper]))?
                .step(9)
                .map(drop)
        })?;
    }
    Ok(Stats {
        runs: 1,
        ..Stats::default()
    })
}

fn source(file: &dyn DeltaFile) -> Source<'_> {
    Source {
        file,
        name: "image",
        raw: false,
    }
}
