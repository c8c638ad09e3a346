//! Every form of a sound image: where its data lies, what is free, what a check says about it.

use super::{Image, MemFile, expanded, extension};
use crate::delta::chain::check_writable;
use crate::drive::DeltaFile;
use crate::error::{CreateError, Rule};
use crate::format::Version::{V1, V2};
use crate::format::{Header, InUse};
use crate::load::{load, load_raw, new_image, sniff};
use crate::units::{DstClu, Sector, Sectors};

#[test]
fn a_new_image_is_what_the_peer_writes() {
    // `qemu-img create -f parallels -o cluster_size=1536 FILE 5G`: bytes 16..56 of the file, and its length.
    let file = MemFile::default();
    let header = new_image(&file, V2, Sectors(3), Sectors(10_485_760)).expect("created");
    let bytes = file.bytes.borrow();
    assert_eq!(bytes.len(), 13_982_208);
    assert_eq!(&bytes[..16], b"WithouFreSpacExt");
    let words: Vec<u32> = bytes[16..64]
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    assert_eq!(
        words,
        [
            2, 16, 0x5000, 3, 0x35_5556, 0xA0_0000, 0, 0, 0x6AAD, 0, 0, 0
        ]
    );
    assert!(bytes[64..].iter().all(|&byte| byte == 0));
    drop(bytes);
    let image = expanded(load(&file, "new").expect("loads"));
    assert_eq!(
        (image.header, image.layout.first_host()),
        (header, DstClu(0x6AAD / 3))
    );
    assert_eq!(check_writable(&image), Ok(()));
}

#[test]
fn new_images_load_clean_in_every_geometry() {
    for version in [V1, V2] {
        for cluster in [1, 3, 8, 63, 128, 504] {
            for size in [0, 1, 2, 62, 63, 64, 1000, 1008 * 63, 300_001] {
                let file = MemFile::default();
                let header =
                    new_image(&file, version, Sectors(cluster), Sectors(size)).expect("created");
                assert_eq!(
                    file.bytes.borrow().len() as u64,
                    u64::from(header.data_off) * 512
                );
                let image = expanded(load(&file, "new").expect("loads"));
                assert_eq!(
                    image.layout.clusters_of_size(),
                    u64::from(image.layout.entries)
                );
                assert_eq!(check_writable(&image), Ok(()));
                assert_eq!(
                    image.layout.hosts_in(file.bytes.borrow().len() as u64),
                    image.layout.first_host().0
                );
                assert!(sniff(&file).expect("readable"));
            }
        }
    }
}

#[test]
fn what_cannot_be_created_is_refused_and_nothing_is_written() {
    let cases = [
        (V2, 0, 100, Rule::ClusterNotZero),
        (V2, 4_185_923, 100, Rule::ClusterLimit),
        (V2, 1, 0x2000_0000, Rule::EntriesLimit),
        (V2, 1, u64::MAX, Rule::EntriesLimit),
        (V1, 2048, 1 << 32, Rule::SizeLimit),
        // The last clusters would have no sector that an entry can name.
        (V1, 2048, (1 << 32) - 1, Rule::SizeLimit),
        (V1, 8, (1 << 32) - 8, Rule::SizeLimit),
    ];
    for (version, cluster, size, rule) in cases {
        let file = MemFile::default();
        match new_image(&file, version, Sectors(cluster), Sectors(size)) {
            Err(CreateError::Geometry(problem)) => assert_eq!(problem.rule, rule),
            other => panic!("{rule:?}: {other:?}"),
        }
        assert_eq!(*file.len.borrow(), 0);
    }
    assert!(Header::create(V1, Sectors(2048), Sectors((1 << 32) - 20_480)).is_ok());
    let file = MemFile::new(vec![7; 10]);
    assert!(matches!(
        new_image(&file, V2, Sectors(8), Sectors(8)),
        Err(CreateError::NotEmpty(10))
    ));
    assert_eq!(*file.bytes.borrow(), [7; 10]);
}

/// Version 1 as old software packed it: data right behind the BAT, clusters at odd places.
fn packed(bat: [u32; 4], data_off: u32, file_sectors: u64) -> Image {
    let mut image = Image::new(V1, 8, 32, 0);
    image.header.data_off = data_off;
    image.bat = bat.to_vec();
    image.len = file_sectors * 512;
    image
}

#[test]
fn version_1_may_say_0_and_data_starts_behind_the_bat() {
    let image = packed([9, 1, 0, 17], 0, 25).expanded();
    let layout = image.layout;
    assert_eq!((layout.data_start, layout.phase), (Sector(1), Sectors(1)));
    assert_eq!(
        layout.first_host(),
        DstClu(0),
        "host cluster 0 is data here"
    );
    assert_eq!(layout.host_of(9), Some(DstClu(1)));
    assert_eq!(layout.entry_of(DstClu(0)), Some(1));
    assert_eq!(layout.hosts_in(25 * 512), 3);
    assert_eq!(image.bat_slack.len(), 512 - 80);
    assert_eq!(check_writable(&image), Ok(()));
    let found = packed([9, 1, 0, 17], 0, 30).inspect().expect("sound");
    assert_eq!(
        found.leaked,
        [DstClu(3)..DstClu(4)],
        "a tail that is less than a cluster"
    );
    assert_eq!(
        (found.allocated, found.fragmented, found.image_end),
        (3, 1, Sector(25))
    );
}

#[test]
fn version_1_data_need_not_be_aligned() {
    let image = packed([0, 5, 13, 0], 5, 21).expanded();
    assert_eq!(
        (image.layout.phase, image.layout.first_host()),
        (Sectors(5), DstClu(0))
    );
    let image = packed([0, 11, 19, 0], 11, 27).expanded();
    assert_eq!(
        (image.layout.phase, image.layout.first_host()),
        (Sectors(3), DstClu(1))
    );
}

#[test]
fn version_1_entries_decide_on_the_grid_when_they_agree() {
    let image = packed([16, 8, 0, 0], 0, 24).expanded();
    assert_eq!((image.layout.phase, image.on_grid), (Sectors(0), true));
    assert_eq!(
        (image.layout.data_start, image.layout.first_host()),
        (Sector(1), DstClu(1))
    );
    assert_eq!(check_writable(&image), Ok(()));
}

#[test]
fn version_1_entries_on_several_grids_are_for_reading() {
    let image = packed([17, 4, 0, 30], 0, 38).expanded();
    assert!(!image.on_grid);
    assert_eq!(image.bat, [17, 4, 0, 30]);
    let problem = check_writable(&image).expect_err("several grids");
    assert_eq!(problem.rule, Rule::OneGrid);
    let found = packed([17, 4, 0, 30], 0, 47).inspect().expect("sound");
    assert_eq!(found.problem_count, 0);
    // Host clusters begin at 1, 9, 17, ...: 4..12, 17..25 and 30..38 leave only the one at 39.
    assert_eq!(found.leaked, [DstClu(5)..DstClu(6)]);
}

#[test]
fn version_1_ignores_the_high_half_of_the_size_and_keeps_it() {
    let image = Image::sample(V1).patch(40, [1, 2, 3, 4]);
    let header = image.expanded().header;
    assert_eq!(
        (header.size, header.size_high_unused),
        (Sectors(24), 0x0403_0201)
    );
    assert_eq!(header.to_bytes(), image.bytes()[..64]);
}

#[test]
fn the_file_may_end_where_the_virtual_disk_ends() {
    for (missing_sectors, sound) in [(0, true), (2, true), (3, false)] {
        let mut image = Image::new(V2, 4, 22, 2);
        image.bat[0] = 1;
        image.bat[5] = 2;
        image.len -= missing_sectors * 512;
        assert_eq!(
            image.load().is_ok(),
            sound,
            "{missing_sectors} sectors missing"
        );
    }
    // The same cut in a cluster that the virtual disk needs wholly.
    let mut image = Image::new(V2, 4, 22, 2);
    image.bat[4] = 2;
    image.len -= 512;
    assert_eq!(
        image.load().expect_err("cut").rule(),
        Some(Rule::EntryInFile)
    );
    // Half a sector is no sector.
    let mut image = Image::new(V2, 4, 22, 2);
    image.bat[5] = 2;
    image.len -= 2 * 512 + 1;
    assert!(image.load().is_err());
}

#[test]
fn more_entries_than_clusters_are_for_reading() {
    let mut image = Image::sample(V2);
    image.header.size = Sectors(20);
    let image = image.expanded();
    assert_eq!((image.layout.entries, image.layout.size), (6, Sectors(20)));
    assert_eq!(
        check_writable(&image).expect_err("too many").rule,
        Rule::EntriesMatchSize
    );
}

#[test]
fn version_2_data_off_the_grid_starts_at_the_cluster_before() {
    // What QEMU 10.0.2 makes of an image of its own with clusters of 63 sectors and a BAT of two sectors: 65.
    let mut image = Image::new(V2, 63, 63 * 200, 3);
    image.bat[5] = 1;
    image.bat[6] = 3;
    assert_eq!(check_writable(&image.expanded()), Ok(()));
    image.header.data_off = 65;
    let loaded = image.expanded();
    assert_eq!(
        (loaded.layout.data_start, loaded.layout.phase),
        (Sector(63), Sectors(0))
    );
    assert_eq!(loaded.header.data_off, 65);
    assert_eq!(check_writable(&loaded), Ok(()));
    let found = image.inspect().expect("readable");
    assert_eq!((found.problem_count, found.read_only), (0, None));
    assert_eq!(found.leaked, [DstClu(2)..DstClu(3)]);
}

#[test]
fn every_mark_of_use_opens() {
    for (raw, in_use) in [
        (0, InUse::Closed0),
        (0x312E_3276, InUse::ClosedV21),
        (0x746F_6E59, InUse::InUse),
        (0x3731_6470, InUse::Other(0x3731_6470)),
    ] {
        let image = Image::sample(V2).patch(44, u32::to_le_bytes(raw));
        let header = image.expanded().header;
        assert_eq!(
            (header.in_use, header.is_dirty()),
            (in_use, in_use == InUse::InUse)
        );
        assert_eq!(header.in_use.raw(), raw);
    }
}

#[test]
fn an_interrupted_conversion_is_for_reading() {
    // Closed, too. Whoever closed it need not have known: QEMU repairs an image in use, clears the mark and never looks at
    // the flags. And if it were written, our own mark would make it what every checker must refuse to touch.
    for (in_use, flags, writable) in [
        (0u32, 1u8, true),
        (0, 2, false),
        (0, 3, false),
        (0x312E_3276, 3, false),
        (0x746F_6E59, 1, true),
        (0x746F_6E59, 2, false),
    ] {
        let image = Image::sample(V2)
            .patch(44, in_use.to_le_bytes())
            .patch(52, [flags]);
        assert_eq!(check_writable(&image.expanded()).is_ok(), writable);
    }
}

#[test]
fn the_bytes_behind_the_bat_are_kept() {
    let image = Image::new(V2, 16, 100, 0).patch(64 + 7 * 4, [1, 2, 3]);
    let slack = image.expanded().bat_slack;
    assert_eq!((slack.len(), &slack[..4]), (4096 - 92, &[1, 2, 3, 0][..]));
    let image = Image::new(V2, 1, 100, 0).expanded();
    assert_eq!(
        image.bat_slack.len(),
        512 - 464,
        "data starts before the page ends"
    );
    let image = Image::new(V2, 8, 1008 * 8, 0).expanded();
    assert_eq!(image.bat_slack.len(), 0, "a full page");
    for data_off in [0, 1] {
        let mut image = packed([0; 4], data_off, 1);
        image.len = 80;
        assert_eq!(
            image.expanded().bat_slack,
            [0; 432],
            "the file ends with the BAT"
        );
    }
}

#[test]
fn leaks_are_found_in_the_middle_and_at_the_end() {
    let mut image = Image::new(V2, 4, 400, 12);
    image.bat[7] = 3;
    image.bat[8] = 9;
    image.bat[9] = 6;
    let found = image.inspect().expect("sound");
    let ranges: Vec<(u32, u32)> = found
        .leaked
        .iter()
        .map(|range| (range.start.0, range.end.0))
        .collect();
    assert_eq!(ranges, [(1, 3), (4, 6), (7, 9), (10, 13)]);
    assert_eq!((found.leaked_clusters(), found.image_end), (9, Sector(40)));
    assert_eq!((found.allocated, found.fragmented), (3, 2));
}

#[test]
fn a_raw_file_is_just_its_length() {
    let file = MemFile::new(vec![0; 1000]);
    let delta = load_raw(&file, "base.raw").expect("any file is raw");
    assert_eq!((delta.file_len, delta.expanded()), (1000, None));
    assert_eq!(
        (delta.entries(Sectors(1)), delta.entries(Sectors(2))),
        (2, 1)
    );
    assert!(!sniff(&file).expect("readable"));
    assert!(!sniff(&MemFile::default()).expect("readable"));
    assert!(MemFile::default().is_empty().expect("readable"));
}

#[test]
fn the_largest_positions_do_not_wrap() {
    // Version 2: cluster 2^32-2 of 1 MiB clusters lies at 4 PiB.
    let mut image = Image::new(V2, 2048, 4096, 0);
    image.bat[1] = u32::MAX - 1;
    let file = image.file();
    *file.len.borrow_mut() = (u64::from(u32::MAX) * 2048) * 512;
    let loaded = expanded(load(&file, "far").expect("inside the file"));
    let layout = loaded.layout;
    assert_eq!(layout.host_of(u32::MAX - 1), Some(DstClu(u32::MAX - 1)));
    assert_eq!(
        (
            layout.entry_of(DstClu(u32::MAX)),
            layout.entry_of(DstClu(0))
        ),
        (None, None)
    );
    assert_eq!(layout.host_of(0), None);
    *file.len.borrow_mut() -= 1 << 20;
    assert_eq!(
        load(&file, "far").expect_err("outside").rule(),
        Some(Rule::EntryInFile)
    );
    // Version 1: sector 2^32-2 is the last place.
    let layout = Image::sample(V1).expanded().layout;
    assert_eq!(layout.entry_of(DstClu(0x3FFF_FFFF)), Some(0xFFFF_FFFC));
    assert_eq!(layout.entry_of(DstClu(0x4000_0000)), None);
}

#[test]
fn a_header_keeps_what_it_does_not_understand() {
    let image = Image::sample(V2)
        .patch(20, [9, 9, 9, 9, 8, 8, 8, 8])
        .patch(52, [0xF1, 2, 3, 4]);
    let bytes: [u8; 64] = image.bytes()[..64].try_into().expect("64 bytes");
    let header = Header::parse(&bytes).expect("sound");
    assert_eq!((header.flags, header.to_bytes()), (0x0403_02F1, bytes));
}

/// A close that was cut has written over a part of the old bitmaps. Who closed the image keeps what he does not know.
#[test]
fn a_broken_one_is_given_up_if_the_image_was_not_closed() {
    for (in_use, spoil, astray) in [
        (InUse::InUse, 0, false),
        (InUse::InUse, 1, true),
        (InUse::Closed0, 1, false),
        (InUse::ClosedV21, 1, false),
    ] {
        let mut broken = extension::one_bitmap().finish();
        broken[100] ^= spoil;
        let mut image = extension::image(V2, broken);
        image.header.in_use = in_use;
        let loaded = image.expanded();
        assert_eq!(loaded.extension_astray, astray, "{in_use:?} {spoil}");
        assert_eq!(
            loaded.reserved,
            [5, 6].map(DstClu),
            "its space is not free yet"
        );
    }
}
