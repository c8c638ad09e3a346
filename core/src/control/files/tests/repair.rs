//! Tests of [`repair`]: what is mended, what is kept, and what is refused.

use super::*;

fn repaired(image: &Image) -> (MemFile, Vec<String>) {
    let file = image.file();
    let done = repair(&file, NAME).expect("mends");
    assert!(done.sound && done.left.is_empty(), "{done:?}");
    assert!(!sound(&file).is_corrupt());
    let again = file.bytes.borrow().clone();
    assert_eq!(repair(&file, NAME).expect("sound").count, 0);
    assert_eq!(*file.bytes.borrow(), again, "a sound image was touched");
    (file, done.fixes.iter().map(ToString::to_string).collect())
}

#[test]
fn repair_tells_each_slot_and_what_it_held() {
    let mut image = Image::sample(Version::V2);
    image.bat = vec![3, 3, 99, u32::MAX, 0, 2];
    image.len -= 2048;
    let (file, fixes) = repaired(&image.patch(3 * 2048, [3; 2048]));
    assert_eq!(
        fixes,
        [
            "BAT[2] = 0x63: led nowhere, now 0",
            "BAT[3] = 0xffffffff: led nowhere, now 0",
            "BAT[1] = 0x3: shared, copied to 0x1",
        ]
    );
    assert_eq!((entry(&file, 0), entry(&file, 1)), (3, 1));
    assert_eq!((byte(&file, 4), byte(&file, 12)), (3, 3));
}

#[test]
fn repair_keeps_what_a_cut_file_still_has() {
    let mut image = Image::sample(Version::V2);
    image.bat = vec![1, 0, 0, 0, 0, 0];
    image.len = 4 * 512 + 600;
    let (file, fixes) = repaired(&image.patch(4 * 512, [1; 600]));
    assert_eq!(fixes, ["file length = 2648: now 4096"]);
    assert_eq!(file.bytes.borrow()[4 * 512 + 599..4 * 512 + 601], [1, 0]);
}

/// Nobody can read a damaged extension, and QEMU does not open an image that has one: pointer and space are given back,
/// whatever the mark says.
#[test]
fn repair_drops_a_damaged_extension() {
    use crate::format::InUse;
    let spoiled = |at: usize| {
        let mut extension = one_bitmap().finish();
        extension[at] ^= 1;
        extension
    };
    for extension in [spoiled(0), spoiled(9), spoiled(100), vec![0; 2048]] {
        for in_use in [InUse::ClosedV21, InUse::Closed0, InUse::InUse] {
            let mut image = with_extension(Version::V2, extension.clone());
            image.header.in_use = in_use;
            let found = image.inspect().expect("an image");
            assert!(!found.problems.is_empty() && !found.is_corrupt());
            let (file, fixes) = repaired(&image);
            assert!(
                fixes.contains(&"m_FormatExtensionOffset = 24: now 0".to_owned()),
                "{fixes:?}"
            );
            // The mark, the low word of the pointer, and the length: nothing is behind the third cluster.
            let fields = [44, 56].map(|at| field(&file, at));
            assert_eq!((fields, *file.len.borrow()), ([0, 0], 4 * 2048));
            let found = sound(&file);
            assert_eq!((found.problem_count, found.leaked.len()), (0, 0));
        }
    }
}

/// An image that somebody wrote to who does not keep bitmaps: they are stale, but they can be read.
#[test]
fn repair_keeps_a_sound_extension() {
    use crate::format::InUse;
    for in_use in [InUse::ClosedV21, InUse::Closed0] {
        let mut image = with_extension(Version::V2, one_bitmap().finish());
        image.header.in_use = in_use;
        image.len = 7 * 2048;
        let file = image.file();
        let before = file.bytes.borrow().clone();
        assert_eq!(repair(&file, NAME).expect("sound").count, 0);
        assert_eq!(*file.bytes.borrow(), before);
    }
}

/// QEMU takes entries that are 0 for clusters beyond the end of the file, if that is shorter than one cluster.
#[test]
fn no_file_is_cut_below_one_cluster() {
    let empty = || {
        let mut image = Image::new(Version::V1, 8, 80, 0);
        image.header.data_off = 0;
        image.len = 9 * 512;
        image
    };
    let (file, fixes) = repaired(&empty());
    assert_eq!((fixes.len(), *file.len.borrow()), (1, 8 * 512), "{fixes:?}");
    let file = empty().patch(512, [1; 7 * 512]).file();
    assert!(repair(&file, NAME).expect("mends").sound);
    assert_eq!((byte(&file, 7), *file.len.borrow()), (0, 8 * 512));
    let file = empty().file();
    let mut compact = Compact::new(&file, NAME).expect("sound");
    assert!(compact.step(1).expect("a step").finished);
    assert_eq!(*file.len.borrow(), 8 * 512);
}

#[test]
fn repair_never_loses_mapped_clusters_to_a_wrong_size() {
    // The size says two clusters; the last slot is mapped.
    let mut image = Image::sample(Version::V2);
    image.bat = vec![0, 0, 0, 0, 1, 0];
    image.len = 2 * 2048;
    image.header.size = Sectors(5);
    let (file, fixes) = repaired(&image);
    assert_eq!(fixes, ["m_SizeInSectors = 5: now 20", "m_Size = 6: now 5"]);
    assert_eq!((field(&file, 32), field(&file, 36)), (5, 20));
    // The BAT says less than the disk has, but its slots are still there.
    let mut image = Image::sample(Version::V2);
    image.len -= 2048;
    let bytes = image.header.entries;
    image.header.entries = 3;
    let (file, fixes) = repaired(&image);
    assert_eq!(fixes, ["m_Size = 3: now 6"]);
    assert_eq!((field(&file, 32), entry(&file, 4)), (bytes, 2));
}

#[test]
fn repair_refuses_what_it_must_not_touch() {
    use crate::format::InUse;
    for in_use in [InUse::InUse, InUse::Closed0, InUse::ClosedV21] {
        let mut image = Image::sample(Version::V2);
        image.header.flags = 3;
        image.header.in_use = in_use;
        let file = image.file();
        let before = file.bytes.borrow().clone();
        let refused = repair(&file, NAME).expect_err("converting");
        assert!(refused.to_string().contains("a conversion"), "{refused}");
        assert_eq!(*file.bytes.borrow(), before);
    }
}

/// m_Size is one number for two things: where the BAT ends, and how large the disk is. If it alone is wrong, the virtual
/// size and the start of data both say so.
#[test]
fn repair_does_not_believe_a_wrong_m_size() {
    for version in [Version::V1, Version::V2] {
        for wrong in [113, 200, 300, 111, 5, 0] {
            let file = tight(version);
            let sound = file.bytes.borrow().clone();
            file.bytes.borrow_mut()[32..36].copy_from_slice(&u32::to_le_bytes(wrong));
            let done = repair(&file, NAME).expect("mends");
            assert!(done.sound, "{done:?}");
            assert_eq!(
                done.fixes.first().map(ToString::to_string),
                Some(format!("m_Size = {wrong}: now 112"))
            );
            // But for the tail, and the free cluster, nothing else is touched.
            let (found, from) = (file.bytes.borrow(), 512);
            assert_eq!(found[..from], sound[..from], "{version:?}, {wrong}");
            assert_eq!(found[from..][..512], sound[from..][..512]);
            assert_eq!(found[3 * 512..][..512], sound[3 * 512..][..512]);
        }
    }
}

/// Where nothing says where data starts (version 1), the entries do: data begins behind the BAT.
#[test]
fn repair_asks_the_entries_where_the_bat_ends() {
    let packed = |entries: u32| {
        let mut image = Image::new(Version::V1, 4, 4 * 112, 0);
        image.header.data_off = 0;
        image.header.entries = entries;
        image.bat[0] = 1;
        image.bat[111] = 5;
        image.len = 9 * 512;
        (image.patch(512, [1; 2048]).patch(5 * 512, [5; 2048])).file()
    };
    for wrong in [0, 100, 113, 500] {
        let file = packed(wrong);
        let done = repair(&file, NAME).expect("mends");
        assert!(done.sound, "{done:?}");
        assert_eq!((field(&file, 32), field(&file, 36)), (112, 448), "{wrong}");
        assert_eq!((entry(&file, 0), entry(&file, 111)), (1, 5));
        assert_eq!((byte(&file, 1), byte(&file, 8)), (1, 5));
    }
    // The size is wrong, and too large: the same entry says that its slots would be data.
    let file = packed(112);
    file.bytes.borrow_mut()[36..40].copy_from_slice(&u32::to_le_bytes(4 * 200));
    repair(&file, NAME).expect("mends");
    assert_eq!((field(&file, 32), field(&file, 36)), (112, 448));
    assert_eq!((byte(&file, 1), byte(&file, 8)), (1, 5));
}

/// Two fields are wrong: which of the three to believe is not for a program to say.
#[test]
fn repair_does_not_guess() {
    let file = tight(Version::V2);
    file.bytes.borrow_mut()[32..36].copy_from_slice(&u32::to_le_bytes(200));
    file.bytes.borrow_mut()[48..52].copy_from_slice(&u32::to_le_bytes(u32::MAX));
    let before = file.bytes.borrow().clone();
    let refused = repair(&file, NAME).expect_err("which?").to_string();
    assert!(refused.contains("m_FirstBlockOffset"), "{refused}");
    assert_eq!(*file.bytes.borrow(), before);
}

/// A BAT as long as the disk needs, which no reader would take any more.
#[test]
fn repair_makes_no_bat_that_is_too_long() {
    let mut image = Image::new(Version::V2, 1, 100, 0);
    image.header.size = Sectors(1 << 29);
    image.header.data_off = (1 << 22) + 1;
    let file = image.file();
    *file.len.borrow_mut() = ((1 << 22) + 1) * 512;
    let done = repair(&file, NAME).expect("mends");
    assert!(done.sound, "{done:?}");
    assert_eq!((field(&file, 32), field(&file, 36)), (100, 100));
}
