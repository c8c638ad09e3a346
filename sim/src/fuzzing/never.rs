//! What must be refused, and the one chain that needs no image, whatever was drawn.
//!
//! A panic begins with the checker's name in brackets, as in `open`.

use super::memory::Memory;
use super::open;
use super::picture::Scene;
use model::image::SECTOR;
use ploop_core::delta::{LoadedDelta, chain};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::error::Rule;
use ploop_core::format::Version;
use ploop_core::load;
use ploop_core::units::{QueueId, Sector, Sectors, Tag};
use ploop_core::{ActionKind, Actions, Device, Op, Options, Origin, Outcome, Request};

/// Orders and numbers of deltas that are refused, whatever the deltas are.
pub(super) fn chains(deltas: &[LoadedDelta]) {
    let refused = |chain: &[LoadedDelta], rule| {
        let found = chain::validate(chain, false).err();
        let found = found.and_then(|error| error.rule());
        assert_eq!(found, Some(rule), "[chain] {} deltas", chain.len());
    };
    refused(&[], Rule::ChainNotEmpty);
    let [base, top] = deltas else {
        let too_many = chain::MAX_LEVELS + 1;
        let copies = deltas.iter().cycle().take(too_many).cloned();
        return refused(&copies.collect::<Vec<_>>(), Rule::ChainLimit);
    };
    if base.expanded().is_none() {
        refused(&[top.clone(), base.clone()], Rule::RawIsBase);
        let alone = std::slice::from_ref(base);
        let written = chain::validate(alone, true).err();
        let rule = written.and_then(|error| error.rule());
        assert_eq!(rule, Some(Rule::RawIsNotTop), "[chain] a raw top");
        assert!(chain::validate(alone, false).is_ok(), "[chain] a raw disk");
        let below = top.expanded().is_some_and(|image| image.layout.entries > 0);
        if below {
            refused(&[top.clone(), base.clone(), top.clone()], Rule::RawIsBase);
        }
        let known = base.clone().known_durable();
        assert_eq!(known, *base, "[chain] a raw file has nothing to settle");
    }
}

/// An image that is made for a delta: clusters of another size do not go with it, and it is made once.
pub(super) fn creation(deltas: &[LoadedDelta]) {
    let Some(image) = deltas.last().and_then(|top| top.expanded()) else {
        return;
    };
    let cluster = Sectors(image.layout.cluster.0 % 16 + 1);
    let file = Memory::new(Vec::new(), 1 << 20);
    let create = |version, cluster, size| load::new_image(&file, version, cluster, Sectors(size));
    for (version, cluster, size) in [
        (Version::V1, cluster, 1 << 32),
        (Version::V1, cluster, u64::from(u32::MAX)),
        (Version::V2, Sectors(0), 100),
    ] {
        let made = create(version, cluster, size);
        assert!(made.is_err(), "[create] {version:?}, {cluster:?}, {size}");
        assert_eq!(file.changes(), 0, "[untouched] refused, and written");
    }
    let made = create(Version::V2, cluster, 100);
    assert!(made.is_ok(), "[create] {made:?}");
    let again = create(Version::V2, cluster, 100);
    assert!(again.is_err(), "[create] there was an image already");
    if cluster != image.layout.cluster && image.layout.size.0 > 0 {
        let other = load::load(&file, "other").expect("just made");
        let chain = [other, deltas[deltas.len() - 1].clone()];
        let found = chain::validate(&chain, false).err();
        let found = found.and_then(|error| error.rule());
        assert_eq!(found, Some(Rule::SameCluster), "[chain] two cluster sizes");
    }
}

/// Requests of no length end well, and nothing is tracked that nobody asked for.
pub(super) fn nothing(scene: &Scene, deltas: &[LoadedDelta]) {
    let durable = deltas.iter().cloned().map(LoadedDelta::known_durable);
    let Ok(device) = Device::open(durable.collect(), open::options(scene, true, deltas)) else {
        return;
    };
    assert!(device.next_tracked().is_err(), "[nothing] tracked");
    let origin = Origin {
        queue: QueueId(0),
        tag: Tag(0),
    };
    let write = |preflush, fua| Op::Write { preflush, fua };
    // Nobody has suspended it.
    device.resume(&mut Actions::new());
    let zeroes = Op::WriteZeroes {
        fua: true,
        unmap: false,
    };
    for op in [
        write(true, false),
        write(false, true),
        zeroes,
        Op::Discard,
        Op::Read,
    ] {
        let mut out = Actions::new();
        let request = Request {
            op,
            start: Sector(0),
            len: Sectors(0),
        };
        device.submit(origin, request, &mut out);
        let mut ended = None;
        loop {
            device.turn(QueueId(0), &mut out);
            let actions: Vec<_> = out.drain().collect();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action.kind {
                    ActionKind::Finish { outcome, .. } => ended = Some(outcome),
                    ActionKind::Io { ticket, .. } => {
                        device.complete(ticket, Outcome::Done, &mut out);
                    }
                }
            }
        }
        assert_eq!(ended, Some(Ok(())), "[nothing] {op:?} of no length");
        assert!(
            !device.has_deadline(),
            "[nothing] {op:?} has changed something"
        );
    }
}

/// Options that no device is made with, and files that are not those of the chain.
pub(super) fn options(scene: &Scene, deltas: &[LoadedDelta]) {
    let sound = open::options(scene, false, deltas);
    let wrong = [
        Options {
            page_bytes: 64,
            ..sound
        },
        Options {
            granule: 24,
            ..sound
        },
        Options {
            granule: 0,
            ..sound
        },
        Options {
            granule: 6,
            ..sound
        },
        Options {
            page_bytes: 1 << 19,
            ..sound
        },
    ];
    for wrong in wrong {
        let files = deltas.iter().map(|_| boxed(Memory::new(Vec::new(), 0)));
        let opened = Disk::open(deltas.to_vec(), files.collect(), wrong);
        assert!(opened.is_err(), "[options] opened with {wrong:?}");
    }
    let opened = Disk::open(deltas.to_vec(), Vec::new(), sound);
    assert!(opened.is_err(), "[options] opened without its files");
}

fn boxed(file: Memory) -> Box<dyn DeltaFile> {
    Box::new(file)
}

/// A raw file on its own is a disk that can be read.
pub(super) fn raw_alone(scene: &Scene, bytes: &[u8], raw: &LoadedDelta) {
    let file = Memory::new(bytes.to_vec(), 0);
    let options = open::options(scene, false, std::slice::from_ref(raw));
    let opened = Disk::open(vec![raw.clone()], vec![boxed(file.clone())], options);
    let mut disk = opened.expect("a raw disk can be read");
    let size = disk.device().geometry().size.0;
    assert_eq!(size, (bytes.len() as u64).div_ceil(SECTOR), "[linear] size");
    let mut found = vec![0xEE; (size.min(64) * SECTOR) as usize];
    disk.read(Sector(0), &mut found)
        .expect("memory can be read");
    let (there, behind) = found.split_at(found.len().min(bytes.len()));
    assert!(bytes.starts_with(there), "[linear] a raw disk");
    assert!(behind.iter().all(|&byte| byte == 0), "[linear] its end");
    let mut sector = [0; SECTOR as usize];
    let refused = [
        disk.read(Sector(size), &mut sector),
        disk.read(Sector(0), &mut sector[1..]),
        disk.write(Sector(0), &sector, false),
        disk.discard(Sector(0), Sectors(u64::MAX)),
    ];
    let right = size == 0 || refused.iter().all(Result::is_err);
    assert!(right, "[chain] a raw disk, for reading: {refused:?}");
    assert_eq!(disk.flush(), Ok(()), "[chain] there is nothing to flush");
    assert_eq!(file.changes(), 0, "[untouched] a reader changed the file");
}
