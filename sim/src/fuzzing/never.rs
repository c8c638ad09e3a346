//! What must be refused, and the one chain that needs no image, whatever was drawn.
//!
//! A panic begins with the checker's name in brackets, as in `open`.

use super::memory::Memory;
use super::open;
use super::picture::Scene;
use model::image::SECTOR;
use ploop_core::Options;
use ploop_core::delta::{LoadedDelta, chain};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::error::Rule;
use ploop_core::units::{Sector, Sectors};

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
