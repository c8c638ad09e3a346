//! Tests of every operation on an image whose extension is given up: one that was not closed and has a broken one, and one
//! whose header leads behind the end of the file. Afterwards no header leads there.

use super::*;
use crate::format::InUse;
use crate::units::Sector;

/// In use, and a byte of the extension is another one: a close was cut while it saved bitmaps.
fn broken() -> Image {
    let mut extension = one_bitmap().finish();
    extension[100] ^= 1;
    let mut image = with_extension(Version::V2, extension);
    image.header.in_use = InUse::InUse;
    image
}

/// Closed, and the header leads to the end of the file, where the next cluster is going to be: QEMU leaves that.
fn dangling() -> Image {
    let mut image = with_extension(Version::V2, one_bitmap().finish());
    image.header.in_use = InUse::Closed0;
    image.header.ext_off = Sector(36);
    image
}

fn check(what: &str, image: &Image, run: impl Fn(&MemFile)) {
    let file = image.file();
    assert!(sound(&file).extension_is_damaged());
    run(&file);
    let found = sound(&file);
    assert!(!found.extension_is_damaged(), "{what}");
    assert_eq!(field(&file, 56), 0, "{what}");
    assert_eq!(found.problem_count, 0, "{what}: {:?}", found.problems);
}

#[test]
fn no_operation_leaves_the_pointer() {
    for (name, image) in [("broken", broken()), ("dangling", dangling())] {
        check(&format!("{name}, compact"), &image, |file| {
            let mut compact = Compact::new(file, NAME).expect("sound");
            while !compact.step(9).expect("moves").finished {}
        });
        check(&format!("{name}, grow"), &image, |file| {
            let grown = grow(file, NAME, Sectors(30)).expect("grows");
            assert!(grown.extension_dropped.is_some());
        });
        check(&format!("{name}, merge"), &image, |file| {
            let upper = Image::sample(Version::V2).file();
            let source = |file, name| Source {
                file,
                name,
                raw: false,
            };
            let mut merge =
                Merge::backward(source(file, NAME), source(&upper, "upper")).expect("fits");
            while !merge.step(9).expect("copies").finished {}
        });
        check(&format!("{name}, moving"), &image, |file| {
            let bytes = file.bytes.borrow()[3 * 2048..4 * 2048].to_vec();
            file.bytes.borrow_mut()[4 * 2048..5 * 2048].copy_from_slice(&bytes);
            let (from, to) = (DstClu(3), DstClu(4));
            let before = load(file, NAME).expect("sound");
            let bat = &before.expanded().expect("an image").bat;
            let clu = bat.iter().position(|&entry| entry == 3).expect("mapped");
            let clu = Clu(clu as u32);
            assert_eq!(
                update_index(file, NAME, &[SlotMove { clu, from, to }]).expect("moves"),
                1
            );
        });
    }
    check("broken, grow to what it is", &broken(), |file| {
        assert_eq!(grow(file, NAME, Sectors(24)).expect("no change").moved, 0);
    });
    check("broken, settled", &broken(), |file| {
        let mut top = load(file, NAME).expect("sound");
        assert!(settle(file, &mut top).expect("settled"));
        file.bytes.borrow_mut()[44..48].copy_from_slice(&[0; 4]);
    });
}
