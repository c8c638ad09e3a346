//! The process dies, the machine goes on: what was flushed is there, the image opens, and goes on.

use crate::guest::{Guest, Step};
use crate::support::{qemu, tool};
use crate::{Maker, dir, make};

/// Every sector of `disk` is what one of `states` holds there.
#[track_caller]
fn is_mix_of(disk: &[u8], states: &[Vec<u8>]) {
    for (index, sector) in disk.chunks(512).enumerate() {
        let at = index * 512..index * 512 + sector.len();
        assert!(
            states.iter().any(|state| state[at.clone()] == *sector),
            "sector {index} holds neither what was flushed nor what was written later"
        );
    }
}

#[test]
fn a_killed_core_loses_nothing_that_was_flushed() {
    for (seed, (maker, cluster, size)) in (2000..).zip([
        (Maker::Qemu, 1, 900),
        (Maker::Ours, 8, 4001),
        (Maker::OursV1, 128, 128 * 40 + 5),
        (Maker::Packed, 128, 128 * 40),
        (Maker::Qemu, 2048, 2048 * 9 + 1),
    ]) {
        let dir = dir();
        let dir = dir.path();
        make(dir, "a.hdd", maker, cluster, size);
        let mut guest = Guest::new(dir, &["a.hdd"], cluster, size, seed);
        guest.packed = maker == Maker::Packed;
        for _ in 0..3 {
            guest.work(15);
            let fua = true;
            guest
                .step(Step::Write {
                    start: 3,
                    len: 5,
                    fua,
                })
                .expect("writes");
            guest.step(Step::Flush).expect("flushes");
            let mut states = vec![guest.holds.clone()];
            while states.len() < 12 {
                let step = guest.some_step();
                if !matches!(step, Step::Reopen) {
                    guest.step(step).expect("works");
                    states.push(guest.holds.clone());
                }
            }
            guest.kill();
            assert_eq!(qemu::img(dir, "check -q -f parallels a.hdd").code, 2);
            assert_eq!(tool(dir, "check a.hdd").code, 2);
            qemu::img_ok(dir, "convert -f parallels -O raw a.hdd theirs.raw");
            let theirs = std::fs::read(dir.join("theirs.raw")).expect("raw file");
            is_mix_of(&theirs[..guest.holds.len()], &states);
            guest.holds = theirs[..guest.holds.len()].to_vec();
            guest.holds_what_it_should();
        }
        guest.work(10);
        guest
            .step(Step::Write {
                start: 0,
                len: 1,
                fua: false,
            })
            .expect("writes");
        guest.close();
        guest.qemu_agrees();
    }
}

#[test]
fn an_image_that_a_killed_qemu_left_goes_on_with_us() {
    for (seed, (cluster, size)) in (3000..).zip([(8, 4001), (128, 5000), (2048, 2048 * 6 + 9)]) {
        let dir = dir();
        let dir = dir.path();
        make(dir, "a.hdd", Maker::Qemu, cluster, size);
        let mut guest = Guest::new(dir, &["a.hdd"], cluster, size, seed);
        for _ in 0..3 {
            // What is flushed has to be there. What comes after is lost: QEMU writes its table with the flush.
            let lost = format!("write -P 99 {} 512", (size - 1) * 512);
            let survived = guest.qemu_works(10, &["flush", &lost, "sigraise 9"]);
            assert!(!survived);
            let last = guest.holds.len() - 512;
            let all = guest.read_all();
            assert!(all[..last] == guest.holds[..last]);
            is_mix_of(
                &all[last..],
                &[guest.holds[last..].to_vec(), vec![99; 512], vec![0; 512]],
            );
            guest.holds = all;
            guest.kill();
            assert_eq!(qemu::img(dir, "check -q -f parallels a.hdd").code, 2);
            assert_eq!(tool(dir, "check a.hdd").code, 2);
            guest.work(20);
            guest
                .step(Step::Write {
                    start: 0,
                    len: 1,
                    fua: false,
                })
                .expect("writes");
            guest.close();
            guest.qemu_agrees();
        }
    }
}
