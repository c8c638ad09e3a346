//! The control plane's operations among the guest's: the disk is closed, or its server is killed when everything is flushed;
//! the files are changed; they are opened anew. What the disk reads as is the same (I23), but after a rollback, and larger
//! after a growth.
//!
//! Killed: the top is marked in use, and the operation finds it so. A dirty bitmap does not count any more then (I32).

use model::image::{Image, ImageBytes, Level as ModelLevel, read_sector};
use model::op::Value;
use ploop_core::control::files::{
    Change, Compact, Merge, SlotMove, Source, change_bitmaps, grow, repair, update_index,
};
use ploop_core::drive::DeltaFile;
use ploop_core::load;
use ploop_core::units::{Clu, DstClu, Sectors};
use proptest::prelude::*;
use sim::disk::sector::recognise;
use sim::scenario::files::MemoryFile;

use super::{Judged, Run, SECTOR, fail, open};

/// No larger, in clusters.
const MOST_CLUSTERS: u64 = 300;
const ID: [u8; 16] = [3; 16];

#[derive(Clone, Debug)]
pub(crate) struct Control {
    killed: bool,
    operation: Operation,
}

#[derive(Clone, Debug)]
enum Operation {
    /// So many sectors.
    Grow(u16),
    /// Of the uppermost pair, into the upper; so many clusters a step.
    Forward(u32),
    /// Into the lower.
    Backward(u32),
    /// The top is thrown away: an empty one takes its place.
    Rollback,
    Compact(u32),
    /// Some of the top's clusters are copied behind the end, and its slots point there.
    Index(u8),
    Repair,
    /// Started, cleared, stopped.
    Bitmap(u8),
}

pub(crate) fn drawn() -> impl Strategy<Value = Control> {
    let operation = prop_oneof![
        2 => (1..40u16).prop_map(Operation::Grow),
        1 => (1..1000u16).prop_map(Operation::Grow),
        2 => (1..5u32).prop_map(Operation::Forward),
        2 => (1..5u32).prop_map(Operation::Backward),
        1 => Just(Operation::Rollback),
        2 => (1..5u32).prop_map(Operation::Compact),
        2 => any::<u8>().prop_map(Operation::Index),
        1 => Just(Operation::Repair),
        3 => any::<u8>().prop_map(Operation::Bitmap),
    ];
    (prop::bool::weighted(0.2), operation)
        .prop_map(|(killed, operation)| Control { killed, operation })
}

impl Run {
    pub(super) fn control(&mut self, control: &Control) -> Judged {
        let mut before = self.read_all()?;
        if control.killed {
            // Whoever is killed has not closed; what he has flushed is there.
            self.operate(super::Op {
                kind: super::Kind::Flush,
                start: 0,
                len: 0,
            })?;
            self.dirty = self.dirty.take().filter(|_| !self.changed);
        } else {
            self.disk.close().map_err(fail)?;
            self.check_closed()?;
        }
        self.change(&control.operation, &mut before)?;
        let top = self.files.last().ok_or_else(|| fail("no top"))?;
        let layout = load::load(top, "image").map_err(fail)?;
        let layout = layout.expanded().ok_or_else(|| fail("a raw top"))?.layout;
        prop_assert_eq!(layout.size.0, before.len() as u64, "the size of the disk");
        self.shape.size = layout.size.0;
        self.shape.entries = layout.entries;
        self.disk = open(&self.shape, &self.files)?;
        self.changed = false;
        prop_assert_eq!(self.read_all()?, before, "{:?}", control);
        self.compare()
    }

    fn change(&mut self, operation: &Operation, content: &mut Vec<Value>) -> Judged {
        let Some(top) = self.files.last().cloned() else {
            return Ok(());
        };
        let pair = self.files.len().checked_sub(2);
        match *operation {
            Operation::Grow(more) => self.grow(&top, more.into(), content),
            Operation::Forward(step) | Operation::Backward(step) => {
                let forward = matches!(operation, Operation::Forward(_));
                let raw = self.shape.raw_base && pair == Some(0);
                match pair {
                    Some(at) if forward || !raw => self.merge(at, forward, step),
                    _ => Ok(()),
                }
            }
            Operation::Rollback => match pair {
                Some(_) => self.roll_back(content),
                None => Ok(()),
            },
            Operation::Compact(step) => {
                let mut compact = Compact::new(&top, "image").map_err(fail)?;
                while !compact.step(step).map_err(fail)?.finished {}
                Ok(())
            }
            Operation::Index(every) => move_clusters(&top, every),
            Operation::Repair => {
                let done = repair(&top, "image").map_err(fail)?;
                prop_assert!(done.sound, "{:?}", done);
                Ok(())
            }
            Operation::Bitmap(which) => self.bitmap(&top, which),
        }
    }

    fn grow(&mut self, top: &MemoryFile, more: u64, content: &mut Vec<Value>) -> Judged {
        let old = content.len() as u64;
        let size = (old + more)
            .min(MOST_CLUSTERS * self.shape.cluster)
            .max(old);
        let grown = grow(top, "image", Sectors(size)).map_err(fail)?;
        prop_assert_eq!((grown.from.0, grown.to.0), (old, size));
        self.model.grow(size - old);
        content.resize(size as usize, Value::ZERO);
        if let Some(dirty) = &mut self.dirty {
            dirty.extend(old..size);
        }
        Ok(())
    }

    fn merge(&mut self, pair: usize, forward: bool, step: u32) -> Judged {
        let source = |level: usize| Source {
            file: &self.files[level] as &dyn DeltaFile,
            name: "delta",
            raw: self.shape.raw_base && level == 0,
        };
        let (lower, upper) = (source(pair), source(pair + 1));
        let merge = match forward {
            true => Merge::forward(lower, upper),
            false => Merge::backward(lower, upper),
        };
        let mut merge = merge.map_err(fail)?;
        while !merge.step(step).map_err(fail)?.finished {}
        drop(merge);
        self.files.remove(if forward { pair } else { pair + 1 });
        if forward {
            self.shape.raw_base &= pair > 0;
        } else {
            self.dirty = None;
        }
        Ok(())
    }

    /// What is left is what the levels below show.
    fn roll_back(&mut self, content: &mut Vec<Value>) -> Judged {
        self.files.pop();
        let bytes: Vec<Vec<u8>> = self
            .files
            .iter()
            .map(|file| file.with(<[u8]>::to_vec))
            .collect();
        let mut size = content.len() as u64;
        let mut levels = Vec::new();
        for (level, bytes) in bytes.iter().enumerate() {
            let bytes: &dyn ImageBytes = bytes;
            levels.push(if level == 0 && self.shape.raw_base {
                ModelLevel::Raw(bytes)
            } else {
                let image = Image::open(bytes).map_err(fail)?;
                size = image.header().size_sectors;
                ModelLevel::Image(image)
            });
        }
        content.clear();
        for sector in 0..size {
            let mut found = [0; SECTOR];
            read_sector(&levels, sector, &mut found);
            content.push(recognise(&found).unwrap_or(Value(u64::MAX)));
        }
        self.model.reset(content);
        self.dirty = None;
        let file = MemoryFile::default();
        let cluster = Sectors(self.shape.cluster);
        load::new_image(&file, self.shape.version, cluster, Sectors(size)).map_err(fail)?;
        self.files.push(file);
        Ok(())
    }

    fn bitmap(&mut self, top: &MemoryFile, which: u8) -> Judged {
        let granularity = 1 << (which / 4 % 4);
        let change = match (&self.dirty, which % 4) {
            (None, _) => Change::Start {
                id: ID,
                granularity,
            },
            (Some(_), 0 | 1) => Change::Clear { id: ID },
            (Some(_), _) => Change::Stop { id: ID },
        };
        change_bitmaps(top, "image", change).map_err(fail)?;
        self.dirty = match change {
            Change::Stop { .. } => None,
            _ => Some(Default::default()),
        };
        Ok(())
    }
}

/// Copies clusters behind the end of the file, one in `every`, and points their slots there.
fn move_clusters(top: &MemoryFile, every: u8) -> Judged {
    let loaded = load::load(top, "image").map_err(fail)?;
    let image = loaded.expanded().ok_or_else(|| fail("a raw top"))?;
    let layout = image.layout;
    let mut next = layout.hosts_in(top.len()? + layout.cluster_bytes() - 1);
    let mut moves = Vec::new();
    for (clu, &entry) in (0..).zip(&image.bat) {
        let Some(from) = layout.host_of(entry) else {
            continue;
        };
        if clu % (1 + u32::from(every % 4)) != 0 {
            continue;
        }
        let to = DstClu(next.max(layout.first_host().0));
        next = to.0 + 1;
        let mut bytes = vec![0; layout.cluster_bytes() as usize];
        read(top, layout.host_sector(from).bytes(), &mut bytes);
        top.write_at(layout.host_sector(to).bytes(), &bytes)?;
        let clu = Clu(clu);
        moves.push(SlotMove { clu, from, to });
    }
    let made = update_index(top, "image", &moves).map_err(fail)?;
    prop_assert_eq!(made as usize, moves.len());
    Ok(())
}

/// What there is of these bytes; the rest stays.
fn read(file: &MemoryFile, at: u64, into: &mut [u8]) {
    file.with(|bytes| {
        let there = bytes.get(at as usize..).unwrap_or_default();
        let len = there.len().min(into.len());
        into[..len].copy_from_slice(&there[..len]);
    });
}
