//! Tests of the operations on files: what each does to bytes, and what it refuses. Crashes and faults are the simulator's.

mod given_up;
mod repair;

use super::*;
use crate::error::{Field, Rule};
use crate::format::Version;
use crate::load::tests::extension::{image as with_extension, one_bitmap};
use crate::load::tests::{Image, MemFile};
use crate::load::{Inspection, inspect, load};
use crate::units::{Clu, DstClu, Sectors};

const NAME: &str = "test.hds";

fn entry(file: &MemFile, slot: usize) -> u32 {
    let bytes = file.bytes.borrow();
    let at = 64 + 4 * slot;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn byte(file: &MemFile, sector: u64) -> u8 {
    file.bytes.borrow()[(sector * 512) as usize]
}

fn field(file: &MemFile, at: usize) -> u32 {
    let bytes = file.bytes.borrow();
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Clusters of one sector: 112 entries fill the first, so one more moves what lies behind. Hosts 1..=4 are filled with
/// their number; guest 0 maps host 1 and guest 111 host 3.
fn tight(version: Version) -> MemFile {
    let mut image = Image::new(version, 1, 112, 4);
    image.bat[0] = 1;
    image.bat[111] = 3;
    for host in 1..=4u8 {
        image = image.patch(u64::from(host) * 512, [host; 512]);
    }
    image.file()
}

fn sound(file: &MemFile) -> Inspection {
    load(file, NAME).expect("sound");
    inspect(file, NAME).expect("an image")
}

#[test]
fn growing_moves_what_is_in_the_way_and_zeroes_the_new_slots() {
    for version in [Version::V1, Version::V2] {
        let file = tight(version);
        let grown = grow(&file, NAME, Sectors(113)).expect("grows");
        assert_eq!(
            (grown.from, grown.to, grown.moved),
            (Sectors(112), Sectors(113), 1)
        );
        assert_eq!(
            (entry(&file, 0), entry(&file, 111), entry(&file, 112)),
            (2, 3, 0)
        );
        assert_eq!((byte(&file, 1), byte(&file, 2), byte(&file, 3)), (0, 1, 3));
        // m_Size, m_SizeInSectors, m_DiskInUse, m_FirstBlockOffset.
        let fields = [32, 36, 44, 48].map(|at| field(&file, at));
        assert_eq!(fields, [113, 113, 0, 2]);
        assert!(!sound(&file).is_corrupt());
    }
}

#[test]
fn stale_clusters_do_not_become_mappings() {
    let file = tight(Version::V2);
    // Host 2 is free, and full of twos.
    let grown = grow(&file, NAME, Sectors(112 + 128 + 1)).expect("grows");
    assert_eq!(grown.moved, 1);
    assert_eq!((byte(&file, 1), byte(&file, 2)), (0, 0));
    assert_eq!(sound(&file).allocated, 2);
}

#[test]
fn bytes_behind_the_last_slot_and_behind_the_disk_become_zeros() {
    let mut image = Image::new(Version::V2, 4, 6, 2);
    image.bat[1] = 1;
    let at = 64 + 4 * 2;
    let file = image
        .patch(at, [0xAA; 100])
        .patch(4 * 512, [7; 4 * 512])
        .file();
    grow(&file, NAME, Sectors(12)).expect("grows");
    assert_eq!(entry(&file, 2), 0);
    assert_eq!([4, 5, 6, 7].map(|sector| byte(&file, sector)), [7, 7, 0, 0]);
    assert!(!sound(&file).is_corrupt());
}

#[test]
fn growing_to_the_same_size_is_no_change_and_shrinking_is_refused() {
    let file = tight(Version::V2);
    let before = file.bytes.borrow().clone();
    assert_eq!(grow(&file, NAME, Sectors(112)).expect("the same").moved, 0);
    let refused = grow(&file, NAME, Sectors(111)).expect_err("smaller");
    assert_eq!(
        refused.to_string(),
        "test.hds: m_SizeInSectors = 112: cannot become 111 sectors, images are not made smaller"
    );
    assert_eq!(*file.bytes.borrow(), before);
}

#[test]
fn limits_of_the_format_are_refused() {
    let rule = |version, size| {
        let file = tight(version);
        let before = file.bytes.borrow().clone();
        let refused = grow(&file, NAME, Sectors(size)).expect_err("too large");
        assert_eq!(*file.bytes.borrow(), before);
        match refused.refusal() {
            Some(Refusal::Format(problem)) => (problem.field, problem.rule),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        rule(Version::V1, 1 << 32),
        (Field::VirtualSize, Rule::SizeLimit)
    );
    // Header and BAT stand before it, and entries are sectors.
    let file = Image::new(Version::V1, 2048, 2048, 0).file();
    let refused = grow(&file, NAME, Sectors((1 << 32) - 1)).expect_err("too large");
    let Some(Refusal::Format(problem)) = refused.refusal() else {
        panic!("{refused}");
    };
    assert_eq!(problem.rule, Rule::SizeLimit);
    for size in [1 << 29, 1 << 32, 1 << 62, u64::MAX] {
        assert_eq!(
            rule(Version::V2, size),
            (Field::Entries, Rule::EntriesLimit)
        );
    }
}

/// 2^29 entries take 2 GiB: all of it in 64 bits (catalogue D36).
#[test]
fn a_large_bat_is_computed_in_64_bits() {
    let image = Image::new(Version::V2, 1 << 20, 1 << 20, 0).expanded();
    let size = Sectors((1 << 20) * ((1 << 29) - 1));
    let (layout, field) =
        super::grow::grown_layout(&image.header, &image.layout, size).expect("fits");
    // ceil((64 + 4 * (2^29 - 1)) / 2^29) clusters of 2^20 sectors.
    assert_eq!((field, layout.data_start.0), (5 << 20, 5 << 20));
    assert_eq!((layout.entries, layout.size), ((1 << 29) - 1, size));
}

#[test]
fn an_image_that_is_not_sound_is_refused_and_not_written() {
    let mut image = Image::sample(Version::V2);
    image.bat[0] = image.bat[1];
    let file = image.file();
    let before = file.bytes.borrow().clone();
    let source = Source {
        file: &file,
        name: NAME,
        raw: false,
    };
    assert!(matches!(
        grow(&file, NAME, Sectors(100)),
        Err(ControlError::Load(_))
    ));
    assert!(matches!(
        Merge::forward(source, source),
        Err(ControlError::Load(_))
    ));
    assert!(matches!(
        Compact::new(&file, NAME),
        Err(ControlError::Load(_))
    ));
    assert!(matches!(
        update_index(&file, NAME, &[]),
        Err(ControlError::Load(_))
    ));
    assert_eq!(*file.bytes.borrow(), before);
}

#[test]
fn deltas_that_do_not_fit_are_not_merged() {
    let one = Image::sample(Version::V2).file();
    let refuse = |lower: &MemFile, upper: &MemFile| {
        let of = |file| Source {
            file,
            name: NAME,
            raw: false,
        };
        let forward = Merge::forward(of(lower), of(upper)).expect_err("refused");
        let backward = Merge::backward(of(lower), of(upper)).expect_err("refused");
        assert_eq!(forward.to_string(), backward.to_string());
        forward.to_string()
    };
    let other = Image::new(Version::V2, 8, 24, 0).file();
    assert!(refuse(&other, &one).contains("m_Sectors = 8: all deltas of a chain"));
    let larger = Image::new(Version::V2, 4, 28, 0).file();
    assert!(refuse(&larger, &one).contains("m_Size = 7: a lower delta"));
    let ragged = Image::new(Version::V2, 4, 23, 0).file();
    assert_eq!(
        refuse(&one, &ragged),
        "test.hds: m_SizeInSectors = 24: the disk above it ends at 23, and the rest would become part of the disk"
    );
}

#[test]
fn a_merge_goes_step_by_step_and_can_be_cancelled() {
    let lower = Image::sample(Version::V2).patch(4 * 512, [5; 512]).file();
    let upper = Image::new(Version::V1, 4, 24, 0).file();
    let source = |file| Source {
        file,
        name: NAME,
        raw: false,
    };
    let mut merge = Merge::forward(source(&lower), source(&upper)).expect("fits");
    assert_eq!(merge.progress().total, 3);
    let first = merge.step(1).expect("a step");
    assert_eq!((first.done, first.finished), (1, false));
    merge.cancel().expect("ends");
    assert_eq!((sound(&upper).allocated, field(&upper, 44)), (1, 0));
    let mut merge = Merge::forward(source(&lower), source(&upper)).expect("fits");
    assert_eq!(merge.progress().total, 2);
    assert!(merge.step(9).expect("a step").finished);
    let over = merge.step(1).expect_err("over");
    assert_eq!(over.refusal(), Some(Refusal::Over));
    assert_eq!(sound(&upper).allocated, 3);
    assert_eq!(byte(&upper, u64::from(entry(&upper, 2))), 5);
}

#[test]
fn slots_move_only_to_free_copies() {
    let mut image = Image::sample(Version::V2);
    image = image.patch(3 * 2048, [9; 2048]).patch(4 * 2048, [9; 2048]);
    let file = image.file();
    let step = |clu, from, to| SlotMove {
        clu: Clu(clu),
        from: DstClu(from),
        to: DstClu(to),
    };
    let refuse = |moves: &[SlotMove]| {
        let before = file.bytes.borrow().clone();
        let refused = update_index(&file, NAME, moves).expect_err("refused");
        assert_eq!(*file.bytes.borrow(), before);
        refused.to_string()
    };
    assert!(refuse(&[step(6, 3, 4)]).contains("BAT[6]: there is no such slot"));
    assert!(refuse(&[step(1, 3, 4), step(1, 3, 4)]).contains("named twice"));
    assert!(refuse(&[step(1, 2, 4)]).contains("BAT[1] = 3: must be 2 or"));
    assert!(refuse(&[step(1, 3, 1)]).contains("belongs to another slot"));
    assert!(refuse(&[step(1, 3, 0)]).contains("not a whole cluster"));
    assert!(refuse(&[step(1, 3, 5)]).contains("not a whole cluster"));
    assert!(refuse(&[step(2, 1, 4)]).contains("does not read as"));
    assert!(refuse(&[step(1, 3, 4), step(4, 2, 4)]).contains("named twice"));
    assert_eq!(
        update_index(&file, NAME, &[step(1, 3, 4)]).expect("moves"),
        1
    );
    assert_eq!(
        update_index(&file, NAME, &[step(1, 3, 4)]).expect("moved"),
        0
    );
    assert_eq!((entry(&file, 1), field(&file, 44)), (4, 0));
}

#[test]
fn compaction_fills_holes_from_the_end() {
    let mut image = Image::sample(Version::V2);
    image.bat = vec![0, 4, 0, 0, 2, 0];
    let file = image.patch(4 * 2048, [4; 512]).file();
    let mut compact = Compact::new(&file, NAME).expect("sound");
    assert_eq!(compact.progress().total, 1);
    assert!(compact.step(10).expect("a step").finished);
    assert_eq!((entry(&file, 1), entry(&file, 4)), (1, 2));
    assert_eq!((byte(&file, 4), *file.len.borrow()), (4, 3 * 2048));
}

#[test]
fn an_image_that_was_not_closed_is_settled() {
    let file = tight(Version::V2);
    let closed = file.bytes.borrow().clone();
    let mut top = load(&file, NAME).expect("sound");
    assert!(!settle(&file, &mut top).expect("closed"));
    assert_eq!(*file.bytes.borrow(), closed, "nothing was written");
    let mark = crate::format::InUse::InUse.raw().to_le_bytes();
    file.bytes.borrow_mut()[44..48].copy_from_slice(&mark);
    let mut top = load(&file, NAME).expect("sound");
    assert!(settle(&file, &mut top).expect("settled"));
    // Host 4 is nobody's: the file ends behind host 3. The mark stays.
    assert_eq!(file.bytes.borrow().len(), 4 * 512);
    assert_eq!(file.bytes.borrow()[44..48], mark);
    assert_eq!((entry(&file, 0), entry(&file, 111)), (1, 3));
    assert_eq!(top.file_len, 4 * 512, "loaded anew");
    assert!(!settle(&file, &mut top).expect("settled"), "once");
}

#[test]
fn a_bitmap_that_nobody_vouches_for_is_not_kept_by_growing() {
    use crate::format::InUse;
    for (size, ext_off) in [(24, 24), (30, 0)] {
        let mut image = with_extension(Version::V2, one_bitmap().finish());
        image.header.in_use = InUse::Closed0;
        let file = image.file();
        let grown = grow(&file, NAME, Sectors(size)).expect("grows");
        let dropped = grown.extension_dropped.map(|at| at.0);
        assert_eq!(dropped, (ext_off == 0).then_some(24));
        assert_eq!(field(&file, 56), ext_off);
        let found = sound(&file);
        assert_eq!(
            (found.problem_count, found.image_end.0),
            (0, if ext_off == 0 { 16 } else { 28 })
        );
    }
}

#[test]
fn what_was_not_closed_is_not_written_before_it_is_settled() {
    use crate::device::{Device, OpenError, Options};
    let file = tight(Version::V2);
    let mark = crate::format::InUse::InUse.raw().to_le_bytes();
    file.bytes.borrow_mut()[44..48].copy_from_slice(&mark);
    let mut top = load(&file, NAME).expect("sound");
    let open = |top: &crate::delta::LoadedDelta, write| {
        let options = Options {
            write,
            ..Options::default()
        };
        Device::open(vec![top.clone()], options)
    };
    assert!(open(&top, false).is_ok(), "for reading it is");
    assert!(matches!(
        open(&top, true),
        Err(OpenError::NotSettled { .. })
    ));
    settle(&file, &mut top).expect("settled");
    assert!(open(&top, true).is_ok());
}
