//! The log of `dm-log-writes`: a super block, then entries, each followed by its data.
//!
//! All numbers little-endian; units are sectors of the size that the super block names (512 here):
//! `super: magic u64, version u64, entries u64, sector size u32`; `entry: sector, sectors, flags, length: u64`. The text of
//! a mark stands behind its entry, in the entry's own sector.
//!
//! **The log's order is not quite the disk's.** A FUA write is logged at once, an ordinary one that had completed before it only
//! with the next flush: the log then has the older one behind the newer one. No disk brings the older one back. So where
//! a FUA write has been, an ordinary entry does not overwrite a client's newer stamp of the same guest sector: the newer one is
//! the later one, as who writes with FUA writes there alone, one after the other. Two flushes
//! at once would be logged as they end, with what each covers; the guest's disk has one queue so that they end in order.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use model::op::Value;

use super::super::judge::values;
use super::super::trouble::{During, Trouble, demand};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR: u64 = 512;
const ENTRY: usize = 32;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// What an entry says.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Bytes were written; the place is one of the log.
    Write {
        /// Where they are in the log, in bytes.
        at: u64,
    },
    /// The range means nothing any more.
    Discard,
    /// A number of ours.
    Mark(u32),
    /// Nothing else: a flush.
    Nothing,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// First byte on the disk.
    pub(super) start: u64,
    /// Bytes.
    pub(super) len: u64,
    /// All that was logged before is durable, or this is.
    pub(super) durable: bool,
    /// See there.
    pub(super) what: What,
}

/// See the module.
pub(super) struct Log {
    file: File,
    /// In their order.
    pub(super) entries: Vec<Entry>,
    /// Sectors that some FUA write wrote.
    fua: BTreeSet<u64>,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let field = bytes
        .get(at..at + 8)
        .and_then(|field| field.try_into().ok());
    field.map_or(0, u64::from_le_bytes)
}

impl Log {
    /// Reads the log on a device. Of each `forget` writes of clients' data behind our first mark one becomes nothing.
    pub(super) fn read(device: &Path, forget: Option<usize>) -> Result<Log, Trouble> {
        let file = File::open(device).during(device.display())?;
        let mut sector = [0; SECTOR as usize];
        file.read_exact_at(&mut sector, 0)?;
        let (magic, entries, size) = (
            number(&sector, 0),
            number(&sector, 16),
            number(&sector, 24) & 0xffff_ffff,
        );
        demand(magic == MAGIC && size == SECTOR, || {
            format!("no log: {magic:x}, sectors of {size}")
        })?;
        let mut log = Log {
            file,
            entries: Vec::new(),
            fua: BTreeSet::new(),
        };
        let mut at = SECTOR;
        for index in 0..entries {
            log.file
                .read_exact_at(&mut sector, at)
                .during(format!("entry {index}"))?;
            at += SECTOR;
            let field = |index: usize| number(&sector, 8 * index);
            let (start, len, flags) = (field(0) * SECTOR, field(1) * SECTOR, field(2));
            let what = if flags & MARK != 0 {
                // Others are the target's own.
                let text = &sector[ENTRY..(ENTRY + field(3) as usize).min(sector.len())];
                let text = String::from_utf8_lossy(text);
                match text.trim_end_matches('\0').parse() {
                    Ok(mark) => What::Mark(mark),
                    Err(_) => What::Nothing,
                }
            } else if flags & DISCARD != 0 {
                What::Discard
            } else if len > 0 {
                if flags & FUA != 0 {
                    log.fua
                        .extend((start..start + len).step_by(SECTOR as usize));
                }
                at += len;
                What::Write { at: at - len }
            } else {
                What::Nothing
            };
            log.entries.push(Entry {
                start,
                len,
                durable: flags & (FLUSH | FUA) != 0,
                what,
            });
        }
        if let Some(forget) = forget {
            let first = log.durable().next().unwrap_or(0);
            let mut writes = Vec::new();
            for (index, entry) in log.entries.iter().enumerate().skip(first) {
                if let What::Write { at } = entry.what {
                    log.file.read_exact_at(&mut sector, at)?;
                    writes.extend(
                        values(&sector)
                            .first()
                            .filter(|v| is_stamp(v))
                            .map(|_| index),
                    );
                }
            }
            for index in writes.into_iter().step_by(forget) {
                log.entries[index].what = What::Nothing;
            }
        }
        Ok(log)
    }

    /// Indices of the flushes and FUA writes behind our first mark.
    pub(super) fn durable(&self) -> impl Iterator<Item = usize> {
        let first = self
            .entries
            .iter()
            .position(|entry| matches!(entry.what, What::Mark(_)));
        let first = first.unwrap_or(self.entries.len());
        let entries = self.entries.iter().enumerate().skip(first);
        entries
            .filter(|(_, entry)| entry.durable)
            .map(|(index, _)| index)
    }

    /// Does to `disk` what an entry says.
    pub(super) fn apply(&self, entry: &Entry, disk: &mut [u8]) -> Result<(), Trouble> {
        let range = entry.start as usize..(entry.start + entry.len) as usize;
        match entry.what {
            What::Write { at } => {
                let bytes = disk
                    .get_mut(range)
                    .ok_or("an entry behind the disk's end")?;
                let mut new = vec![0; bytes.len()];
                self.file
                    .read_exact_at(&mut new, at)
                    .during("the log's data")?;
                let places = (entry.start..).step_by(SECTOR as usize);
                let sectors = bytes
                    .chunks_mut(SECTOR as usize)
                    .zip(new.chunks(SECTOR as usize));
                for (place, (old, new)) in places.zip(sectors) {
                    let overtaken =
                        !entry.durable && self.fua.contains(&place) && is_newer(old, new);
                    if !overtaken {
                        old.copy_from_slice(new);
                    }
                }
                Ok(())
            }
            What::Discard => {
                let bytes = disk
                    .get_mut(range)
                    .ok_or("an entry behind the disk's end")?;
                bytes.fill(0);
                Ok(())
            }
            What::Mark(_) | What::Nothing => Ok(()),
        }
    }
}

/// A client has written it.
fn is_stamp(value: &Value) -> bool {
    value.0 != 0 && value.0 != u64::MAX
}

/// `old` was stamped later than `new`, for the same guest sector.
fn is_newer(old: &[u8], new: &[u8]) -> bool {
    let (old, new) = (values(old), values(new));
    old.iter().zip(&new).any(|(old, new)| {
        let known = is_stamp(old) && is_stamp(new);
        known && old.0 as u32 == new.0 as u32 && old.write() > new.write()
    })
}
