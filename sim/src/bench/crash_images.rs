//! Crash images, tiny geometry: each is opened by the core, checked by the model's fsck, and every sector is looked up
//! and compared with what the model allows.
//!
//! The file at hand: twelve guest clusters of two sectors, six of them mapped. Pending are overwrites of two clusters, three
//! new entries in two granules of the BAT (their data is durable), and an extension.

use super::{Figures, rate};
use crate::disk::{Change, Effect, Geometry, SimFile, SyncEffect, View};
use crate::tape::Tape;
use model::disk::Model;
use model::fsck::Fsck;
use model::image::ImageBytes;
use model::op::{End, Kind, Op, Value};
use ploop_core::control::inspect::Mapping;
use ploop_core::format::{Header, InUse, Version};
use ploop_core::load;
use ploop_core::units::{Sector, Sectors};
use ploop_core::{Device, Options};
use std::time::Duration;

const CLUSTER: u64 = 2;
const CLUSTERS: u64 = 12;
/// Clusters that are mapped at first.
const OLD: u64 = 6;
/// Clusters that are mapped by the entries pending.
const NEW: u64 = 3;
/// Clusters whose overwrite is pending.
const OVERWRITTEN: u64 = 2;
const PAGE: u32 = 80;
const GRANULE: u32 = 16;

/// Fills in the rate.
pub(super) fn measure(effort: Duration, figures: &mut Figures) {
    let mut model = Model::new(CLUSTERS * CLUSTER);
    let file = crashing(&mut model);
    let mut images = file.crash_images(u64::MAX);
    let mut checker = Checker::default();
    figures.crash_images_per_s = rate(effort, || {
        for _ in 0..256 {
            if !images.advance() {
                images = file.crash_images(u64::MAX);
                images.advance();
            }
            checker.check(&images.view(), &model);
        }
        256
    });
}

/// A model and a file that lose their power now.
fn crashing(model: &mut Model) -> SimFile {
    let size = Sectors(CLUSTERS * CLUSTER);
    let mut header = match Header::create(Version::V2, Sectors(CLUSTER), size) {
        Ok(header) => header,
        Err(problem) => unreachable!("an image of the benchmark: {problem:?}"),
    };
    header.in_use = InUse::InUse;
    let data_start = u64::from(header.data_off);
    let host = |cluster: u64| (data_start / CLUSTER + cluster) as u32;
    let mut meta = header.to_bytes().to_vec();
    meta.extend((0..CLUSTERS).flat_map(|cluster| {
        let entry = if cluster < OLD { host(cluster) } else { 0 };
        entry.to_le_bytes()
    }));
    let geometry = Geometry {
        meta_len: data_start * 512,
        granule: GRANULE,
        limit_sectors: 1 << 12,
    };
    let data: Vec<Value> = (0..OLD * CLUSTER)
        .map(|sector| Value::of(1, sector))
        .collect();
    let mut initial = data.clone();
    initial.resize((CLUSTERS * CLUSTER) as usize, Value::ZERO);
    model.reset(&initial);
    let mut file = SimFile::new();
    let mut tape = Tape::from_seed(0);
    let len = data_start + (OLD + NEW) * CLUSTER;
    file.reset(geometry, &meta, &data, len * 512);
    let mut write = |file: &mut SimFile, cluster: u64, number: u32| {
        let start = cluster * CLUSTER;
        let values: Vec<Value> = (start..start + CLUSTER)
            .map(|sector| Value::of(number, sector))
            .collect();
        let kind = Kind::Write {
            preflush: false,
            fua: false,
        };
        let op = model.submit(
            Op {
                kind,
                start,
                len: CLUSTER,
            },
            number,
        );
        let io = file.submit(Change::Data {
            at: data_start + start,
            values: &values,
        });
        file.complete(io, Effect::Done, &mut Tape::from_seed(0));
        if model.complete(op, End::Ok, &[]).is_err() {
            unreachable!("a write explains itself");
        }
    };
    for cluster in OLD..OLD + NEW {
        write(&mut file, cluster, 2 + cluster as u32);
    }
    let sync = file.submit_sync();
    file.complete_sync(sync, SyncEffect::Done, &mut tape);
    for cluster in 0..OVERWRITTEN {
        write(&mut file, cluster, 100 + cluster as u32);
    }
    let entries: Vec<u8> = (OLD..OLD + NEW)
        .flat_map(|cluster| host(cluster).to_le_bytes())
        .collect();
    let at = 64 + 4 * OLD;
    let index = file.submit(Change::Bytes {
        at,
        bytes: &entries,
    });
    file.complete(index, Effect::Done, &mut tape);
    let extension = file.submit(Change::Extend {
        sectors: len + 4 * CLUSTER,
    });
    file.complete(extension, Effect::Done, &mut tape);
    model.crash();
    file
}

/// Opens, checks and compares; keeps its memory.
#[derive(Default)]
struct Checker {
    fsck: Fsck,
    seen: Vec<Value>,
}

/// A crash image as the model reads it.
struct Bytes<'a>(&'a View<'a>);

impl ImageBytes for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len_bytes()
    }
    fn read(&self, at: u64, buf: &mut [u8]) {
        let known = self.0.read_bytes(at, buf);
        buf[known..].fill(0);
    }
}

impl Checker {
    /// Panics if the image is not sound: then the benchmark measures something else.
    fn check(&mut self, image: &View<'_>, model: &Model) {
        let report = self.fsck.check(&Bytes(image));
        assert!(
            report.problems.is_empty(),
            "a crash image of the benchmark: {:?}",
            report.problems
        );
        let delta = match load::load(image, "image") {
            Ok(delta) => delta,
            Err(error) => panic!("a crash image of the benchmark: {error}"),
        };
        let options = Options {
            page_bytes: PAGE,
            granule: GRANULE,
            prealloc: Sectors(4 * CLUSTER),
            ..Options::default()
        };
        // A crash image is what it shows.
        let device = match Device::open(vec![delta.known_durable()], options) {
            Ok(device) => device,
            Err(error) => panic!("a crash image of the benchmark: {error}"),
        };
        self.seen.clear();
        self.seen.extend((0..CLUSTERS * CLUSTER).map(
            |sector| match device.locate(Sector(sector)) {
                Mapping::Unmapped => Value::ZERO,
                Mapping::Mapped { at, .. } => image.read_value(at.0),
            },
        ));
        if let Err(violation) = model.check_all_after_crash(&self.seen) {
            panic!("a crash image of the benchmark: {violation}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_sound_and_there_are_enough_of_them() {
        let mut model = Model::new(CLUSTERS * CLUSTER);
        let file = crashing(&mut model);
        let mut images = file.crash_images(u64::MAX);
        let mut checker = Checker::default();
        let mut count = 0;
        while images.advance() {
            checker.check(&images.view(), &model);
            count += 1;
        }
        // Four data sectors, two granules of the BAT, two lengths.
        assert_eq!(count, 1 << 7);
    }
}
