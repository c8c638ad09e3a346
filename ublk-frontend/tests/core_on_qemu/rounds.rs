//! One image, in turns the core's and QEMU's.

use std::path::Path;

use crate::guest::{Guest, Step};
use crate::support::{qemu, tool};
use crate::{Maker, dir, len_of, make, space_of};

/// Cluster and disk size in sectors. Disks that end with a cluster, inside one, and one sector behind one.
const SHAPES: [(u64, u64); 7] = [
    (1, 1500),
    (8, 8 * 1100 + 3),
    (63, 63 * 40 + 1),
    (128, 128 * 90),
    (504, 504 * 20 + 77),
    (2048, 2048 * 12 + 1000),
    (6144, 6144 * 9 + 1),
];

/// Both say the same, and nothing worse than leaks: QEMU leaves some at the end of the file.
#[track_caller]
fn checks_alike(dir: &Path, on_blocks: bool) {
    let ours = tool(dir, "check a.hdd");
    let theirs = qemu::img(dir, "check -q -f parallels a.hdd");
    let inside = !on_blocks && (ours.code, theirs.code) == (3, 0);
    let alike = ours.code == theirs.code && [0, 3].contains(&ours.code);
    assert!(alike || inside, "{ours:?} {theirs:?}");
}

fn in_turns(maker: Maker, cluster: u64, size: u64, seed: u64) {
    let dir = dir();
    let dir = dir.path();
    make(dir, "a.hdd", maker, cluster, size);
    let mut guest = Guest::new(dir, &["a.hdd"], cluster, size, seed);
    guest.packed = maker == Maker::Packed;
    for _ in 0..3 {
        guest.work(40);
        guest.close();
        guest.qemu_agrees();
        guest.qemu_works(12, &[]);
        checks_alike(dir, cluster % 8 == 0 && !guest.packed);
        guest.holds_what_it_should();
    }
    guest.work(10);
    guest.close();
    guest.qemu_agrees();
}

#[test]
fn images_of_qemu_in_turns() {
    for (seed, (cluster, size)) in (1..).zip(SHAPES) {
        in_turns(Maker::Qemu, cluster, size, seed);
    }
}

#[test]
fn images_of_ours_in_turns() {
    for (seed, (cluster, size)) in (100..).zip(SHAPES) {
        in_turns(Maker::Ours, cluster, size, seed);
    }
}

#[test]
fn version_1_images_in_turns() {
    for (seed, (cluster, size)) in (200..).zip(SHAPES) {
        in_turns(Maker::OursV1, cluster, size, seed);
    }
}

#[test]
fn version_1_images_packed_behind_the_bat_in_turns() {
    for (seed, (cluster, size)) in (300..).zip(SHAPES) {
        in_turns(Maker::Packed, cluster, size, seed);
    }
}

/// QEMU 10.0 writes a start of data into these that no cluster starts at. Its own check finds damage in what it wrote itself
/// then; so it has to read the same disk, and the check is ours.
#[test]
fn odd_clusters_behind_a_long_table() {
    let shapes = [(63, 63 * 1100 + 5), (63, 20_480), (3, 20_480), (5, 18_000)];
    for (seed, (cluster, size)) in (400..).zip(shapes) {
        let dir = dir();
        let dir = dir.path();
        make(dir, "a.hdd", Maker::Qemu, cluster, size);
        qemu::io(dir, "parallels", "a.hdd", &["write -P 17 0 100k"]);
        let header = std::fs::read(dir.join("a.hdd")).expect("file");
        let data_off = u32::from_le_bytes([header[48], header[49], header[50], header[51]]);
        assert!(
            !u64::from(data_off).is_multiple_of(cluster),
            "{cluster}: this QEMU does better: {data_off}"
        );
        let mut guest = Guest::new(dir, &["a.hdd"], cluster, size, seed);
        // As QEMU reads it: where its start of data lies inside the first cluster, it writes zeros over that one's data.
        qemu::img_ok(dir, "convert -f parallels -O raw a.hdd theirs");
        guest.holds = std::fs::read(dir.join("theirs")).expect("file");
        assert!(
            guest.holds[50 << 10..100 << 10]
                .iter()
                .all(|byte| *byte == 17)
        );
        guest.packed = true;
        for _ in 0..2 {
            guest.holds_what_it_should();
            guest.work(40);
            guest.close();
            guest.qemu_reads_what_it_should();
            let ours = tool(dir, "check a.hdd");
            assert!([0, 3].contains(&ours.code), "{ours:?}");
        }
    }
}

/// What every kind of request does to mapping and space, seen by QEMU.
#[test]
fn a_script_gives_the_map_and_the_space_that_it_must() {
    let dir = dir();
    let dir = dir.path();
    make(dir, "a.hdd", Maker::Qemu, 128, 128 * 20 + 1);
    let mut guest = Guest::new(dir, &["a.hdd"], 128, 128 * 20 + 1, 7);
    let (fua, unmap) = (false, true);
    for step in [
        Step::Write {
            start: 0,
            len: 128 * 8,
            fua,
        },
        Step::Write {
            start: 128 * 20,
            len: 1,
            fua: true,
        },
        Step::Flush,
        // Clusters 1 to 3 go, the halves of 0 and 4 stay.
        Step::Discard {
            start: 64,
            len: 128 * 4,
        },
        Step::Zeroes {
            start: 128 * 6,
            len: 128 * 2,
            fua,
            unmap,
        },
        // Nothing is allocated for zeros where there is nothing.
        Step::Zeroes {
            start: 128 * 10,
            len: 128 * 4,
            fua: true,
            unmap: false,
        },
        // Given up, and written again: another place, or the same one.
        Step::Discard {
            start: 128 * 20,
            len: 1,
        },
        Step::Write {
            start: 128 * 20,
            len: 1,
            fua: true,
        },
    ] {
        guest.step(step).expect("works");
    }
    guest.close();
    guest.qemu_agrees();
    let map: serde_json::Value =
        serde_json::from_str(&qemu::img_ok(dir, "map -f parallels --output=json a.hdd"))
            .expect("JSON");
    let mapped: Vec<(u64, u64)> = map
        .as_array()
        .expect("a list")
        .iter()
        .filter(|extent| extent["data"] == true)
        .map(|extent| {
            let number = |key: &str| extent[key].as_u64().expect("a number") / 65536;
            (number("start"), number("length"))
        })
        .collect();
    let clusters: Vec<u64> = mapped
        .iter()
        .flat_map(|&(start, len)| start..start + len.max(1))
        .collect();
    assert_eq!(clusters, [0, 4, 5, 20], "{map}");
    // The header's cluster, four of data, and the file system's own blocks at the most. The file itself ends behind the
    // second place of cluster 20.
    assert!(
        space_of(dir, "a.hdd") <= 6 * 65536,
        "{}",
        space_of(dir, "a.hdd")
    );
    assert!(
        len_of(dir, "a.hdd") <= 11 * 65536,
        "{}",
        len_of(dir, "a.hdd")
    );
}

#[test]
fn what_was_only_read_is_not_changed() {
    let dir = dir();
    let dir = dir.path();
    make(dir, "a.hdd", Maker::Qemu, 128, 128 * 20);
    qemu::io(dir, "parallels", "a.hdd", &["write -P 5 70k 300k"]);
    let before = std::fs::read(dir.join("a.hdd")).expect("file");
    let mut guest = Guest::new(dir, &["a.hdd"], 128, 128 * 20, 8);
    guest.holds[70 * 1024..370 * 1024].fill(5);
    guest.holds_what_it_should();
    guest.step(Step::Flush).expect("flushes");
    guest.close();
    assert!(std::fs::read(dir.join("a.hdd")).expect("file") == before);
}
