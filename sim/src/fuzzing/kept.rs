//! What a killed device has kept is believed only where it can be true.
//!
//! A panic begins with the checker's name in brackets, as in `open`.

use super::open;
use super::picture::Scene;
use model::image::SECTOR;
use ploop_core::delta::{Body, LoadedDelta};
use ploop_core::format::InUse;
use ploop_core::units::{Clu, Sector, Sectors};
use ploop_core::{Device, Kept, OpenError, Options, VisibleMap};

/// Slots as somebody says that they were.
#[derive(Debug)]
struct Slots(Vec<u32>);

impl VisibleMap for Slots {
    fn set(&self, _: Clu, _: u32) {}
    fn get(&self, clu: Clu) -> u32 {
        self.0[clu.0 as usize]
    }
    fn set_poisoned(&self) {}
    fn is_poisoned(&self) -> bool {
        false
    }
}

/// Slots that differ from those of the file in one entry; the file as it is, and as if it had been left in use.
pub(super) fn run(scene: &Scene, deltas: &[LoadedDelta]) {
    one_entry(scene, deltas);
    let mut left = deltas.to_vec();
    if let Some(Body::Expanded(image)) = left.last_mut().map(|top| &mut top.body) {
        image.header.in_use = InUse::InUse;
        image.settled = false;
        one_entry(scene, &left);
    }
}

fn one_entry(scene: &Scene, deltas: &[LoadedDelta]) {
    let Some(image) = deltas.last().and_then(|top| top.expanded()) else {
        return;
    };
    let options = open::options(scene, true, deltas);
    if image.bat.is_empty() || Device::check(deltas, &options).is_err() {
        return;
    }
    let opened = Device::open(deltas.to_vec(), options);
    let refused = matches!(opened, Err(OpenError::NotSettled { .. }));
    assert_eq!(
        refused, !image.settled,
        "[kept] opened without being settled"
    );

    let recover = |slots: &[u32], options: Options| {
        let kept = Kept::Recovered(Box::new(Slots(slots.to_vec())));
        Device::open_kept(deltas.to_vec(), options, kept)
    };
    assert!(
        recover(&image.bat, options).is_ok(),
        "[kept] the same slots"
    );
    let layout = &image.layout;
    let sectors = deltas.last().map_or(0, |top| top.file_len / SECTOR);
    let end = layout.hosts_touching(Sector(0), Sectors(sectors)).end;
    let in_use = image.header.in_use == InUse::InUse;
    let mut slots = image.bat.clone();
    for other in 0..slots.len().min(8) {
        let (clu, old) = (slots.len().min(8) - 1 - other, image.bat[other]);
        for entry in [0, 1, old, u32::MAX - 1] {
            slots[clu] = entry;
            let found = recover(&slots, options);
            let beyond = layout.host_of(entry).is_some_and(|host| host.0 >= end);
            let taken = entry != 0 && image.bat.contains(&entry);
            let differs = entry != image.bat[clu];
            if differs && (!in_use || beyond || taken) {
                let refused = matches!(found, Err(OpenError::Recovered { .. }));
                assert!(refused, "[kept] slot {clu} as {entry}: {:?}", found.err());
            }
            let read = Options {
                write: false,
                ..options
            };
            assert!(recover(&slots, read).is_ok(), "[kept] asked by a reader");
            slots[clu] = image.bat[clu];
        }
    }
}
