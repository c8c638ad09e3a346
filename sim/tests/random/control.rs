//! The control plane's operations among the guest's: the disk is closed, or its server is killed when everything is flushed;
//! the files are changed; they are opened anew. What the disk reads as is the same (I23), but after a rollback, and larger
//! after a growth.
//!
//! Killed: the top is marked in use, and the operation finds it so. A dirty bitmap does not count any more then (I32).
//!
//! Cut: the power is lost in a call of the operation. Then the chain is the one of before, it is opened and reads as before
//! (a growth may have come to its end), and the operation is made anew, perhaps cut again, perhaps not.

use model::image::{Image, ImageBytes, Level as ModelLevel, read_sector};
use model::op::Value;
use ploop_core::control::files::{
    Change, Compact, Merge, SlotMove, Source, change_bitmaps, grow, repair, update_index,
};
use ploop_core::drive::DeltaFile;
use ploop_core::drive::file::read_padded;
use ploop_core::load;
use ploop_core::units::{Clu, DstClu, Sectors};
use proptest::prelude::*;
use sim::disk::sector::recognise;

use super::power::PoweredFile;
use super::{Judged, Run, SECTOR, fail, table_of};

/// No larger, in clusters.
const MOST_CLUSTERS: u64 = 300;
const ID: [u8; 16] = [3; 16];

#[derive(Clone, Debug)]
pub(crate) struct Control {
    killed: bool,
    operation: Operation,
    /// After so many calls; what becomes of what is not durable. One try after the other.
    cuts: Vec<(u8, u64)>,
    /// After the last of them it is made anew.
    again: bool,
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
    let cut = (prop_oneof![0..12u8, 0..60u8], any::<u64>());
    let cuts = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(cut, 1..4),
    ];
    (prop::bool::weighted(0.2), operation, cuts, any::<bool>()).prop_map(
        |(killed, operation, cuts, again)| Control {
            killed,
            operation,
            cuts,
            again,
        },
    )
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
            self.forget_bitmap()?;
        } else {
            self.disk.close().map_err(fail)?;
            self.check_closed()?;
        }
        for &(calls, seed) in &control.cuts {
            if !self.cut_change(&control.operation, &mut before, calls, seed)? {
                return self.settled(control, &before);
            }
        }
        if control.cuts.is_empty() || control.again {
            self.change(&control.operation, &mut before)?;
        }
        self.settled(control, &before)
    }

    /// The files are what they are going to be: they are opened, and read.
    fn settled(&mut self, control: &Control, before: &[Value]) -> Judged {
        let size = self.learn_size()?;
        prop_assert_eq!(size, before.len() as u64, "the size of the disk");
        self.reopen()?;
        prop_assert_eq!(self.read_all()?, before, "{:?}", control);
        self.compare()
    }

    fn learn_size(&mut self) -> Result<u64, TestCaseError> {
        let top = self.files.last().ok_or_else(|| fail("no top"))?;
        let layout = load::load(top, "image").map_err(fail)?;
        let layout = layout.expanded().ok_or_else(|| fail("a raw top"))?.layout;
        self.shape.size = layout.size.0;
        self.shape.entries = layout.entries;
        Ok(layout.size.0)
    }

    /// An operation during which the power is lost; then the chain is as it was. False: it came to its end before that.
    fn cut_change(
        &mut self,
        operation: &Operation,
        before: &mut Vec<Value>,
        calls: u8,
        seed: u64,
    ) -> Result<bool, TestCaseError> {
        let (files, shape) = (self.files.clone(), self.shape.clone());
        let dirty = self.dirty.clone();
        let mut content = before.clone();
        self.supply.cut_after(calls.into(), seed);
        let changed = self.change(operation, &mut content);
        if !self.supply.is_lost() {
            self.supply.stay_on();
            *before = content;
            return changed.map(|()| false);
        }
        prop_assert!(changed.is_err(), "without power: {:?}", operation);
        (self.files, self.shape) = (files, shape);
        self.supply.restore(&self.files);
        self.dirty = dirty.filter(|_| !matches!(operation, Operation::Bitmap(_)));
        let (old, size) = (before.len() as u64, self.learn_size()?);
        if size != old {
            let grows =
                matches!(*operation, Operation::Grow(more) if size <= old + u64::from(more));
            prop_assert!(grows && size > old, "{} sectors, were {}", size, old);
            self.model.grow(size - old);
            before.resize(size as usize, Value::ZERO);
            if let Some(dirty) = &mut self.dirty {
                dirty.extend(old..size);
            }
        }
        if !self.vouched()? {
            self.dirty = None;
        } else if matches!(operation, Operation::Bitmap(_)) {
            self.dirty = Some(Default::default());
        }
        let known = self.dirty.is_some() || !self.vouched()?;
        prop_assert!(
            known,
            "a bitmap counts, and nobody knew of it: {:?}",
            operation
        );
        self.reopen()?;
        prop_assert_eq!(&self.read_all()?, before, "{:?}, cut", operation);
        self.disk.close().map_err(fail)?;
        self.check_closed()?;
        Ok(true)
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

    fn grow(&mut self, top: &PoweredFile, more: u64, content: &mut Vec<Value>) -> Judged {
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
        let bytes: Vec<Vec<u8>> = self.files.iter().map(PoweredFile::bytes).collect();
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
        // The disk is as large as it was: a table as long as before the growth would tear guest data like slots.
        self.shape.entries = size.div_ceil(self.shape.cluster) as u32;
        let file = self.supply.file(&[], table_of(&self.shape));
        let cluster = Sectors(self.shape.cluster);
        load::new_image(&file, self.shape.version, cluster, Sectors(size)).map_err(fail)?;
        self.files.push(file);
        // It is made.
        self.model.reset(content);
        self.dirty = None;
        Ok(())
    }

    fn bitmap(&mut self, top: &PoweredFile, which: u8) -> Judged {
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
fn move_clusters(top: &PoweredFile, every: u8) -> Judged {
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
        read_padded(top, layout.host_sector(from).bytes(), &mut bytes)?;
        top.write_at(layout.host_sector(to).bytes(), &bytes)?;
        let clu = Clu(clu);
        moves.push(SlotMove { clu, from, to });
    }
    let made = update_index(top, "image", &moves).map_err(fail)?;
    prop_assert_eq!(made as usize, moves.len());
    Ok(())
}
