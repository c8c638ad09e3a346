use super::*;
use crate::image::tests::Builder;

fn problems(builder: &Builder) -> Vec<Problem> {
    fsck(&builder.build()).problems
}

/// Changes an image, and says what must be found.
type Case = (&'static str, fn(&mut Builder), &'static [Problem]);

#[test]
fn every_problem_is_found_alone() {
    let cases: &[Case] = &[
        ("sound", |_| {}, &[]),
        ("file tail not a whole cluster", |b| b.len += 700, &[]),
        ("size ends inside a cluster", |b| b.size_sectors -= 1, &[]),
        ("more entries than needed", |b| b.bat.push(0), &[]),
        ("unknown mark", |b| b.in_use = 77, &[]),
        (
            "extra header clusters",
            |b| (b.data_off, b.bat) = (4, vec![3, 0, 2]),
            &[],
        ),
        (
            "alias",
            |b| b.bat[1] = 3,
            &[Problem::Alias {
                guest: 0,
                other: 1,
                sector: 6,
            }],
        ),
        (
            "far beyond",
            |b| b.bat[1] = u32::MAX / 2,
            &[Problem::EntryBeyondEnd {
                guest: 1,
                sector: u32::MAX as u64 - 1,
            }],
        ),
        (
            "just beyond",
            |b| b.bat[1] = 4,
            &[Problem::EntryBeyondEnd {
                guest: 1,
                sector: 8,
            }],
        ),
        (
            "cut",
            |b| b.len -= 1,
            &[Problem::EntryCut {
                guest: 0,
                sector: 6,
            }],
        ),
        (
            "cut to its first byte",
            |b| b.len -= 1023,
            &[Problem::EntryCut {
                guest: 0,
                sector: 6,
            }],
        ),
        (
            "cut off",
            |b| b.len -= 1024,
            &[Problem::EntryBeyondEnd {
                guest: 0,
                sector: 6,
            }],
        ),
        (
            "in the table",
            |b| b.data_off = 4,
            &[Problem::EntryInTable {
                guest: 2,
                sector: 2,
            }],
        ),
        (
            "data_off 0",
            |b| b.data_off = 0,
            &[Problem::DataOffset { sector: 0 }],
        ),
        (
            "data_off odd",
            |b| (b.data_off, b.bat) = (1, vec![0; 3]),
            &[Problem::DataOffset { sector: 1 }],
        ),
        (
            "data_off beyond the end",
            |b| (b.data_off, b.bat) = (10, vec![0; 3]),
            &[Problem::DataOffset { sector: 10 }],
        ),
        (
            "table too small",
            |b| b.size_sectors += 1,
            &[Problem::BatTooSmall { needs: 4 }],
        ),
        (
            "entry behind the size",
            |b| b.size_sectors = 4,
            &[Problem::SlotBeyondSize { slot: 2 }],
        ),
    ];
    for (name, change, expected) in cases {
        let mut builder = Builder::v2(2, &[3, 0, 1], 3);
        change(&mut builder);
        assert_eq!(problems(&builder), *expected, "{name}");
    }
}

#[test]
fn a_header_that_cannot_be_used_ends_it() {
    let mut bytes = Builder::v2(2, &[1], 1).build();
    bytes[0] = b'w';
    let report = fsck(&bytes);
    assert_eq!(report.problems, vec![Problem::Header(BadHeader::Magic)]);
    assert_eq!((report.in_use(), report.leaked()), (None, 0));
    assert_eq!(
        fsck(&Vec::new()).problems,
        vec![Problem::Header(BadHeader::TooShort)]
    );
}

#[test]
fn a_table_cut_by_the_end_is_read_as_far_as_it_goes() {
    let mut builder = Builder::v2(1, &[1; 1000], 1);
    builder.len = 64 + 4 * 10 + 3;
    let report = fsck(&builder.build());
    assert_eq!(report.allocated, 10);
    assert_eq!(
        report.problems[..2],
        [
            Problem::BatCut,
            Problem::DataOffset {
                sector: builder.data_off.into()
            }
        ]
    );
    assert_eq!(report.problems.len(), 12);
}

#[test]
fn a_gigantic_table_costs_no_memory() {
    let mut bytes = Builder::v2(1, &[], 0).build();
    bytes[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
    let report = fsck(&bytes);
    assert_eq!(
        report.problems,
        vec![
            Problem::BatCut,
            Problem::DataOffset {
                sector: u32::MAX.into()
            }
        ]
    );
}

#[test]
fn non_zero_slots_behind_the_table_are_told() {
    let mut bytes = Builder::v2(2, &[1], 1).build();
    bytes[64 + 4 * 3] = 1;
    bytes[1023] = 1;
    assert_eq!(
        fsck(&bytes).problems,
        vec![
            Problem::SlotBeyondSize { slot: 3 },
            Problem::SlotBeyondSize { slot: 239 }
        ]
    );
}

#[test]
fn leaks_are_whole_clusters_that_nobody_refers_to() {
    let leaks = |builder: &Builder| {
        let report = fsck(&builder.build());
        assert_eq!(report.problems, vec![]);
        let leaks: Vec<(u64, u64)> = report
            .leaks
            .iter()
            .map(|l| (l.sector, l.clusters))
            .collect();
        (leaks, report.tail_bytes)
    };
    let mut builder = Builder::v2(2, &[0, 0, 0], 0);
    assert_eq!(leaks(&builder), (vec![], 0));
    builder = Builder::v2(2, &[0, 0, 0], 5);
    assert_eq!(leaks(&builder), (vec![(2, 5)], 0));
    builder.bat = vec![2, 0, 5];
    assert_eq!(leaks(&builder), (vec![(2, 1), (6, 2)], 0));
    builder.bat = vec![3, 1, 2];
    assert_eq!(leaks(&builder), (vec![(8, 2)], 0));
    builder.len -= 1;
    assert_eq!(leaks(&builder), (vec![(8, 1)], 1023));
    let report = fsck(&builder.build());
    assert_eq!(
        (report.allocated, report.leaked(), report.file_sectors),
        (3, 1, 11)
    );
}

#[test]
fn old_images_packed_right_behind_the_table_are_sound() {
    for data_off in [0, 1] {
        let builder = Builder::v1(3, data_off, &[4, 0, 1], 10);
        let report = fsck(&builder.build());
        assert_eq!(report.problems, vec![], "data_off {data_off}");
        assert_eq!(
            (report.data_start, report.off_grid, report.leaked()),
            (1, 0, 1)
        );
        assert_eq!(
            report.leaks,
            vec![Leak {
                sector: 7,
                clusters: 1
            }]
        );
    }
    let report = fsck(&Builder::v1(3, 4, &[4, 3, 0], 10).build());
    assert_eq!(
        report.problems,
        vec![Problem::EntryInTable {
            guest: 1,
            sector: 3
        }]
    );
    // On both grids at once: told, and an overlap is an alias although the entries differ.
    let report = fsck(&Builder::v1(3, 1, &[3, 7, 11], 14).build());
    assert_eq!(
        (report.problems.as_slice(), report.off_grid, report.leaked()),
        ([].as_slice(), 1, 0)
    );
    let report = fsck(&Builder::v1(3, 1, &[4, 6, 9], 12).build());
    assert_eq!(
        report.problems,
        vec![Problem::Alias {
            guest: 0,
            other: 1,
            sector: 6
        }]
    );
    let report = fsck(&Builder::v1(3, 1, &[4, 3, 4], 12).build());
    assert_eq!(report.problems.len(), 2);
    // A table that ends inside a sector, at the end of the file.
    let mut empty = Builder::v1(3, 0, &[0; 5], 0);
    empty.len = 64 + 5 * 4;
    assert_eq!(fsck(&empty.build()).problems, vec![]);
}

/// An extension at sector 2 with one dirty bitmap of these table entries.
fn with_extension(table: &[u64]) -> (Builder, Vec<u8>) {
    let mut builder = Builder::v2(2, &[3, 0, 0], 4);
    builder.ext_off = 2;
    let mut bytes = builder.build();
    let mut extension = Vec::new();
    extension.extend(EXTENSION_MAGIC.to_le_bytes());
    extension.extend([0xAA; 16]);
    extension.extend(77_u64.to_le_bytes());
    extension.extend(0_u64.to_le_bytes());
    extension.extend(5_u64.to_le_bytes());
    extension.extend([0xBB; 8]);
    extension.extend(BITMAP_MAGIC.to_le_bytes());
    extension.extend(0_u64.to_le_bytes());
    extension.extend((32 + 8 * table.len() as u64).to_le_bytes());
    extension.extend([0; 28]);
    extension.extend((table.len() as u32).to_le_bytes());
    table
        .iter()
        .for_each(|entry| extension.extend(entry.to_le_bytes()));
    extension.extend([0; 24]);
    bytes[1024..1024 + extension.len()].copy_from_slice(&extension);
    (builder, bytes)
}

#[test]
fn the_extension_and_its_bitmaps_are_no_leaks() {
    let (_, bytes) = with_extension(&[0, 1, 4]);
    let report = fsck(&bytes);
    assert_eq!(
        (report.problems.as_slice(), report.leaked()),
        ([].as_slice(), 1)
    );
    assert_eq!(report.extension, Extension::Present { clusters: 2 });
    assert_eq!(
        report.leaks,
        vec![Leak {
            sector: 8,
            clusters: 1
        }]
    );

    let (_, bytes) = with_extension(&[6]);
    assert_eq!(
        fsck(&bytes).problems,
        vec![Problem::EntryInExtension {
            guest: 0,
            sector: 6
        }]
    );
}

#[test]
fn a_damaged_extension_is_told_and_costs_no_more_than_the_bitmap() {
    let damaged = |bytes: &[u8]| {
        let report = fsck(&bytes.to_vec());
        assert_eq!(
            (report.problems.as_slice(), report.extension),
            ([].as_slice(), Extension::Damaged)
        );
        assert_eq!(report.leaked(), 3);
    };
    for table in [[0].as_slice(), &[9], &[u64::MAX], &[10, 4]] {
        let (_, mut bytes) = with_extension(table);
        if table == [0] {
            bytes[1024] ^= 1;
        }
        damaged(&bytes);
    }
    for (at, value) in [
        (1024 + 24 + 16, 255_u8),
        (1024 + 24 + 19, 255),
        (1024 + 56 + 24 + 28, 200),
    ] {
        let (_, mut bytes) = with_extension(&[4]);
        bytes[at] = value;
        damaged(&bytes);
    }
    let (mut builder, _) = with_extension(&[]);
    for place in [1, 9, 10, u64::MAX] {
        builder.ext_off = place;
        damaged(&builder.build());
    }
}

#[test]
fn a_checker_used_again_says_the_same() {
    let (_, with) = with_extension(&[0, 1, 4]);
    let images = [
        Builder::v2(2, &[3, 3, 9], 3).build(),
        with,
        Builder::v2(1, &[0; 2000], 7).build(),
        vec![0; 5],
        Builder::v1(3, 0, &[4, 0, 1], 10).build(),
    ];
    let mut fsck_again = Fsck::default();
    for first in &images {
        for second in &images {
            fsck_again.check(first);
            assert_eq!(*fsck_again.check(second), fsck(second));
        }
    }
}

#[test]
fn random_damage_never_panics_and_aliases_are_exact() {
    let mut state = 1_u64;
    let mut roll = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut fsck = Fsck::default();
    for _ in 0..20_000 {
        let entries = roll(6);
        let bat: Vec<u32> = (0..entries).map(|_| roll(7) as u32).collect();
        let clean = Builder::v2(1 + roll(3) as u32, &bat, 6);
        let mut bytes = clean.build();
        let shared = (0..bat.len())
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .filter(|&(i, j)| bat[i] != 0 && bat[i] == bat[j]);
        let report = fsck.check(&bytes);
        let first_data = u64::from(clean.data_off / clean.cluster_sectors);
        let usable = |e: &u32| u64::from(*e) >= first_data;
        let expected = bat.iter().filter(|e| **e != 0 && usable(e)).count() - {
            let mut distinct: Vec<&u32> = bat.iter().filter(|e| **e != 0 && usable(e)).collect();
            distinct.sort_unstable();
            distinct.dedup();
            distinct.len()
        };
        let aliases = report
            .problems
            .iter()
            .filter(|p| matches!(p, Problem::Alias { .. }))
            .count();
        assert_eq!(aliases, expected, "{bat:?}");
        assert!(aliases <= shared.count());
        for _ in 0..roll(4) {
            let at = roll(bytes.len().min(100) as u64) as usize;
            bytes[at] = [0, 1, 2, 127, 128, 255][roll(6) as usize];
        }
        bytes.truncate(roll(bytes.len() as u64 + 1) as usize);
        fsck.check(&bytes);
    }
}
