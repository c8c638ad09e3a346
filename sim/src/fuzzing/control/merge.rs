//! Drills of [`Merge`].

use super::draw::{self, Wish};
use super::drill::{Drill, Stage, bytes_of};
use super::grow::geometry;
use super::judge;
use crate::check::failure;
use crate::disk::sector::fill_pattern;
use crate::disk::{Geometry, SimFile, View};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::op::Value;
use ploop_core::control::files::{ControlError, Merge as CoreMerge, Source};
use ploop_core::drive::DeltaFile;

/// Two deltas that become one.
#[derive(Clone, Debug)]
pub struct Merge {
    /// What the two show.
    pub old: Vec<Value>,
    /// Into the upper.
    pub forward: bool,
    /// The lower is raw.
    pub raw: bool,
    /// The lower has the smaller disk.
    pub grows: bool,
    /// Clusters a step.
    pub step: u32,
    /// Bytes of the lower file.
    pub lower: Vec<u8>,
}

impl Merge {
    /// Draws a pair into the upper.
    pub fn draw_forward(tape: &mut Tape) -> (Merge, Vec<SimFile>) {
        Merge::draw(tape, true)
    }

    /// Draws a pair into the lower.
    pub fn draw_backward(tape: &mut Tape) -> (Merge, Vec<SimFile>) {
        Merge::draw(tape, false)
    }

    /// Draws a pair.
    pub fn draw(tape: &mut Tape, forward: bool) -> (Merge, Vec<SimFile>) {
        let cluster = [1, 2, 3, 8][tape.index(Kind::Geometry, 4)];
        let entries = match tape.choose(Kind::Geometry, 3) {
            0 => 106 + u64::from(tape.choose(Kind::Geometry, 12)),
            _ => 1 + u64::from(tape.choose(Kind::Geometry, 12)),
        };
        let size = draw_size(entries, cluster, tape);
        // The lower is as large, or smaller.
        let less = match tape.choose(Kind::Geometry, 2) {
            1 => u64::from(tape.choose(Kind::Geometry, size.min(200) as u32)),
            _ => 0,
        };
        let raw = tape.choose(Kind::Geometry, 4) == 3;
        let lower_size = (size - less).max(1);
        let wish = |size, write| Wish {
            cluster,
            size,
            mapped: 6,
            write,
        };
        let (lower, below) = if raw {
            raw_file(lower_size.min(12 * cluster), tape)
        } else {
            let drawn = draw::image(&wish(lower_size, 1), tape);
            let mut file = SimFile::new();
            file.reset_bytes(geometry(tape), &drawn.bytes);
            (file, drawn.values)
        };
        let upper = draw::image(&wish(size, 2), tape);
        let mut file = SimFile::new();
        file.reset_bytes(geometry(tape), &upper.bytes);
        let old = (0..size as usize)
            .map(|sector| {
                let lower = below.get(sector).copied().flatten();
                upper.values[sector].or(lower).unwrap_or_default()
            })
            .collect();
        let merge = Merge {
            old,
            forward,
            raw,
            grows: less > 0,
            step: 1 + tape.choose(Kind::Arg, 5),
            lower: bytes_of(lower.view()),
        };
        (merge, vec![lower, file])
    }
}

pub(super) fn draw_size(entries: u64, cluster: u64, tape: &mut Tape) -> u64 {
    match tape.choose(Kind::Geometry, 2) {
        1 => entries * cluster - u64::from(tape.choose(Kind::Geometry, cluster as u32)),
        _ => entries * cluster,
    }
}

/// A raw file of so many sectors, some of them zeros.
pub(super) fn raw_file(size: u64, tape: &mut Tape) -> (SimFile, Vec<Option<Value>>) {
    let mut bytes = vec![0; (size * 512) as usize];
    let mut values = vec![Some(Value::ZERO); size as usize];
    for (sector, value) in values.iter_mut().enumerate() {
        if tape.choose(Kind::Arg, 4) != 3 {
            let new = Value::of(1, sector as u64);
            *value = Some(new);
            fill_pattern(new, 0, &mut bytes[sector * 512..][..512]);
        }
    }
    let mut file = SimFile::new();
    let geometry = Geometry {
        meta_len: 0,
        granule: 512,
        limit_sectors: 1 << 16,
    };
    file.reset_bytes(geometry, &bytes);
    (file, values)
}

impl Drill for Merge {
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError> {
        let lower = Source {
            file: files[0],
            name: "lower",
            raw: self.raw,
        };
        let upper = Source {
            file: files[1],
            name: "upper",
            raw: false,
        };
        let mut merge = if self.forward {
            CoreMerge::forward(lower, upper)?
        } else {
            CoreMerge::backward(lower, upper)?
        };
        while !merge.step(self.step)?.finished {}
        Ok(())
    }

    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure> {
        if !self.raw {
            judge::writable(views[0], "lower")?;
        }
        let upper = judge::writable(views[1], "upper")?;
        let size = upper.expanded().map_or(0, |image| image.layout.size.0);
        if size != self.old.len() as u64 {
            return Err(failure("size", format!("the upper has {size} sectors")));
        }
        judge::content(views, self.raw, &self.old)?;
        // Others may stand on it.
        if self.forward && bytes_of(views[0]) != self.lower {
            let message = "a forward merge has written to the lower delta (I21)";
            return Err(failure("untouched", message.to_owned()));
        }
        if stage == Stage::Midway {
            return Ok(());
        }
        // The one that took the other in shows all of it.
        let (view, name, raw) = if self.forward {
            (views[1], "upper", false)
        } else {
            (views[0], "lower", self.raw)
        };
        judge::content(&[view], raw, &self.old)?;
        judge::size(view, raw, size)?;
        if stage == Stage::Done && !raw {
            judge::closed(view, name)?;
        }
        Ok(())
    }
    fn marked(&self) -> Option<usize> {
        match (self.forward, self.raw || self.grows) {
            (true, _) => Some(1),
            (false, true) => None,
            (false, false) => Some(0),
        }
    }
}
