//! Drills of [`repair`].

use super::compact::draw_image;
use super::drill::{Drill, Stage};
use super::grow::geometry;
use super::{judge, no_calls};
use crate::check::failure;
use crate::disk::sector::FOREIGN;
use crate::disk::{SimFile, View};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::fsck::{Extension, fsck};
use model::image::{Header, ImageBytes, Version};
use model::op::Value;
use ploop_core::control::files::{ControlError, Fix, repair};
use ploop_core::drive::DeltaFile;
use ploop_core::load::inspect;
use std::hash::{DefaultHasher, Hasher};

const HEADER: u64 = 64;

/// An image that somebody has damaged.
#[derive(Clone, Debug)]
pub struct Repair {
    /// By slot: what can be read there, in whole sectors of the file.
    readable: Vec<Option<Vec<Value>>>,
    /// Header fields were damaged: sizes are judged by soundness alone.
    header: bool,
    cluster: u64,
    v1: bool,
    /// Nothing was wrong with the mapping.
    sound: bool,
    /// It is so damaged that it is refused, and not written.
    refused: bool,
}

impl Repair {
    /// Draws an image and its damage.
    pub fn draw(tape: &mut Tape) -> (Repair, Vec<SimFile>) {
        let (drawn, cluster, _) = draw_image(tape);
        let mut bytes = drawn.bytes;
        let mut slots = drawn.slots;
        let file_end = bytes.len() as u64 / 512;
        let unit = if drawn.v1 { 1 } else { cluster };
        let mut sound = true;
        for _ in 0..tape.choose(Kind::Op, 5) {
            sound = false;
            let slot = tape.index(Kind::Arg, slots.len());
            let other = slots[tape.index(Kind::Arg, slots.len())];
            slots[slot] = match tape.choose(Kind::Op, 6) {
                0 | 1 if other != 0 => other,
                2 => u32::MAX,
                3 => (file_end.div_ceil(unit) + u64::from(tape.choose(Kind::Arg, 3))) as u32,
                4 => tape.choose(Kind::Arg, (drawn.start / unit) as u32),
                _ => 1 << 31 | tape.choose(Kind::Arg, 1 << 20),
            };
        }
        for (slot, &entry) in (0..).zip(&slots) {
            put(&mut bytes, HEADER + 4 * slot, entry);
        }
        let mut header = false;
        let size = u32::from_le_bytes([bytes[36], bytes[37], bytes[38], bytes[39]]);
        let mut may_refuse = false;
        match tape.choose(Kind::Op, 11) {
            // m_Size: where the BAT ends, and in version 1 perhaps where data starts.
            8.. => {
                header = true;
                let entries = drawn.entries as u32;
                let wrong = match tape.choose(Kind::Arg, 4) {
                    0 => tape.choose(Kind::Arg, entries),
                    1 => entries + 1 + tape.choose(Kind::Arg, 20),
                    2 => entries + 1 + tape.choose(Kind::Arg, 1500),
                    _ => 1 << tape.choose(Kind::Arg, 32),
                };
                put(&mut bytes, 32, wrong);
                // The BAT would not fit the file.
                may_refuse = HEADER + 4 * u64::from(wrong) > bytes.len() as u64;
            }
            // m_SizeInSectors: more than the BAT covers, or less.
            6 => {
                header = true;
                put(&mut bytes, 36, size + tape.choose(Kind::Arg, 300));
            }
            7 => {
                header = true;
                put(&mut bytes, 36, tape.choose(Kind::Arg, size));
            }
            // m_FirstBlockOffset.
            5 => {
                header = true;
                let wrong = [0, 1, u32::MAX, drawn.start as u32 + 1][tape.index(Kind::Arg, 4)];
                put(&mut bytes, 48, wrong);
            }
            // The file ends too early.
            4 if file_end > drawn.start => {
                sound = false;
                let lost = tape.choose(Kind::Arg, (file_end - drawn.start) as u32);
                bytes.truncate((file_end - u64::from(lost)) as usize * 512);
            }
            _ => {}
        }
        // The extension's cluster: magic, checksum or content.
        let at = u64::from_le_bytes(bytes[56..64].try_into().unwrap_or_default()) * 512;
        if at > 0 && at + 512 <= bytes.len() as u64 && tape.choose(Kind::Op, 2) == 0 {
            bytes[at as usize + tape.index(Kind::Arg, 512)] ^= 0x10;
        }
        // Nothing says where data starts but what is wrong.
        may_refuse |= header && bytes[48..52] == [0; 4];
        sound &= !header;
        let mut file = SimFile::new();
        file.reset_bytes(geometry(tape), &bytes);
        let damaged = Repair {
            readable: Vec::new(),
            header,
            cluster,
            v1: drawn.v1,
            sound,
            refused: may_refuse && is_refused(&file, tape),
        };
        let disk = (slots.len() as u64, drawn.values.len() as u64);
        (damaged.reading(&file, drawn.start, disk), vec![file])
    }

    /// A damaged image that was a disk with this header and has this damage now.
    #[must_use]
    pub fn of(file: &SimFile, header: &Header) -> Repair {
        let damaged = Repair {
            readable: Vec::new(),
            header: true,
            cluster: header.cluster_sectors,
            v1: header.version == Version::V1,
            sound: false,
            refused: false,
        };
        let disk = (header.bat_entries, header.size_sectors);
        damaged.reading(file, header.data_start(), disk)
    }

    /// Notes what can be read: of so many slots, of a disk of so many sectors.
    fn reading(mut self, file: &SimFile, start: u64, (slots, size): (u64, u64)) -> Repair {
        let readable = (0..slots).map(|slot| {
            let guest = size.saturating_sub(slot * self.cluster);
            self.read(file.view(), slot, start, guest.min(self.cluster))
        });
        self.readable = readable.collect();
        self
    }

    /// What a slot's cluster reads as, up to `len` sectors, as far as the file has it; `None` if it leads nowhere.
    fn read(&self, view: View<'_>, slot: u64, start: u64, len: u64) -> Option<Vec<Value>> {
        let mut raw = [0; 4];
        judge::Bytes(view).read(HEADER + 4 * slot, &mut raw);
        let entry = u32::from_le_bytes(raw);
        let at = u64::from(entry) * if self.v1 { 1 } else { self.cluster };
        let there = (view.len_bytes() / 512).saturating_sub(at).min(len);
        if entry == 0 || entry == u32::MAX || at < start || there == 0 {
            return None;
        }
        Some(
            (at..at + there)
                .map(|sector| content(view, sector))
                .collect(),
        )
    }

    /// Each cluster that was readable is part of the disk.
    fn reaches_all(&self, view: View<'_>) -> Result<(), Failure> {
        let header = Header::read(&judge::Bytes(view));
        let header = header.map_err(|why| failure("image", why.to_string()))?;
        let last = self.readable.iter().rposition(Option::is_some);
        let Some(last) = last.map(|last| last as u64) else {
            return Ok(());
        };
        if last < header.bat_entries && last * self.cluster < header.size_sectors {
            return Ok(());
        }
        let message = format!("cluster {last} was readable, and is no part of it: {header:?}");
        Err(failure("content", message))
    }
}

/// What a sector holds. What is nobody's pattern goes by its place where metadata may stand, and by a number elsewhere; repair
/// copies it from the one to the other. It is known by its bytes here.
fn content(view: View<'_>, sector: u64) -> Value {
    let value = view.read_value(sector);
    if value.0 >> 63 == 0 {
        return value;
    }
    let mut bytes = [0; 512];
    judge::Bytes(view).read(sector * 512, &mut bytes);
    let mut hash = DefaultHasher::new();
    hash.write(&bytes);
    Value(FOREIGN | hash.finish() >> 2)
}

/// Whoever reads what was mended must find it in the file.
fn tells(fix: Fix) -> bool {
    let text = fix.to_string();
    match fix {
        Fix::Header { from, to, .. } => {
            text.contains(&from.to_string()) && text.contains(&to.to_string())
        }
        Fix::Cleared { clu, .. } | Fix::Copied { clu, .. } => {
            text.starts_with(&format!("BAT[{}] = ", clu.0))
        }
        Fix::Extended { to, .. } => text.contains(&to.to_string()),
        Fix::Cut { bytes } => text.contains(&bytes.to_string()),
        Fix::Freed { at, clusters } => {
            text.contains(&at.0.to_string()) && text.contains(&clusters.to_string())
        }
        Fix::Closed => text.starts_with("m_DiskInUse"),
    }
}

/// True if a repair refuses the file, and does not write to it.
fn is_refused(file: &SimFile, tape: &mut Tape) -> bool {
    let mut files = [file.clone()];
    let repaired = |files: &[&dyn DeltaFile]| repair(files[0], "image").map(drop);
    no_calls(&mut files, tape, "repair", repaired).is_ok()
}

fn put(bytes: &mut [u8], at: u64, word: u32) {
    bytes[at as usize..at as usize + 4].copy_from_slice(&word.to_le_bytes());
}

impl Drill for Repair {
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError> {
        let done = match repair(files[0], "image") {
            Err(ControlError::Load(_)) if self.refused => return Ok(()),
            done => done?,
        };
        assert!(done.sound, "[sound] not sound, by its own words: {done:?}");
        for fix in &done.fixes {
            assert!(tells(*fix), "[told] {fix:?} is told as: {fix}");
        }
        Ok(())
    }

    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure> {
        let view = views[0];
        if self.sound {
            judge::writable(view, "image")?;
        }
        for (slot, readable) in (0..).zip(&self.readable) {
            let Some(values) = readable else { continue };
            let found = self.read(view, slot, 1, self.cluster).unwrap_or_default();
            if found.get(..values.len()) != Some(values) {
                return Err(failure(
                    "content",
                    format!("cluster {slot} reads as {found:?}, was readable as {values:?}"),
                ));
            }
        }
        if stage == Stage::Midway || self.refused {
            return Ok(());
        }
        self.reaches_all(view)?;
        // A start of data that is too late, but possible, cannot be told from a right one.
        judge::writable_but(view, "image", self.header)?;
        let report = fsck(&judge::Bytes(view));
        let ends = report
            .leaks
            .last()
            .is_some_and(|leak| leak.sector + leak.clusters * self.cluster >= report.file_sectors);
        if stage == Stage::Done {
            let left = inspect(&view, "image").map(|found| found.problems);
            if !left.as_ref().is_ok_and(Vec::is_empty) {
                return Err(failure("image", format!("repaired, but: {left:?}")));
            }
            if ends && report.extension == Extension::None && !self.header {
                let message = format!("repaired, but the file ends in {:?}", report.leaks);
                return Err(failure("leaks", message));
            }
            judge::closed(view, "image")?;
        }
        Ok(())
    }
    fn marked(&self) -> Option<usize> {
        Some(0)
    }
}
