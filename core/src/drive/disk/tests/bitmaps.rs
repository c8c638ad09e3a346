//! Dirty bitmaps of an image that is written: kept right, saved at a close, lost without one.

use super::*;
use crate::control::files::{Change, change_bitmaps, grow};
use crate::delta::ExtensionState;
use crate::format::{DirtyBitmap, InUse};
use crate::load::tests::Random;

const ID: [u8; 16] = [3; 16];
const OTHER: [u8; 16] = [4; 16];

fn start(file: &Memory, id: [u8; 16], granularity: u32) {
    let change = Change::Start { id, granularity };
    change_bitmaps(file, "memory", change).expect("starts");
}

fn bitmaps(file: &Memory) -> (ExtensionState, Vec<DirtyBitmap>) {
    let loaded = load::load(file, "memory").expect("loads");
    let image = loaded.expanded().expect("an image").clone();
    (image.extension, image.bitmaps)
}

/// The only bitmap, which counts.
fn valid(file: &Memory) -> DirtyBitmap {
    let (state, mut bitmaps) = bitmaps(file);
    assert_eq!((state, bitmaps.len()), (ExtensionState::Valid, 1));
    bitmaps.remove(0)
}

fn ranges(bitmap: &DirtyBitmap) -> Vec<(u64, u64)> {
    let ranges = bitmap.ranges();
    ranges.map(|(start, len)| (start.0, len.0)).collect()
}

fn header(file: &Memory) -> (u32, u64) {
    let bytes = file.0.borrow();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (word(44), u64::from(word(56)))
}

#[test]
fn what_is_written_is_dirty_after_a_close_and_adds_up() {
    for version in [Version::V1, Version::V2] {
        let file = image(version, 4, 400);
        start(&file, ID, 1);
        assert_eq!(ranges(&valid(&file)), []);
        let mut disk = open(std::slice::from_ref(&file), Options::default());
        disk.write(Sector(9), &[1; 1024], false).expect("writes");
        disk.discard(Sector(100), Sectors(3)).expect("discards");
        assert_eq!(header(&file).0, InUse::InUse.raw());
        assert_eq!(bitmaps(&file).1, []);
        disk.close().expect("closes");
        assert_eq!(ranges(&valid(&file)), [(9, 2), (100, 3)]);
        let mut disk = open(std::slice::from_ref(&file), Options::default());
        disk.write_zeroes(Sector(11), Sectors(2), true, false)
            .expect("writes");
        disk.close().expect("closes");
        assert_eq!(ranges(&valid(&file)), [(9, 4), (100, 3)]);
        assert_eq!(header(&file).0, InUse::ClosedV21.raw());
        let mut back = [0; 1024];
        let mut disk = open(std::slice::from_ref(&file), Options::default());
        disk.read(Sector(9), &mut back).expect("reads");
        assert_eq!(back, [1; 1024]);
    }
}

#[test]
fn a_disk_that_was_only_read_keeps_its_bitmap_byte_for_byte() {
    let file = image(Version::V2, 4, 400);
    start(&file, ID, 2);
    let before = file.0.borrow().clone();
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.read(Sector(0), &mut [0; 512]).expect("reads");
    disk.close().expect("closes");
    assert!(*file.0.borrow() == before);
}

#[test]
fn a_killed_disk_has_no_bitmap_any_more() {
    let file = image(Version::V2, 4, 400);
    start(&file, ID, 2);
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(9), &[1; 512], true).expect("writes");
    drop(disk);
    assert!(matches!(bitmaps(&file), (ExtensionState::Ignored { .. }, list) if list.is_empty()));
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(9), &[1; 512], true).expect("writes");
    disk.close().expect("closes");
    assert_eq!(header(&file).0, 0);
    assert_eq!(bitmaps(&file).1, []);
}

#[test]
fn the_extension_stays_behind_the_data_and_what_it_leaves_is_zeros() {
    let file = image(Version::V2, 4, 400);
    start(&file, ID, 1);
    for round in 0..5u64 {
        let mut disk = open(std::slice::from_ref(&file), Options::default());
        disk.write(Sector(20 * round), &[7; 8 * 512], false)
            .expect("writes");
        disk.close().expect("closes");
        let loaded = load::load(&file, "memory").expect("loads");
        let image = loaded.expanded().expect("an image");
        let used = |host: u32| image.bat.contains(&host);
        let last = image.bat.iter().max().expect("entries");
        let first = image.layout.first_host().0;
        let reserved: Vec<u32> = image.reserved.iter().map(|host| host.0).collect();
        assert_eq!(reserved, [last + 1, last + 2], "round {round}");
        let bytes = file.0.borrow();
        assert_eq!(bytes.len(), (last + 3) as usize * 2048);
        for host in (first..*last).filter(|&host| !used(host)) {
            assert!(
                bytes[host as usize * 2048..][..2048]
                    .iter()
                    .all(|&byte| byte == 0)
            );
        }
    }
}

#[test]
fn bitmaps_are_started_stopped_and_cleared() {
    let file = image(Version::V2, 4, 400);
    let length = file.0.borrow().len();
    start(&file, ID, 1);
    start(&file, OTHER, 8);
    let again = Change::Start {
        id: ID,
        granularity: 1,
    };
    let change = |change| change_bitmaps(&file, "memory", change);
    assert!(change(again).is_err() && change(Change::Stop { id: [9; 16] }).is_err());
    let odd = Change::Start {
        id: [9; 16],
        granularity: 3,
    };
    assert!(change(odd).is_err());
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(9), &[1; 512], false).expect("writes");
    disk.close().expect("closes");
    change(Change::Clear { id: ID }).expect("clears");
    let (_, both) = bitmaps(&file);
    assert_eq!([ranges(&both[0]), ranges(&both[1])], [vec![], vec![(8, 8)]]);
    change(Change::Stop { id: ID }).expect("stops");
    assert_eq!(valid(&file).id(), OTHER);
    change(Change::Stop { id: OTHER }).expect("stops");
    assert_eq!(bitmaps(&file).0, ExtensionState::None);
    assert_eq!(header(&file), (0, 0));
    // The data went behind the extension that was there; its place is a hole now.
    assert_eq!(file.0.borrow().len(), length + 2 * 2048);
}

#[test]
fn a_grown_disk_is_dirty_where_it_is_new() {
    let file = image(Version::V2, 1, 100);
    start(&file, ID, 4);
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(9), &[1; 512], false).expect("writes");
    disk.close().expect("closes");
    let grown = grow(&file, "memory", Sectors(1001)).expect("grows");
    assert_eq!((grown.bitmaps, grown.extension_dropped), (1, None));
    let bitmap = valid(&file);
    assert_eq!(bitmap.size(), Sectors(1001));
    assert_eq!(ranges(&bitmap), [(8, 4), (100, 901)]);
}

#[test]
fn no_bitmap_is_put_where_its_place_means_something_else() {
    // Clusters of one sector, and the first of them is sector 1.
    let file = image(Version::V2, 1, 100);
    start(&file, ID, 1);
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(9), &[1; 512], false).expect("writes");
    disk.discard(Sector(9), Sectors(1)).expect("discards");
    disk.close().expect("closes");
    assert_eq!(ranges(&valid(&file)), [(9, 1)]);
    start(&file, OTHER, 1);
    assert_eq!(ranges(&bitmaps(&file).1[0]), [(9, 1)]);
}

#[test]
fn any_writes_are_marked() {
    let mut random = Random(5);
    for round in 0..60 {
        let (cluster, size) = (1 + random.below(8), 1 + random.below(500));
        let version = [Version::V1, Version::V2][round % 2];
        let file = image(version, cluster, size);
        start(&file, ID, 1 << random.below(4));
        let mut dirty = vec![false; size as usize];
        for _ in 0..3 {
            let mut disk = open(std::slice::from_ref(&file), Options::default());
            for _ in 0..random.below(6) {
                let at = random.below(size);
                let len = 1 + random.below(size - at);
                dirty[at as usize..(at + len) as usize].fill(true);
                let (at, len) = (Sector(at), Sectors(len));
                match random.below(3) {
                    0 => disk.discard(at, len),
                    1 => disk.write_zeroes(at, len, false, true),
                    _ => disk.write(at, &vec![9; len.bytes() as usize], false),
                }
                .expect("changes");
            }
            disk.close().expect("closes");
        }
        let bitmap = valid(&file);
        for (sector, _) in (0..).zip(&dirty).filter(|(_, dirty)| **dirty) {
            assert!(bitmap.is_dirty(Sector(sector)), "sector {sector}");
        }
        let found = load::inspect(&file, "memory").expect("an image");
        assert_eq!(found.problem_count, 0, "{:?}", found.problems);
    }
}

/// Its clusters were nobody's already when the device was opened, and keep no place behind the data.
#[test]
fn a_close_cuts_the_file_before_an_extension_that_is_forgotten() {
    let file = image(Version::V2, 4, 400);
    start(&file, ID, 1);
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(9), &[1; 1024], false).expect("writes");
    disk.close().expect("closes");
    let (_, at) = header(&file);
    let entry = at as usize * 512 + 24 + 24 + 32;
    file.0.borrow_mut()[entry..entry + 8].copy_from_slice(&0xFFFF_u64.to_le_bytes());
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(9), &[2; 512], false).expect("writes");
    disk.close().expect("closes");
    assert_eq!(header(&file), (InUse::Closed0.raw(), 0));
    let loaded = load::load(&file, "memory").expect("loads");
    let image = loaded.expanded().expect("an image");
    let last = image
        .bat
        .iter()
        .filter_map(|&entry| image.layout.host_of(entry));
    let last = last.max().expect("something is mapped");
    let end = image.layout.host_sector(last).after(image.layout.cluster);
    assert_eq!(loaded.file_len, end.bytes());
}
