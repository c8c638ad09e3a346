//! Drills of [`Compact`] and [`update_index`].

use super::draw::{self, Wish};
use super::drill::{Drill, Stage};
use super::grow::geometry;
use super::judge;
use super::merge::draw_size;
use crate::check::failure;
use crate::disk::fault::FaultPlan;
use crate::disk::{BlockingFile, Power, SimFile, View};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::fsck::fsck;
use model::image::InUse;
use model::op::Value;
use ploop_core::control::files::{Compact as CoreCompact, ControlError, SlotMove, update_index};
use ploop_core::drive::DeltaFile;
use ploop_core::error::LoadError;
use ploop_core::load;
use ploop_core::units::{Clu, DstClu, Sector, Sectors};

/// An image whose clusters move into holes.
#[derive(Clone, Debug)]
pub struct Compact {
    /// What it reads as.
    pub old: Vec<Value>,
    /// Clusters a step.
    pub step: u32,
    /// Somebody vouched for the extension.
    pub vouched: bool,
}

/// Draws an image with holes.
pub(super) fn draw_image(tape: &mut Tape) -> (draw::Drawn, u64, SimFile) {
    let cluster = [1, 2, 3, 8][tape.index(Kind::Geometry, 4)];
    let entries = 1 + u64::from(tape.choose(Kind::Geometry, 130));
    let wish = Wish {
        cluster,
        size: draw_size(entries, cluster, tape),
        mapped: 8,
        write: 1,
    };
    let drawn = draw::image(&wish, tape);
    let mut file = SimFile::new();
    file.reset_bytes(geometry(tape), &drawn.bytes);
    (drawn, cluster, file)
}

pub(super) fn content_of(drawn: &draw::Drawn) -> Vec<Value> {
    drawn
        .values
        .iter()
        .map(|value| value.unwrap_or_default())
        .collect()
}

impl Compact {
    /// Draws an image with holes.
    pub fn draw(tape: &mut Tape) -> (Compact, Vec<SimFile>) {
        let (drawn, _, file) = draw_image(tape);
        let compact = Compact {
            old: content_of(&drawn),
            step: 1 + tape.choose(Kind::Arg, 4),
            vouched: drawn.bytes[44..48] == *b"v2.1",
        };
        (compact, vec![file])
    }
}

impl Drill for Compact {
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError> {
        let mut compact = CoreCompact::new(files[0], "image")?;
        while !compact.step(self.step)?.finished {}
        Ok(())
    }

    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure> {
        let delta = judge::writable(views[0], "image")?;
        judge::content(views, false, &self.old)?;
        if stage == Stage::Midway {
            return Ok(());
        }
        if stage == Stage::Done {
            let pinned = delta
                .expanded()
                .is_some_and(|image| !image.reserved.is_empty());
            let report = fsck(&judge::Bytes(views[0]));
            if !pinned && report.leaked() > 0 {
                let message = format!("compact, but {:?}", report.leaks);
                return Err(failure("leaks", message));
            }
            judge::closed(views[0], "image")?;
            if !self.vouched && judge::mark(views[0])? == InUse::Closed21 {
                let message = "nobody vouched for the extension, and now it counts (I32)";
                return Err(failure("extension", message.to_owned()));
            }
        }
        Ok(())
    }
    fn marked(&self) -> Option<usize> {
        Some(0)
    }
}

/// An image of which somebody has copied clusters.
#[derive(Clone, Debug)]
pub struct Index {
    old: Vec<Value>,
    moves: Vec<SlotMove>,
    /// Byte places of the copies, and cluster bytes.
    copies: Vec<(u64, u64)>,
    bytes: usize,
    /// The first host cluster that may hold data.
    first: DstClu,
}

impl Index {
    /// Draws an image, and clusters that have copies behind the end of the file.
    pub fn draw(tape: &mut Tape) -> (Index, Vec<SimFile>) {
        let (drawn, _, mut file) = draw_image(tape);
        let moved = |_| tape.choose(Kind::Arg, 4) != 3;
        let index = Index::of(&file, content_of(&drawn), moved).expect("drawn images are sound");
        if tape.choose(Kind::Arg, 2) == 1 {
            let mut none = FaultPlan::none();
            let power = Power::new(tape, &mut none, None);
            let copied = index.copy(&BlockingFile::new(&mut file, &power));
            copied.expect("there is room");
        }
        (index, vec![file])
    }

    /// The clusters of an image that reads as `old`, each copied behind the end if it is to be `moved`.
    ///
    /// # Errors
    /// It is not loaded.
    pub fn of(
        file: &SimFile,
        old: Vec<Value>,
        mut moved: impl FnMut(u32) -> bool,
    ) -> Result<Index, LoadError> {
        let loaded = load::load(file, "image")?;
        let image = loaded.expanded().expect("an image");
        let layout = image.layout;
        let mut next = layout.hosts_touching(Sector(0), Sectors(file.len_sectors()));
        let (mut moves, mut copies) = (Vec::new(), Vec::new());
        for (slot, &entry) in (0u32..).zip(&image.bat) {
            let Some(from) = layout.host_of(entry) else {
                continue;
            };
            if !moved(slot) {
                continue;
            }
            let to = DstClu(next.end);
            next.end += 1;
            moves.push(SlotMove {
                clu: Clu(slot),
                from,
                to,
            });
            copies.push((
                layout.host_sector(from).bytes(),
                layout.host_sector(to).bytes(),
            ));
        }
        Ok(Index {
            old,
            moves,
            copies,
            bytes: layout.cluster_bytes() as usize,
            first: layout.first_host(),
        })
    }

    /// Moves that are never allowed, whatever was done before.
    fn wrong(&self) -> Vec<Vec<SlotMove>> {
        let Some(&step) = self.moves.first() else {
            return Vec::new();
        };
        let nowhere = DstClu(u32::MAX - 1);
        let of_no_slot = SlotMove {
            clu: Clu(u32::MAX),
            ..step
        };
        let behind_the_end = SlotMove {
            to: nowhere,
            ..step
        };
        let from_elsewhere = SlotMove {
            from: nowhere,
            ..behind_the_end
        };
        let mut wrong = vec![
            vec![of_no_slot],
            vec![step, step],
            vec![behind_the_end],
            vec![from_elsewhere],
        ];
        // A packed image has none: its first host cluster is data.
        if let Some(header) = self.first.0.checked_sub(1) {
            let to = DstClu(header);
            wrong.push(vec![SlotMove { to, ..step }]);
        }
        if let Some(&other) = self.moves.get(1) {
            let onto_each_other = SlotMove {
                to: step.to,
                ..other
            };
            wrong.push(vec![step, onto_each_other]);
        }
        wrong
    }

    /// Makes the copies that are not there, as somebody else would. Whether they are durable he does not care.
    fn copy(&self, file: &dyn DeltaFile) -> std::io::Result<()> {
        for &(from, to) in &self.copies {
            let mut pair = [vec![0; self.bytes], vec![0; self.bytes]];
            for (cluster, at) in pair.iter_mut().zip([from, to]) {
                ploop_core::drive::file::read_padded(file, at, cluster)?;
            }
            let [cluster, copy] = pair;
            let there = file.len()? >= to + self.bytes as u64;
            let mut done = if there && cluster == copy {
                copy.len()
            } else {
                0
            };
            while done < cluster.len() {
                match file.write_at(to + done as u64, &cluster[done..])? {
                    0 => return Err(std::io::ErrorKind::WriteZero.into()),
                    n => done += n,
                }
            }
        }
        Ok(())
    }
}

impl Drill for Index {
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError> {
        self.copy(files[0]).map_err(|source| ControlError::Io {
            file: "image".to_owned(),
            what: "making the copies",
            source,
        })?;
        for wrong in self.wrong() {
            match update_index(files[0], "image", &wrong) {
                Ok(changed) => panic!("[refused] {wrong:?}: {changed} slots were changed"),
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
        }
        update_index(files[0], "image", &self.moves).map(drop)
    }

    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure> {
        let delta = judge::writable(views[0], "image")?;
        judge::content(views, false, &self.old)?;
        if stage == Stage::Midway {
            return Ok(());
        }
        let image = delta.expanded();
        for step in &self.moves {
            let found =
                image.and_then(|image| image.layout.host_of(image.bat[step.clu.0 as usize]));
            if found != Some(step.to) {
                return Err(failure(
                    "moved",
                    format!("{:?} is at {found:?}, must be at {:?}", step.clu, step.to),
                ));
            }
        }
        if stage == Stage::Done && !self.moves.is_empty() {
            judge::closed(views[0], "image")?;
        }
        Ok(())
    }
}
