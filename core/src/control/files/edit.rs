//! An image that is being changed: its header and BAT in memory, and how they reach the file.
//!
//! ```text
//!   open: sound, writable ──mark──▶ marked, durably ──(changes: write_slots, write_header, each after its sync)──▶
//!        ──close──▶ everything durable, then the mark cleared
//! ```
//! * The table is written in whole sectors. The header's 64 bytes are one sector with the first slots: torn never.
//! * What is written is what is in memory; bytes behind the last slot are the file's own.

use super::error::ControlError;
use super::io::Io;
use super::space::Space;
use crate::delta::{ExtensionState, chain};
use crate::drive::file::DeltaFile;
use crate::format::extension::{self, Plan};
use crate::format::geometry::HEADER_BYTES;
use crate::format::{DirtyBitmap, Header, InUse, Layout};
use crate::load::{self, Expanded};
use crate::units::{Clu, DstClu, SECTOR_BYTES, Sector, Sectors};
use std::ops::Range;

/// Sectors of the table written at a time.
const PIECE: u64 = 128;

/// See the module.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    pub(super) io: Io<'a>,
    /// As on disk, or as it is going to be written next.
    pub(super) header: Header,
    pub(super) layout: Layout,
    /// Raw entries.
    pub(super) bat: Vec<u32>,
    /// Clusters of the extension, sorted.
    pub(super) reserved: Vec<DstClu>,
    /// An extension that leads astray, or is broken in an image that was not closed: where it was, and its clusters. The next
    /// write of the header forgets it.
    pub(super) given_up: Option<(Sector, Vec<DstClu>)>,
    /// What was found in the extension.
    pub(super) extension: ExtensionState,
    /// It is sound, vouched for, and everything in it is understood.
    pub(super) vouched: bool,
    /// Its dirty bitmaps, if so.
    pub(super) bitmaps: Vec<DirtyBitmap>,
}

impl<'a> Edit<'a> {
    /// Reads an image. Refuses one that is not sound, or may not be written.
    pub(super) fn open(file: &'a dyn DeltaFile, name: &'a str) -> Result<Edit<'a>, ControlError> {
        let delta = load::load(file, name)?;
        let Some(image) = delta.expanded() else {
            unreachable!("the loader of images makes no raw deltas");
        };
        chain::check_writable(image).map_err(|problem| problem.refuse(name))?;
        let mut edit = Edit::of(Io { file, name }, image);
        if image.extension_astray {
            let at = edit.header.ext_off;
            edit.given_up = Some((at, edit.forget_extension()));
        }
        Ok(edit)
    }

    /// An image that was read.
    pub(super) fn of(io: Io<'a>, image: &Expanded) -> Edit<'a> {
        Edit {
            io,
            header: image.header,
            layout: image.layout,
            bat: image.bat.clone(),
            reserved: image.reserved.clone(),
            given_up: None,
            extension: image.extension,
            vouched: image.extension == ExtensionState::Valid,
            bitmaps: match image.extension {
                ExtensionState::Valid => image.bitmaps.clone(),
                _ => Vec::new(),
            },
        }
    }

    /// Reads the entries as they stand on disk.
    pub(super) fn read_bat(&mut self) -> Result<(), ControlError> {
        let mut at = HEADER_BYTES;
        let mut bytes = [0; 4096];
        for chunk in self.bat.chunks_mut(1024) {
            let piece = &mut bytes[..chunk.len() * 4];
            self.io.read(at, piece, "reading the BAT")?;
            for (entry, word) in chunk.iter_mut().zip(piece.as_chunks::<4>().0) {
                *entry = u32::from_le_bytes(*word);
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Forgets the extension, with the next write of the header: its clusters are free. Returns them, also those of one that
    /// was given up.
    pub(super) fn forget_extension(&mut self) -> Vec<DstClu> {
        self.header.ext_off = Sector(0);
        self.vouched = false;
        let mut freed = std::mem::take(&mut self.reserved);
        if let Some((_, clusters)) = &mut self.given_up {
            freed.append(clusters);
        }
        freed
    }

    /// Writes an extension with these bitmaps behind everything else. [`Edit::close`] makes it durable, then the header points
    /// to it and vouches for it; nobody may write the header before that. The image has none, and is marked. False: they do not
    /// fit.
    pub(super) fn put_bitmaps(&mut self, bitmaps: &[DirtyBitmap]) -> Result<bool, ControlError> {
        let Some(plan) = Plan::new(bitmaps, self.layout.cluster_bytes()) else {
            return Ok(false);
        };
        let end = self.image_end();
        let last = self.layout.hosts_touching(Sector(0), Sectors(end.0)).end;
        let first = DstClu(self.layout.first_host().0.max(last));
        let first = extension::place_from(&self.layout, first).0;
        let Some(behind) = first.checked_add(plan.clusters()) else {
            return Ok(false);
        };
        let io = self.io;
        let start = self.layout.host_sector(DstClu(first));
        let at = plan.write(start, |at, piece| {
            io.write(at.bytes(), piece, "writing dirty bitmaps")
        })?;
        self.reserved = (first..behind).map(DstClu).collect();
        self.header.ext_off = at;
        self.vouched = true;
        Ok(true)
    }

    /// Gives clusters back that were the extension's and are nobody's now. The header that says so is durable.
    pub(super) fn free(&mut self, old: &[DstClu]) -> Result<(), ControlError> {
        self.cut_tail()?;
        let gaps = self.gaps();
        for host in old
            .iter()
            .filter(|host| gaps.iter().any(|gap| gap.contains(host)))
        {
            self.io
                .punch(self.layout.host_sector(*host), self.layout.cluster)?;
        }
        Ok(())
    }

    /// Guest sectors of a cluster.
    pub(super) fn guest_len(&self, clu: Clu) -> Sectors {
        self.layout.guest_len(clu)
    }

    /// The sector behind the last cluster that belongs to somebody; if there is none, [`Layout::least_end`].
    pub(super) fn image_end(&self) -> Sector {
        let layout = &self.layout;
        let data = self.bat.iter().filter(|&&entry| entry != 0);
        let data = data.map(|&entry| layout.entry_sector(entry));
        let own = self.reserved.iter().map(|&host| layout.host_sector(host));
        let last = data.chain(own).max();
        last.map_or(layout.least_end(), |last| last.after(layout.cluster))
    }

    /// Free host clusters before [`Edit::image_end`], as ascending ranges.
    pub(super) fn gaps(&self) -> Vec<Range<DstClu>> {
        let layout = self.layout;
        let end = layout.hosts_in(self.image_end().bytes());
        let mut space = Space::new(layout, &self.bat, &self.reserved, layout.first_host());
        let mut gaps: Vec<Range<DstClu>> = Vec::new();
        while let Some((host, _)) = space.take().filter(|(host, _)| host.0 < end) {
            let behind = DstClu(host.0 + 1);
            match gaps.last_mut() {
                Some(last) if last.end == host => last.end = behind,
                _ => gaps.push(host..behind),
            }
        }
        gaps
    }

    /// Cuts the file behind the last cluster that belongs to somebody. The slots that say so must be durable.
    pub(super) fn cut_tail(&mut self) -> Result<(), ControlError> {
        let end = self.image_end().bytes();
        if self.io.len()? > end {
            self.io.cut(end, "cutting the tail")?;
        }
        Ok(())
    }

    /// Sets the in-use mark, durably. Header fields changed before go with it.
    ///
    /// An image that is found in use may have been left by a sync that failed: what is read of it may not be durable.
    /// So all of its table is written anew, and its length is set anew, without a tail of nobody's. (The clusters were
    /// durable before a slot named them.)
    pub(super) fn mark(&mut self) -> Result<(), ControlError> {
        let found = self.header.is_dirty();
        self.mark_with_tail()?;
        if found {
            // Only now: until the table was durable, what it names in the tail may have been elsewhere. Never inside a
            // cluster, were it but for a moment: QEMU gives up one that the file cuts, even if only behind the disk's end.
            if self.io.len()? > self.image_end().bytes() {
                self.cut_tail()?;
            } else {
                self.io.assert_len()?;
            }
        }
        Ok(())
    }

    /// As [`Edit::mark`], for an image in whose free tail there is something: nothing is cut.
    pub(super) fn mark_with_tail(&mut self) -> Result<(), ControlError> {
        let found = self.header.is_dirty();
        self.header.in_use = InUse::InUse;
        let sectors = if found { self.table_sectors() } else { 1 };
        self.write_table(0, sectors, "setting the in-use mark")?;
        self.io.sync("the sync of the in-use mark")
    }

    /// Makes everything durable, then clears the mark. `keep`: nothing was done that the extension does not know of, so
    /// that it counts if it counted before.
    pub(super) fn close(&mut self, keep: bool) -> Result<(), ControlError> {
        self.io.sync("the sync before the mark is cleared")?;
        self.header.in_use = if keep && self.vouched && self.header.ext_off.0 != 0 {
            InUse::ClosedV21
        } else {
            InUse::Closed0
        };
        self.write_table(0, 1, "clearing the in-use mark")?;
        self.io.sync("the sync after the mark is cleared")
    }

    /// Writes the header.
    pub(super) fn write_header(&self) -> Result<(), ControlError> {
        self.write_table(0, 1, "writing the header")
    }

    /// Writes the sectors that hold these slots, in ascending order.
    pub(super) fn write_slots(&self, slots: impl Iterator<Item = u32>) -> Result<(), ControlError> {
        let (mut from, mut to) = (0, 0);
        for slot in slots {
            let sector = self.layout.slot_at(Clu(slot)) / SECTOR_BYTES;
            if sector > to || from == to {
                self.write_table(from, to, "writing the BAT")?;
                from = sector;
            }
            to = sector + 1;
        }
        self.write_table(from, to, "writing the BAT")
    }

    /// Zeros everything from the end of the BAT to this sector.
    pub(super) fn zero_behind_bat(&self, end: Sector) -> Result<(), ControlError> {
        const WHAT: &str = "zeroing the new part of the BAT";
        let whole = Sector(self.table_sectors());
        if self.layout.bat_end() % SECTOR_BYTES != 0 {
            let mut sector = [0; SECTOR_BYTES as usize];
            self.fill_table(whole.0 - 1, &mut sector);
            self.io.write(whole.bytes() - SECTOR_BYTES, &sector, WHAT)?;
        }
        self.io.zero(whole, end.since(whole), WHAT)
    }

    fn table_sectors(&self) -> u64 {
        self.layout.bat_end().div_ceil(SECTOR_BYTES)
    }

    fn write_table(&self, from: u64, to: u64, what: &'static str) -> Result<(), ControlError> {
        let mut at = from;
        while at < to {
            let count = (to - at).min(PIECE);
            let mut bytes = vec![0; (count * SECTOR_BYTES) as usize];
            self.io.read(at * SECTOR_BYTES, &mut bytes, what)?;
            self.fill_table(at, &mut bytes);
            self.io.write(at * SECTOR_BYTES, &bytes, what)?;
            at += count;
        }
        Ok(())
    }

    /// Puts header and slots into the bytes from this sector on; what is neither stays.
    fn fill_table(&self, sector: u64, bytes: &mut [u8]) {
        let start = sector * SECTOR_BYTES;
        let header = self.header.to_bytes();
        for (at, word) in (start..).step_by(4).zip(bytes.as_chunks_mut::<4>().0) {
            if let Some(slot) = at.checked_sub(HEADER_BYTES) {
                if let Some(entry) = self.bat.get((slot / 4) as usize) {
                    *word = entry.to_le_bytes();
                }
            } else {
                word.copy_from_slice(&header[at as usize..at as usize + 4]);
            }
        }
    }
}
