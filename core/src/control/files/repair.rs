//! Mends an image: `check --repair`.
//!
//! ```text
//!   looked at ─fine: nothing is written─▶ over
//!      └─▶ mark ▶ header: entries, start of data, size ▶ entries that lead nowhere ▶ entries that share a cluster ▶ surplus entries
//!          ▶ space of nobody ▶ looked at again ─sound─▶ mark cleared
//!                                                └─▶ mark stays, what is left is told
//! ```
//! * Each step looks at the file anew and syncs what it did before the next one begins, so that a cut leaves an image of
//!   which a part is mended; made again, repair goes on.
//! * *What can be read is kept.* An entry is given up (0) only if it points outside the data area or behind the end of
//!   the file. A cluster that the end of the file cuts is made whole with zeros, not given up as QEMU does.
//!   Of entries that share sectors the first keeps the place, and the others get copies, as in QEMU; so do version 1
//!   clusters beside the grid. Clusters before the start of data move that start.
//! * *First where the BAT ends*: everything else rests on it. A wrong m_Size would make slots of data, or data of slots. What
//!   it must have been the rest of the header tells (`load::entries`); if that is wrong too, the image is refused.
//! * A disk is not made smaller than its mapped clusters. A BAT that is shorter than the disk becomes longer where there
//!   is room, for its slots may still be there; else the disk becomes as large as the BAT.
//! * A sound extension stays, with all that it refers to, whether somebody vouches for it or not. The pointer to a damaged
//!   one goes, in the write that sets the mark or in one that is durable before its clusters are given back.
//! * Not mended, but refused: an interrupted conversion, an unknown extension that says it must be understood, a header
//!   that makes no sense.

use super::copy::Copier;
use super::edit::Edit;
use super::error::{ControlError, Refusal};
use super::fix::{Fix, Repaired};
use super::io::Io;
use super::space::Space;
use crate::drive::file::DeltaFile;
use crate::error::{Field, Kind, Problem, Rule};
use crate::format::geometry::ENTRY_RESERVED;
use crate::format::{Layout, Version};
use crate::load::{Inspection, inspect};
use crate::units::{Clu, SECTOR_BYTES, Sector, Sectors};

/// Mends an image. A sound and closed one, without leaks, is not touched.
///
/// # Errors
/// [`ControlError::Load`] for what is no image, or so damaged that nothing can be trusted, or may not be changed:
/// nothing was written. [`ControlError::Io`] on the way: what was mended stays mended.
pub fn repair(file: &dyn DeltaFile, name: &str) -> Result<Repaired, ControlError> {
    let mut work = Work::new(Io { file, name })?;
    work.mend_header()?;
    work.clear_entries()?;
    work.copy_shared()?;
    work.drop_surplus()?;
    work.drop_extension()?;
    work.free_leaks()?;
    work.finish()
}

struct Work<'a> {
    io: Io<'a>,
    found: Inspection,
    /// The image as it stands on disk, damaged entries included.
    edit: Edit<'a>,
    marked: bool,
    /// What could be read reads the same, and nothing more can be read.
    same: bool,
    done: Repaired,
}

impl<'a> Work<'a> {
    fn new(io: Io<'a>) -> Result<Work<'a>, ControlError> {
        let (found, edit) = look(io)?;
        if let Some(problem) = found
            .read_only
            .filter(|problem| matches!(problem.rule, Rule::NotConverting | Rule::ExtensionKnown))
        {
            return Err(problem.refuse(io.name).into());
        }
        let corrupt = |problem: &&Problem| problem.rule.kind() == Kind::Corrupt;
        if let Some(problem) = found.problems.iter().find(corrupt).filter(|_| found.unsure) {
            return Err(problem.refuse(io.name).into());
        }
        Ok(Work {
            io,
            found,
            edit,
            marked: false,
            same: true,
            done: Repaired::default(),
        })
    }

    fn look(&mut self) -> Result<(), ControlError> {
        let vouched = self.edit.vouched;
        (self.found, self.edit) = look(self.io)?;
        self.edit.vouched = vouched;
        Ok(())
    }

    fn note(&mut self, fix: Fix) {
        self.same &= fix.keeps_content();
        self.done.note(fix);
    }

    /// Before the first change.
    fn begin(&mut self) -> Result<(), ControlError> {
        if self.marked {
            return Ok(());
        }
        let found = self.edit.header.is_dirty();
        self.marked = true;
        // Nothing is cut before it is known what belongs to whom.
        self.edit.mark_with_tail()?;
        if found {
            self.note(Fix::Closed);
            // After the mark, which need not have been durable either. The next sync covers it.
            self.io.assert_len()?;
        }
        Ok(())
    }

    /// Sets header fields; one write, and if it is the first one, the mark goes with them.
    fn set_header(&mut self, fixes: &[Fix]) -> Result<(), ControlError> {
        if fixes.is_empty() {
            return Ok(());
        }
        for fix in fixes {
            let Fix::Header { field, to, .. } = *fix else {
                continue;
            };
            let header = &mut self.edit.header;
            match field {
                Field::Entries => header.entries = to as u32,
                Field::VirtualSize => header.size = Sectors(to),
                Field::DataOffset => header.data_off = to as u32,
                _ => header.ext_off = Sector(to),
            }
        }
        if self.marked {
            self.edit.write_header()?;
            self.io.sync("the sync of the header")?;
        } else {
            self.begin()?;
        }
        fixes.iter().for_each(|fix| self.note(*fix));
        self.look()
    }

    /// The length of the BAT, where data starts, and a size that the BAT does not cover.
    fn mend_header(&mut self) -> Result<(), ControlError> {
        let (header, layout) = (self.edit.header, self.edit.layout);
        let start = self.start_of_data();
        let mut fixes = Vec::new();
        if header.entries != layout.entries {
            fixes.push(Fix::Header {
                field: Field::Entries,
                from: u64::from(header.entries),
                to: u64::from(layout.entries),
            });
        }
        let implied = header.version == Version::V1 && header.data_off == 0;
        if !(implied && start == layout.data_start) && u64::from(header.data_off) != start.0 {
            fixes.push(Fix::Header {
                field: Field::DataOffset,
                from: u64::from(header.data_off),
                to: start.0,
            });
        }
        if header.size > layout.size {
            fixes.push(Fix::Header {
                field: Field::VirtualSize,
                from: header.size.0,
                to: layout.size.0,
            });
        }
        // First of all: in a longer file another m_Size might be believed.
        self.set_header(&fixes)?;
        if self.found.delta.file_len < start.bytes() {
            self.extend(start)?;
        }
        Ok(())
    }

    /// Where data starts: earlier than the header says, if there are clusters before that.
    fn start_of_data(&self) -> Sector {
        let layout = self.edit.layout;
        let lowest = Layout::lowest_data_start(layout.version, layout.cluster, layout.entries);
        let file_end = self.found.delta.file_len / SECTOR_BYTES;
        let before = lowest..layout.data_start;
        let mut mapped = self.edit.bat.iter().filter(|&&entry| entry != 0);
        let found = mapped.any(|&entry| {
            let at = layout.entry_sector(entry);
            before.contains(&at) && at.0 < file_end
        });
        if found { lowest } else { layout.data_start }
    }

    fn extend(&mut self, end: Sector) -> Result<(), ControlError> {
        self.begin()?;
        self.note(Fix::Extended {
            from: self.found.delta.file_len,
            to: end.bytes(),
        });
        self.io.extend(end.0, "extending the file")?;
        self.io.sync("the sync of the file's length")?;
        self.look()
    }

    /// Slots whose entry the inspection left out.
    fn damaged(&self) -> Vec<Clu> {
        let kept = self.found.delta.expanded();
        let kept = kept.map_or(&[][..], |image| &image.bat);
        let pairs = (0u32..).zip(self.edit.bat.iter().zip(kept));
        pairs
            .filter(|(_, (disk, kept))| disk != kept)
            .map(|(clu, _)| Clu(clu))
            .collect()
    }

    /// Entries that lead nowhere become 0, durably; then the file is made long enough for those that it cuts.
    fn clear_entries(&mut self) -> Result<(), ControlError> {
        let layout = self.edit.layout;
        let file_end = self.found.delta.file_len / SECTOR_BYTES;
        let (mut clear, mut end) = (Vec::new(), Sector(0));
        for clu in self.damaged() {
            let entry = self.edit.bat[clu.0 as usize];
            let at = layout.entry_sector(entry);
            if entry == ENTRY_RESERVED || at < layout.data_start || at.0 >= file_end {
                clear.push(clu);
            } else {
                end = end.max(at.after(layout.cluster));
            }
        }
        if !clear.is_empty() {
            self.begin()?;
            for clu in &clear {
                let slot = &mut self.edit.bat[clu.0 as usize];
                let entry = std::mem::take(slot);
                self.note(Fix::Cleared { clu: *clu, entry });
            }
            self.edit.write_slots(clear.iter().map(|clu| clu.0))?;
            self.io.sync("the sync of the cleared slots")?;
            self.look()?;
        }
        if end.0 > file_end {
            self.extend(end)?;
        }
        Ok(())
    }

    /// Entries whose cluster another one has get a copy, and so do those that lie beside the grid.
    fn copy_shared(&mut self) -> Result<(), ControlError> {
        let layout = self.edit.layout;
        let mut shared = self.damaged();
        let beside = (0u32..).zip(&self.edit.bat);
        let beside = beside.filter(|&(_, &entry)| entry != 0 && layout.host_of(entry).is_none());
        shared.extend(beside.map(|(clu, _)| Clu(clu)));
        shared.sort_unstable();
        shared.dedup();
        if shared.is_empty() {
            return Ok(());
        }
        let mut space = Space::new(
            layout,
            &self.edit.bat,
            &self.edit.reserved,
            layout.first_host(),
        );
        let mut places = Vec::new();
        for clu in shared {
            let Some((to, entry)) = space.take() else {
                let at = layout.entry_sector(u32::MAX);
                return Err(Refusal::NoHost { at }.of(self.io.name));
            };
            places.push((clu, to, entry));
        }
        self.begin()?;
        let mut copier = Copier::default();
        for &(clu, to, _) in &places {
            let from = layout.entry_sector(self.edit.bat[clu.0 as usize]);
            let to = layout.host_sector(to);
            self.io
                .extend(to.after(layout.cluster).0, "extending the file")?;
            let (io, cluster) = (self.io, layout.cluster);
            copier.copy((io, from), (io, to), cluster, cluster)?;
        }
        self.io.sync("the sync of the copies")?;
        for &(clu, _, to) in &places {
            let slot = &mut self.edit.bat[clu.0 as usize];
            let from = std::mem::replace(slot, to);
            self.note(Fix::Copied { clu, from, to });
        }
        self.edit
            .write_slots(places.iter().map(|(clu, _, _)| clu.0))?;
        self.io.sync("the sync of the slots of copies")?;
        self.look()
    }

    /// More entries than the disk has clusters: no mapped one is lost, and the rest goes.
    fn drop_surplus(&mut self) -> Result<(), ControlError> {
        let layout = self.edit.layout;
        let needed = layout.clusters_of_size();
        let mapped = self.edit.bat.iter().rposition(|&entry| entry != 0);
        let mapped = mapped.map_or(0, |last| last as u64 + 1);
        let entries = needed.max(mapped);
        let size = entries * layout.cluster.0;
        if u64::from(layout.entries) <= entries && needed == entries
            || layout.version == Version::V1 && size > u64::from(u32::MAX)
        {
            return Ok(());
        }
        let mut fixes = Vec::new();
        if entries > needed {
            // The disk's last cluster may be cut where the disk ends; it will not be the last one any more.
            let end = self.edit.image_end();
            if self.found.delta.file_len < end.bytes() {
                self.extend(end)?;
            }
            fixes.push(Fix::Header {
                field: Field::VirtualSize,
                from: layout.size.0,
                to: size,
            });
        }
        if entries < u64::from(layout.entries) {
            fixes.push(Fix::Header {
                field: Field::Entries,
                from: u64::from(layout.entries),
                to: entries,
            });
        }
        self.set_header(&fixes)
    }

    /// The pointer to an extension that is damaged. Its clusters are free then.
    fn drop_extension(&mut self) -> Result<(), ControlError> {
        let at = self.edit.header.ext_off;
        if at.0 == 0 || !self.found.extension_is_damaged() {
            return Ok(());
        }
        self.set_header(&[Fix::Header {
            field: Field::ExtensionOffset,
            from: at.0,
            to: 0,
        }])
    }

    /// Clusters of nobody that take space or are not zeros, and the tail.
    fn free_leaks(&mut self) -> Result<(), ControlError> {
        if self.found.is_corrupt() {
            return Ok(());
        }
        let (layout, end) = (self.edit.layout, self.found.image_end);
        let mut copier = Copier::default();
        for range in self.found.leaked.clone() {
            let at = layout.host_sector(range.start);
            if at >= end {
                break;
            }
            let clusters = range.end.0 - range.start.0;
            let len = Sectors(u64::from(clusters) * layout.cluster.0);
            let len = Sectors(len.0.min(end.since(at).0));
            if !self.io.takes_space(at, len)? && copier.is_zero(self.io, at, len)? {
                continue;
            }
            self.begin()?;
            self.io.punch_or_zero(at, len)?;
            self.note(Fix::Freed { at, clusters });
        }
        let tail = self.found.delta.file_len.saturating_sub(end.bytes());
        if tail > 0 {
            self.begin()?;
            self.io.cut(end.bytes(), "cutting the tail")?;
            self.note(Fix::Cut { bytes: tail });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Repaired, ControlError> {
        if self.marked || self.edit.header.is_dirty() {
            self.begin()?;
            self.look()?;
        }
        self.done.sound = !self.found.is_corrupt();
        let left = self.found.problems.iter().chain(&self.found.read_only);
        let left = left.filter(|problem| problem.rule != Rule::ExtensionVouched);
        self.done.left = left.copied().collect();
        if self.marked && self.done.sound {
            self.edit.close(self.same)?;
        } else if self.marked {
            self.io.sync("the sync of what was mended")?;
        }
        Ok(self.done)
    }
}

/// What the file is now: damage left out, and the entries as they stand on disk.
fn look(io: Io<'_>) -> Result<(Inspection, Edit<'_>), ControlError> {
    let found = inspect(io.file, io.name)?;
    let Some(image) = found.delta.expanded() else {
        unreachable!("the inspection of images makes no raw deltas");
    };
    let mut edit = Edit::of(io, image);
    edit.read_bat()?;
    Ok((found, edit))
}
