//! Moves clusters from the end of the file into holes, then makes the file shorter.
//!
//! ```text
//!   new: which cluster goes where ──step──▶ mark ▶ [up to n copies ─sync▶ their slots] ──▶ ... ──▶ last slots ─sync▶
//!        tail cut, holes that remain punched ─sync▶ mark cleared
//! ```
//! * Highest into lowest: a place that was left is never taken again, so that no slot write depends on another one.
//! * Clusters of the extension stay where they are; what they pin down remains as holes.
//! * The old places are given back after a sync of all slots.

use super::copy::Copier;
use super::edit::Edit;
use super::error::ControlError;
use super::space::Space;
use super::steps::{Progress, Steps, Work};
use crate::drive::file::DeltaFile;
use crate::units::{DstClu, Sectors};

/// A compaction on its way. Dropped before its end, it leaves a sound image, marked as in use.
#[derive(Debug)]
pub struct Compact<'a> {
    job: Job<'a>,
    steps: Steps,
}

#[derive(Debug)]
struct Job<'a> {
    edit: Edit<'a>,
    moves: Vec<Move>,
    /// How many of them were made.
    made: usize,
    copier: Copier,
}

/// One cluster's way.
#[derive(Clone, Copy, Debug)]
struct Move {
    slot: u32,
    to: DstClu,
    entry: u32,
}

impl<'a> Compact<'a> {
    /// Reads the image and decides what goes where.
    ///
    /// # Errors
    /// If the image is not sound, or may not be written. Nothing was written.
    pub fn new(file: &'a dyn DeltaFile, name: &'a str) -> Result<Compact<'a>, ControlError> {
        let edit = Edit::open(file, name)?;
        let layout = edit.layout;
        let mut hosts: Vec<(DstClu, u32)> = (0u32..)
            .zip(&edit.bat)
            .filter_map(|(slot, &entry)| Some((layout.host_of(entry)?, slot)))
            .collect();
        hosts.sort_unstable();
        let mut space = Space::new(layout, &edit.bat, &edit.reserved, layout.first_host());
        let mut moves = Vec::new();
        for &(host, slot) in hosts.iter().rev() {
            match space.take() {
                Some((to, entry)) if to < host => moves.push(Move { slot, to, entry }),
                _ => break,
            }
        }
        let steps = Steps::new(moves.len() as u64);
        let job = Job {
            edit,
            moves,
            made: 0,
            copier: Copier::default(),
        };
        Ok(Compact { job, steps })
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.steps.progress
    }

    /// Moves up to `most` clusters. When nothing is left, the file is cut, and the mark cleared.
    ///
    /// # Errors
    /// If the file failed. The compaction is over; a new one goes on.
    pub fn step(&mut self, most: u32) -> Result<Progress, ControlError> {
        self.steps.step(&mut self.job, most)
    }

    /// Ends the compaction early, cleanly.
    ///
    /// # Errors
    /// If the file failed.
    pub fn cancel(mut self) -> Result<(), ControlError> {
        self.steps.cancel(&mut self.job)
    }
}

impl Work for Job<'_> {
    fn name(&self) -> &str {
        self.edit.io.name
    }

    fn begin(&mut self) -> Result<(), ControlError> {
        self.edit.mark()
    }

    fn work(&mut self, most: u32) -> Result<(u64, bool), ControlError> {
        let from = self.made;
        let to = from.saturating_add(most as usize).min(self.moves.len());
        self.go(from, to)?;
        self.made = to;
        Ok(((to - from) as u64, to == self.moves.len()))
    }

    fn end(&mut self) -> Result<(), ControlError> {
        self.give_back()?;
        self.edit.close(true)
    }
}

impl Job<'_> {
    fn go(&mut self, from: usize, to: usize) -> Result<(), ControlError> {
        let batch = &self.moves[from..to];
        if batch.is_empty() {
            return Ok(());
        }
        let layout = self.edit.layout;
        let edit = &mut self.edit;
        for step in batch {
            let old = layout.entry_sector(edit.bat[step.slot as usize]);
            let new = layout.host_sector(step.to);
            let (io, cluster) = (edit.io, layout.cluster);
            self.copier.copy((io, old), (io, new), cluster, cluster)?;
        }
        edit.io.sync("the sync of the moved clusters")?;
        for step in batch {
            edit.bat[step.slot as usize] = step.entry;
        }
        let mut slots: Vec<u32> = batch.iter().map(|step| step.slot).collect();
        slots.sort_unstable();
        edit.write_slots(slots.into_iter())
    }

    /// The slots become durable, then the space that they gave up goes back.
    fn give_back(&mut self) -> Result<(), ControlError> {
        let edit = &mut self.edit;
        edit.io.sync("the sync of the slots of moved clusters")?;
        edit.cut_tail()?;
        for gap in edit.gaps() {
            let len = u64::from(gap.end.0 - gap.start.0) * edit.layout.cluster.0;
            edit.io
                .punch(edit.layout.host_sector(gap.start), Sectors(len))?;
        }
        Ok(())
    }
}
