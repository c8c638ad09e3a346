//! A short session of writes through the blocking driver, with what each sector may read as.
//!
//! Nothing crashes here and only space runs out: a write that failed leaves old or new, a discard old or zeros, and a
//! sector that was read has the value that it was read with.

use super::memory::Memory;
use super::open::{Files, open_files};
use super::picture::{Scene, Step};
use model::image::SECTOR;
use ploop_core::delta::{LoadedDelta, chain};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::units::{Millis, Sector, Sectors};
use ploop_core::{OpenError, Options};
use std::collections::BTreeMap;

/// Most steps of a session.
const MOST_STEPS: usize = 24;

/// What a sector may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// What it held before the session.
    Old,
    Zeros,
    /// The pattern of a write.
    Write(u8),
}

impl Content {
    /// True if a sector that holds this reads as `found`.
    pub(super) fn fits(self, files: &Files, sector: u64, found: &[u8]) -> bool {
        match self {
            Content::Old => found == files.read(sector),
            Content::Zeros => found.iter().all(|&byte| byte == 0),
            Content::Write(n) => found.iter().zip(pattern(n, sector)).all(|(&a, b)| a == b),
        }
    }
}

fn pattern(n: u8, sector: u64) -> impl Iterator<Item = u8> {
    let seed = n.wrapping_mul(2) | 1;
    (0_u8..=255)
        .cycle()
        .take(SECTOR as usize)
        .map(move |i| seed ^ (sector as u8).rotate_left(3) ^ (i & 0xF0))
}

/// How a session ended.
pub(super) struct Written {
    /// The top.
    pub(super) top: Vec<u8>,
    /// Something was written to it.
    pub(super) changed: bool,
    /// It was closed cleanly.
    pub(super) closed: bool,
    /// What may be in the sectors that were touched.
    pub(super) sectors: BTreeMap<u64, Vec<Content>>,
}

struct Session<'a> {
    files: &'a Files,
    disk: Disk,
    size: u64,
    cluster: u64,
    sectors: BTreeMap<u64, Vec<Content>>,
    /// Only a full file system makes anything fail.
    now: u64,
}

/// Opens the stack for writing and carries the script out. `None` if it was refused.
pub(super) fn run(
    scene: &Scene,
    files: &Files,
    deltas: &[LoadedDelta],
    options: Options,
) -> Option<Written> {
    let memory = open_files(files, u64::from(scene.space % 8192));
    let boxed = memory
        .iter()
        .map(|file| Box::new(file.clone()) as Box<dyn DeltaFile>)
        .collect();
    let top = memory.last()?;
    let disk = match (
        Disk::open(deltas.to_vec(), boxed, options),
        chain::validate(deltas, true),
    ) {
        (Ok(disk), Ok(())) => disk,
        (Ok(_), Err(why)) => panic!("[chain] opened for writing against a rule: {why}"),
        (Err(OpenError::SubSector { .. }), _) | (Err(_), Err(_)) => {
            assert_eq!(
                top.changes(),
                0,
                "[untouched] a refused image was written to"
            );
            return None;
        }
        (Err(why), Ok(())) => panic!("[chain] a valid chain was not opened for writing: {why}"),
    };
    let geometry = disk.device().geometry();
    let mut session = Session {
        files,
        disk,
        size: geometry.size.0,
        cluster: geometry.cluster.0,
        sectors: BTreeMap::new(),
        now: 0,
    };
    for (step, number) in scene.script.iter().take(MOST_STEPS).zip(1..) {
        session.step(step, number);
        session.disk.device().verify();
    }
    let touched: Vec<u64> = session.sectors.keys().copied().collect();
    for sector in touched {
        session.read(sector, 1);
    }
    let flushed = session.disk.flush();
    let closed = session.disk.close();
    if let (Ok(()), Err(why)) = (flushed, closed) {
        panic!("[close] flushed, but {why}");
    }
    let closed = closed.is_ok();
    check_lower(files, &memory);
    Some(Written {
        top: top.bytes(),
        changed: top.changes() > 0,
        closed,
        sectors: session.sectors,
    })
}

fn check_lower(files: &Files, memory: &[Memory]) {
    if let (Some((_, bytes)), [base, _]) = (&files.base, memory) {
        assert!(
            base.changes() == 0 && base.bytes() == *bytes,
            "[untouched] a lower delta was written to"
        );
    }
}

impl Session<'_> {
    /// A range of the disk: where, and how long.
    fn range(&self, start: u32, len: u64) -> Option<(u64, u64)> {
        // Small numbers reach a small disk's every sector, large ones the whole of a large disk.
        let start = match u64::from(start) {
            small if small < self.size => small,
            large if self.size > 0 => large.wrapping_mul(0x9E37_79B9) % self.size,
            _ => return None,
        };
        Some((start, len.min(self.size - start)))
    }

    fn step(&mut self, step: &Step, number: u8) {
        match *step {
            Step::Read { start, len } => {
                if let Some((start, len)) = self.range(start, u64::from(len)) {
                    self.read(start, len);
                }
            }
            Step::Write { start, len, fua } => self.write(start, u64::from(len), fua, number),
            Step::WriteCluster { start } => {
                let start = u64::from(start) % self.size.max(1) / self.cluster * self.cluster;
                self.write(start as u32, self.cluster.min(512), false, number);
            }
            Step::Zeroes {
                start,
                len,
                fua,
                unmap,
            } => {
                if let Some((start, len)) = self.range(start, u64::from(len)) {
                    let done = self
                        .disk
                        .write_zeroes(Sector(start), Sectors(len), fua, unmap);
                    self.note(start, len, Content::Zeros, done.is_ok());
                }
            }
            Step::Discard { start, len } => {
                if let Some((start, len)) = self.range(start, u64::from(len % 1024)) {
                    // Failed or not: old or zeros.
                    let _ = self.disk.discard(Sector(start), Sectors(len));
                    self.note(start, len, Content::Zeros, false);
                }
            }
            Step::Flush => {
                let _ = self.disk.flush();
            }
            Step::Tick { millis } => {
                self.now += u64::from(millis);
                let due = self.disk.tick(Millis(self.now));
                let told = self.disk.device().has_deadline();
                assert!(
                    told || due.is_none(),
                    "[deadline] {due:?}, and none is told of"
                );
            }
        }
    }

    fn write(&mut self, start: u32, len: u64, fua: bool, number: u8) {
        let Some((start, len)) = self.range(start, len) else {
            return;
        };
        let bytes: Vec<u8> = (start..start + len)
            .flat_map(|sector| pattern(number, sector))
            .collect();
        let done = self.disk.write(Sector(start), &bytes, fua);
        self.note(start, len, Content::Write(number), done.is_ok());
    }

    fn note(&mut self, start: u64, len: u64, content: Content, done: bool) {
        for sector in start..start + len {
            let legal = self
                .sectors
                .entry(sector)
                .or_insert_with(|| vec![Content::Old]);
            if done {
                legal.clear();
            }
            if !legal.contains(&content) {
                legal.push(content);
            }
        }
    }

    fn read(&mut self, start: u64, len: u64) {
        let mut buffer = vec![0xEE; (len * SECTOR) as usize];
        self.disk
            .read(Sector(start), &mut buffer)
            .expect("memory can be read");
        for (sector, found) in (start..).zip(buffer.as_chunks::<512>().0) {
            let legal = self
                .sectors
                .entry(sector)
                .or_insert_with(|| vec![Content::Old]);
            let files = self.files;
            let before = legal.clone();
            legal.retain(|content| content.fits(files, sector, found));
            assert!(
                !legal.is_empty(),
                "[linear] sector {sector} reads as none of {before:?}"
            );
        }
    }
}
