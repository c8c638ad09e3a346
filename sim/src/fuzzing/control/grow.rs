//! Drills of [`grow`](ploop_core::control::files::grow).

use super::draw::{self, Wish};
use super::drill::{Drill, Stage};
use super::judge;
use crate::check::failure;
use crate::disk::{Geometry, SimFile, View};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::op::Value;
use ploop_core::control::files::{ControlError, grow};
use ploop_core::drive::DeltaFile;
use ploop_core::units::Sectors;

/// An image that becomes larger.
#[derive(Clone, Debug)]
pub struct Grow {
    /// What it reads as.
    pub old: Vec<Value>,
    /// The new size in sectors.
    pub size: u64,
}

impl Grow {
    /// Draws an image and the size that it is to have.
    pub fn draw(tape: &mut Tape) -> (Grow, Vec<SimFile>) {
        let cluster = [1, 2, 3, 4, 8][tape.index(Kind::Geometry, 5)];
        // Not far from where a sector of BAT ends.
        let entries = match tape.choose(Kind::Geometry, 4) {
            0 => 1 + tape.choose(Kind::Geometry, 20),
            1 => 112 - tape.choose(Kind::Geometry, 4),
            _ => 100 + tape.choose(Kind::Geometry, 20),
        };
        let size = size_of(u64::from(entries), cluster, tape);
        let more = match tape.choose(Kind::Arg, 4) {
            0 => u64::from(tape.choose(Kind::Arg, 3)),
            1 => u64::from(tape.choose(Kind::Arg, 30)),
            _ => 20 + u64::from(tape.choose(Kind::Arg, 400)),
        };
        let grown = size_of(u64::from(entries) + more, cluster, tape).max(size);
        let wish = Wish {
            cluster,
            size,
            mapped: 6,
            write: 1,
        };
        let drawn = draw::image(&wish, tape);
        let mut file = SimFile::new();
        file.reset_bytes(geometry(tape), &drawn.bytes);
        let old = drawn
            .values
            .iter()
            .map(|value| value.unwrap_or_default())
            .collect();
        (Grow { old, size: grown }, vec![file])
    }
}

fn size_of(entries: u64, cluster: u64, tape: &mut Tape) -> u64 {
    let less = match tape.choose(Kind::Geometry, 2) {
        1 => u64::from(tape.choose(Kind::Geometry, cluster as u32)),
        _ => 0,
    };
    entries * cluster - less
}

/// The disk under a drawn image: its table may tear between headers and slots, or only between sectors.
pub(super) fn geometry(tape: &mut Tape) -> Geometry {
    Geometry {
        meta_len: 512 * 8,
        granule: [512, 64][tape.index(Kind::Geometry, 2)],
        limit_sectors: 1 << 16,
    }
}

impl Drill for Grow {
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError> {
        grow(files[0], "image", Sectors(self.size)).map(drop)
    }

    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure> {
        let delta = judge::writable(views[0], "image")?;
        let size = delta.expanded().map_or(0, |image| image.layout.size.0);
        let old = self.old.len() as u64;
        if size != self.size && (stage != Stage::Midway || size != old) {
            return Err(failure(
                "size",
                format!(
                    "{size} sectors ({stage:?}): neither {old} nor {}",
                    self.size
                ),
            ));
        }
        let mut expected = self.old.clone();
        expected.resize(size as usize, Value::ZERO);
        judge::content(views, false, &expected)?;
        if stage == Stage::Done && size != old {
            judge::closed(views[0], "image")?;
        }
        Ok(())
    }
    fn marked(&self) -> Option<usize> {
        Some(0)
    }
}
