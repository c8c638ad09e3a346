//! A killed process: what it acknowledged is in the file and in the mirror together.

use super::*;
use crate::bat::mirror::Mirror;
use crate::units::Clu;
use std::collections::BTreeMap;
#[expect(clippy::disallowed_types, reason = "a mirror is outside the core")]
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, Default)]
#[expect(clippy::disallowed_types, reason = "a mirror is outside the core")]
struct Copy(Arc<Mutex<BTreeMap<u32, u32>>>);

impl Mirror for Copy {
    fn set(&self, clu: Clu, entry: u32) {
        self.0.lock().expect("lock").insert(clu.0, entry);
    }
}

/// What a recovering server does: the changes into the BAT of the file.
fn put(file: &Memory, copy: &Copy) {
    for (&clu, &entry) in &*copy.0.lock().expect("lock") {
        let at = 64 + 4 * u64::from(clu);
        file.write_at(at, &entry.to_le_bytes()).expect("written");
    }
}

fn content(file: &Memory, sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; (sectors * SECTOR_BYTES) as usize];
    let mut disk = open(std::slice::from_ref(file), Options::default());
    disk.read(Sector(0), &mut bytes).expect("read");
    bytes
}

#[test]
fn nothing_acknowledged_is_lost_with_the_process() {
    const SECTORS: u64 = 8000;
    let mut lost = 0;
    for seed in 0..8 {
        let file = image(
            if seed % 2 == 0 {
                Version::V1
            } else {
                Version::V2
            },
            8,
            SECTORS,
        );
        let options = Options {
            page_bytes: 512,
            ..Options::default()
        };
        let mut disk = open(std::slice::from_ref(&file), options);
        let copy = Copy::default();
        disk.device.set_mirror(Box::new(copy.clone()));
        let mut expected = vec![0u8; (SECTORS * SECTOR_BYTES) as usize];
        let mut rng = Rng(seed);
        let mut now = 0;
        for step in 0..300 {
            let start = rng.below(SECTORS - 40);
            let len = 1 + rng.below(40);
            let range = (start * 512) as usize..((start + len) * 512) as usize;
            let (at, sectors) = (Sector(start), Sectors(len));
            match rng.below(8) {
                0 => {
                    disk.write_zeroes(at, sectors, false, true).expect("zeroes");
                    expected[range].fill(0);
                }
                1 => {
                    disk.discard(at, sectors).expect("discard");
                    // What it reads now is fixed from now on only because nothing else touches it: take it as it is.
                    disk.read(at, &mut expected[range]).expect("read");
                }
                2 => disk.flush().expect("flush"),
                3 => {
                    now += rng.below(40);
                    disk.tick(Millis(now));
                }
                _ => {
                    let bytes = vec![step as u8 | 1; range.len()];
                    disk.write(at, &bytes, rng.below(10) == 0).expect("write");
                    expected[range].copy_from_slice(&bytes);
                }
            }
        }
        drop(disk);
        lost += u32::from(content(&file, SECTORS) != expected);
        put(&file, &copy);
        assert!(content(&file, SECTORS) == expected, "seed {seed}");
    }
    assert!(
        lost > 0,
        "without the mirror something is lost, or this test shows nothing"
    );
}
