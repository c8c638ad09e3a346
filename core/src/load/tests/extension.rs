//! The format extension: damage costs the bitmap, never the data, and never the space it stands on.

use std::cell::Cell;
use std::io;

use super::{Image, MemFile, expanded};
use crate::delta::ExtensionState;
use crate::delta::chain::check_writable;
use crate::drive::DeltaFile;
use crate::error::{Kind, Rule};
use crate::format::Version::{V1, V2};
use crate::format::geometry::MAX_CLUSTER;
use crate::format::{InUse, Version};
use crate::load::load;
use crate::units::{DstClu, Sector};

const CLUSTER: usize = 4 * 512;
const MAGIC: u64 = 0xAB23_4CEF_23DC_EA87;
const DIRTY_BITMAP: u64 = 0x2038_5FAE_252C_B34A;

/// The content of an extension's cluster; the checksum is put in at the end.
#[derive(Clone)]
pub(crate) struct Extension {
    bytes: Vec<u8>,
    end: usize,
}

impl Extension {
    fn new() -> Extension {
        let mut bytes = vec![0; CLUSTER];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        Extension { bytes, end: 24 }
    }

    fn feature(mut self, magic: u64, flags: u64, data: &[u8]) -> Extension {
        let mut feature = magic.to_le_bytes().to_vec();
        feature.extend(flags.to_le_bytes());
        feature.extend((data.len() as u64).to_le_bytes());
        feature.extend(data);
        self.bytes[self.end..][..feature.len()].copy_from_slice(&feature);
        self.end += feature.len().next_multiple_of(8);
        self
    }

    fn bitmap(self, size: u64, granularity: u32, l1: &[u64]) -> Extension {
        let mut data = size.to_le_bytes().to_vec();
        data.extend([0xAA; 16]);
        data.extend(granularity.to_le_bytes());
        data.extend((l1.len() as u32).to_le_bytes());
        data.extend(l1.iter().flat_map(|entry| entry.to_le_bytes()));
        self.feature(DIRTY_BITMAP, 0, &data)
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let sum = md5::compute(&self.bytes[24..]).0;
        self.bytes[8..24].copy_from_slice(&sum);
        self.bytes
    }
}

/// The sample with 8 host clusters (1..=8; 1, 2, 3 mapped), closed as "v2.1", and these bytes as extension in host 6.
pub(crate) fn image(version: Version, cluster: Vec<u8>) -> Image {
    let mut image = Image::sample(version);
    image.len = 9 * CLUSTER as u64;
    image.header.in_use = InUse::ClosedV21;
    image.header.ext_off = Sector(24);
    image.patch(6 * CLUSTER as u64, cluster)
}

pub(crate) fn one_bitmap() -> Extension {
    Extension::new().bitmap(24, 1, &[20])
}

fn hosts(reserved: &[DstClu]) -> Vec<u32> {
    reserved.iter().map(|host| host.0).collect()
}

#[test]
fn a_sound_extension_is_valid_and_its_clusters_are_reserved() {
    for version in [V1, V2] {
        let image = image(version, one_bitmap().finish());
        let loaded = image.expanded();
        assert_eq!(loaded.extension, ExtensionState::Valid);
        assert_eq!(hosts(&loaded.reserved), [5, 6]);
        assert_eq!(check_writable(&loaded), Ok(()));
        assert_eq!(loaded.bitmaps.len(), 1);
        let found = image.inspect().expect("sound");
        assert_eq!(found.problem_count, 0);
        assert_eq!(found.leaked, [DstClu(4)..DstClu(5), DstClu(7)..DstClu(9)]);
    }
}

#[test]
fn bitmaps_are_read() {
    let three = Extension::new()
        .bitmap(24, 1, &[20])
        .bitmap(24, 8, &[1])
        .bitmap(24, 128, &[]);
    let image = image(V2, three.finish()).patch(5 * CLUSTER as u64, [0x81, 0, 0x42]);
    let bitmaps = image.expanded().bitmaps;
    let ranges: Vec<Vec<(u64, u64)>> = bitmaps
        .iter()
        .map(|bitmap| bitmap.ranges().map(|(at, len)| (at.0, len.0)).collect())
        .collect();
    let first = vec![(0, 1), (7, 1), (17, 1), (22, 1)];
    assert_eq!(ranges, [first, vec![(0, 24)], vec![]]);
    assert!(bitmaps.iter().all(|bitmap| bitmap.id() == [0xAA; 16]));
}

#[test]
fn bits_behind_the_disk_cost_the_bitmaps() {
    let image = image(V2, one_bitmap().finish()).patch(5 * CLUSTER as u64 + 3, [1]);
    // The disk has 24 sectors: that is byte 3. What is behind the last byte is not looked at.
    assert_eq!(image.expanded().extension, ExtensionState::Valid);
    let eight = Extension::new().bitmap(24, 2, &[20]).finish();
    let image = self::image(V2, eight).patch(5 * CLUSTER as u64 + 1, [0x10]);
    let loaded = image.expanded();
    let ExtensionState::Damaged { why } = loaded.extension else {
        panic!("{:?}", loaded.extension);
    };
    assert_eq!((why.rule, loaded.bitmaps.len()), (Rule::BitmapTail, 0));
}

#[test]
fn memory_follows_the_file_not_what_it_claims() {
    let mut many = Extension::new();
    for _ in 0..20 {
        many = many.bitmap(24, 128, &[]);
    }
    assert_eq!(image(V2, many.finish()).expanded().bitmaps.len(), 20);
    // 4 MiB clusters: thousands of bitmaps would fit.
    let cluster = 8192 * 512;
    let mut extension = Extension {
        bytes: vec![0; cluster],
        end: 24,
    };
    extension.bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    for _ in 0..65 {
        extension = extension.bitmap(8192, 8192, &[]);
    }
    let mut image = Image::new(V2, 8192, 8192, 1);
    image.header.in_use = InUse::ClosedV21;
    image.header.ext_off = Sector(8192);
    let image = image.patch(cluster as u64, extension.finish());
    let loaded = image.expanded();
    let ExtensionState::Damaged { why } = loaded.extension else {
        panic!("{:?}", loaded.extension);
    };
    assert_eq!((why.rule, loaded.bitmaps.len()), (Rule::BitmapLimit, 0));
}

#[test]
fn an_unknown_feature_that_may_be_dropped() {
    let image = image(V2, one_bitmap().feature(0x4242, 2, &[]).finish());
    let loaded = image.expanded();
    assert_eq!(
        loaded.extension,
        ExtensionState::Foreign { feature: 0x4242 }
    );
    assert_eq!(hosts(&loaded.reserved), [5, 6]);
    assert_eq!((check_writable(&loaded), loaded.bitmaps.len()), (Ok(()), 1));
}

#[test]
fn other_sound_forms() {
    let many = Extension::new()
        .bitmap(24, 1, &[20])
        .bitmap(24, 8, &[1])
        .bitmap(24, 128, &[0]);
    let just_started = Extension::new().bitmap(24, 128, &[]);
    for (extension, reserved) in [
        (many, vec![5, 6]),
        (just_started, vec![6]),
        (Extension::new(), vec![6]),
    ] {
        let loaded = image(V2, extension.finish()).expanded();
        assert_eq!(
            (loaded.extension, hosts(&loaded.reserved)),
            (ExtensionState::Valid, reserved)
        );
    }
}

#[test]
fn damage_costs_the_bitmap_and_keeps_the_space() {
    type Case = (&'static str, Vec<u8>, Rule, &'static [u32]);
    let spoil = |extension: Extension, at: usize, byte: u8| {
        let mut bytes = extension.finish();
        bytes[at] = byte;
        bytes
    };
    let mut no_end = Extension::new();
    no_end = no_end.feature(77, 0, &vec![1; CLUSTER - 24 - 24]);
    let mut garbage_tail = one_bitmap();
    garbage_tail.bytes[CLUSTER - 1] = 1;
    let mut too_long = one_bitmap();
    too_long.bytes[24 + 16..][..4].copy_from_slice(&(CLUSTER as u32).to_le_bytes());
    // What follows the table's feature is not the table's, whatever its length says.
    let mut long_table = one_bitmap().feature(0x1234, 0, &28u64.to_le_bytes());
    long_table.bytes[24 + 24 + 28..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases: Vec<Case> = vec![
        (
            "magic",
            spoil(one_bitmap(), 0, 1),
            Rule::ExtensionMagic,
            &[5, 6],
        ),
        (
            "checksum",
            spoil(one_bitmap(), 9, 1),
            Rule::ExtensionChecksum,
            &[5, 6],
        ),
        (
            "content",
            spoil(one_bitmap(), CLUSTER - 1, 1),
            Rule::ExtensionChecksum,
            &[5, 6],
        ),
        ("zeros", vec![0; CLUSTER], Rule::ExtensionMagic, &[6]),
        (
            "no end of the list",
            no_end.finish(),
            Rule::ExtensionFeatureList,
            &[6],
        ),
        (
            "garbage behind the list",
            garbage_tail.finish(),
            Rule::ExtensionFeatureList,
            &[5, 6],
        ),
        (
            "feature too long",
            too_long.finish(),
            Rule::ExtensionFeatureList,
            &[6],
        ),
        (
            "bitmap too short",
            Extension::new().feature(DIRTY_BITMAP, 0, &[0; 31]).finish(),
            Rule::ExtensionFeatureList,
            &[6],
        ),
        (
            "other size",
            Extension::new().bitmap(25, 1, &[20]).finish(),
            Rule::BitmapSize,
            &[5, 6],
        ),
        (
            "granularity 0",
            Extension::new().bitmap(24, 0, &[20]).finish(),
            Rule::BitmapGranularity,
            &[5, 6],
        ),
        (
            "granularity 3",
            Extension::new().bitmap(24, 3, &[20]).finish(),
            Rule::BitmapGranularity,
            &[5, 6],
        ),
        (
            "table too long",
            Extension::new().bitmap(24, 1, &[20, 28]).finish(),
            Rule::BitmapL1Size,
            &[5, 6, 7],
        ),
        (
            "table beyond its feature",
            long_table.finish(),
            Rule::BitmapL1Size,
            &[5, 6],
        ),
        (
            "points into a mapped cluster",
            Extension::new().bitmap(24, 1, &[8]).finish(),
            Rule::BitmapL1Entry,
            &[6],
        ),
        (
            "points into the BAT",
            Extension::new().bitmap(24, 1, &[2]).finish(),
            Rule::BitmapL1Entry,
            &[6],
        ),
        (
            "points to itself",
            Extension::new().bitmap(24, 1, &[24]).finish(),
            Rule::BitmapL1Entry,
            &[6],
        ),
        (
            "off the grid",
            Extension::new().bitmap(24, 1, &[18]).finish(),
            Rule::BitmapL1Entry,
            &[4, 5, 6],
        ),
        (
            "beyond the end",
            Extension::new().bitmap(24, 1, &[36]).finish(),
            Rule::BitmapL1Entry,
            &[6],
        ),
        (
            "far beyond",
            Extension::new().bitmap(24, 1, &[u64::MAX]).finish(),
            Rule::BitmapL1Entry,
            &[6],
        ),
    ];
    for (name, cluster, rule, reserved) in cases {
        let image = image(V2, cluster);
        let loaded = image.expanded();
        let ExtensionState::Damaged { why } = loaded.extension else {
            panic!("{name}: {:?}", loaded.extension);
        };
        assert_eq!(
            (why.rule, why.rule.kind()),
            (rule, Kind::Extension),
            "{name}"
        );
        assert_eq!(hosts(&loaded.reserved), reserved, "{name}");
        assert_eq!(loaded.bat, Image::sample(V2).bat, "{name}");
        assert_eq!(check_writable(&loaded), Ok(()), "{name}");
        let found = image.inspect().expect(name);
        assert!(!found.is_corrupt() && found.problems[0] == why, "{name}");
    }
}

#[test]
fn an_extension_in_the_wrong_place() {
    let cases: [(u64, Rule, &[u32]); 6] = [
        (1, Rule::ExtensionInFile, &[]),
        (36, Rule::ExtensionInFile, &[]),
        (u64::MAX, Rule::ExtensionInFile, &[]),
        (8, Rule::ExtensionUnmapped, &[]),
        (14, Rule::ExtensionOnGrid, &[4]),
        (34, Rule::ExtensionInFile, &[8]),
    ];
    for (ext_off, rule, reserved) in cases {
        let mut image = image(V2, Vec::new());
        image.header.ext_off = Sector(ext_off);
        let loaded = image.expanded();
        let ExtensionState::Damaged { why } = loaded.extension else {
            panic!("{ext_off}: {:?}", loaded.extension);
        };
        assert_eq!(
            (why.rule, hosts(&loaded.reserved)),
            (rule, reserved.to_vec()),
            "{ext_off}"
        );
    }
}

#[test]
fn guest_data_is_never_read_as_an_extension() {
    // ext_off dangles into a mapped cluster whose guest data looks like an extension.
    let mut image = image(V2, Vec::new()).patch(2 * CLUSTER as u64, one_bitmap().finish());
    image.header.ext_off = Sector(8);
    assert_eq!(hosts(&image.expanded().reserved), []);
}

#[test]
fn without_the_mark_nothing_is_trusted_and_all_is_kept() {
    for in_use in [InUse::Closed0, InUse::InUse, InUse::Other(7)] {
        let mut broken = one_bitmap().finish();
        broken[9] ^= 1;
        let pointing_nowhere = Extension::new().bitmap(24, 1, &[20, 36, 8]).finish();
        let cases = [
            (one_bitmap().finish(), vec![]),
            (broken, vec![Rule::ExtensionChecksum]),
            (
                pointing_nowhere,
                vec![Rule::BitmapL1Size, Rule::BitmapL1Entry, Rule::BitmapL1Entry],
            ),
        ];
        for (cluster, rules) in cases {
            let mut image = image(V2, cluster);
            image.header.in_use = in_use;
            let loaded = image.expanded();
            let ExtensionState::Ignored { why } = loaded.extension else {
                panic!("{:?}", loaded.extension);
            };
            assert_eq!(
                (why.rule, hosts(&loaded.reserved)),
                (Rule::ExtensionVouched, vec![5, 6])
            );
            // But it is told: QEMU does not open an image with a damaged one, whatever the mark says.
            let problems = image.inspect().expect("sound").problems;
            let found: Vec<Rule> = problems.iter().map(|problem| problem.rule).collect();
            assert_eq!(found, rules);
        }
    }
}

/// A tool that changes an image without knowing the feature may destroy it, whatever else is wrong in the list.
#[test]
fn damage_elsewhere_does_not_hide_a_necessary_feature() {
    let damaged = |feature: bool| {
        let mut extension = Extension::new();
        if feature {
            extension = extension.feature(0x4242, 1, &[]);
        }
        image(V2, extension.bitmap(25, 1, &[20]).finish()).expanded()
    };
    let why = |loaded: &crate::delta::Expanded| loaded.extension;
    assert!(matches!(
        why(&damaged(false)),
        ExtensionState::Damaged { .. }
    ));
    let loaded = damaged(true);
    assert_eq!(why(&loaded), ExtensionState::ReadOnly { feature: 0x4242 });
    assert!(loaded.bitmaps.is_empty());
    assert!(check_writable(&loaded).is_err());
}

#[test]
fn an_unknown_necessary_feature_means_read_only() {
    let feature = Extension::new().feature(0x4242, 1, &[]);
    let mut image = image(V2, feature.bitmap(24, 1, &[20]).finish());
    for in_use in [InUse::ClosedV21, InUse::Closed0, InUse::InUse] {
        image.header.in_use = in_use;
        let loaded = image.expanded();
        let feature = 0x4242;
        assert_eq!(loaded.extension, ExtensionState::ReadOnly { feature });
        assert_eq!(hosts(&loaded.reserved), [5, 6]);
        let refused = check_writable(&loaded).expect_err("unknown");
        assert_eq!(refused.rule, Rule::ExtensionKnown);
        assert!(!image.inspect().expect("sound").is_corrupt());
    }
}

/// Counts how often it is read.
struct Counted(MemFile, Cell<u32>);

impl DeltaFile for Counted {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.1.set(self.1.get() + 1);
        self.0.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.0.write_at(at, buf)
    }
    fn zero_at(&self, at: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.0.zero_at(at, len, unmap)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// The largest clusters there are, an extension that begins in the last sector of a short file, and nothing behind it.
#[test]
fn an_extension_behind_the_end_of_the_file_takes_no_time() {
    let cluster = MAX_CLUSTER.0;
    let mut image = Image::new(V1, cluster, cluster, 0);
    image.header.data_off = 1;
    image.header.in_use = InUse::ClosedV21;
    image.header.ext_off = Sector(3);
    image.len = 5 * 512;
    let image = image.patch(3 * 512, [0; 512]);
    let file = Counted(image.file(), Cell::new(0));
    let loaded = expanded(load(&file, "test.hds").expect("sound data"));
    let ExtensionState::Damaged { why } = loaded.extension else {
        panic!("{:?}", loaded.extension);
    };
    assert_eq!(why.rule, Rule::ExtensionInFile);
    assert!(file.1.get() < 1000, "{} reads", file.1.get());
}

/// Zeros that the end of the file cuts off are no reason to overlook what stands before them.
#[test]
fn a_necessary_feature_counts_also_if_the_file_ends_in_its_cluster() {
    let mut bytes = Extension::new().feature(0x1234, 1, b"kept").finish();
    bytes.truncate(CLUSTER - 512);
    let mut image = image(V2, bytes);
    image.len = 7 * CLUSTER as u64 - 512;
    assert_eq!(
        image.expanded().extension,
        ExtensionState::ReadOnly { feature: 0x1234 }
    );
}
