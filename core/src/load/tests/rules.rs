//! Every rule of the mapping, broken alone: the strict reader names it, the lenient one goes on where it can.

use super::Image;
use crate::error::{Field, Kind, LoadError, Rule, Value};
use crate::format::Version::{self, V1, V2};

struct Case {
    name: &'static str,
    version: Version,
    spoil: fn(&mut Image),
    field: Field,
    value: u64,
    rule: Rule,
    /// What the lenient reader makes of the BAT; `None`: it refuses, too.
    salvaged: Option<[u32; 6]>,
}

const SOUND_V2: [u32; 6] = [0, 3, 1, 0, 2, 0];

const CASES: &[Case] = &[
    Case {
        name: "shorter than a header",
        version: V2,
        spoil: |image| {
            image.len = 63;
            image.patches.clear();
        },
        field: Field::FileLength,
        value: 63,
        rule: Rule::HeaderInFile,
        salvaged: None,
    },
    Case {
        name: "type",
        version: V1,
        spoil: |image| image.patches.push((16, vec![3])),
        field: Field::Type,
        value: 3,
        rule: Rule::Type,
        salvaged: None,
    },
    Case {
        name: "cluster size 0 (CVE-2014-0142)",
        version: V2,
        spoil: |image| image.patches.push((28, vec![0])),
        field: Field::ClusterSize,
        value: 0,
        rule: Rule::ClusterNotZero,
        salvaged: None,
    },
    Case {
        name: "cluster size over the limit",
        version: V2,
        spoil: |image| {
            image
                .patches
                .push((28, 4_185_923u32.to_le_bytes().to_vec()))
        },
        field: Field::ClusterSize,
        value: 4_185_923,
        rule: Rule::ClusterLimit,
        salvaged: None,
    },
    Case {
        name: "catalog over the limit (CVE-2014-0143)",
        version: V1,
        spoil: |image| image.header.entries = 0x2000_0000,
        field: Field::Entries,
        value: 0x2000_0000,
        rule: Rule::EntriesLimit,
        salvaged: None,
    },
    Case {
        name: "BAT beyond the end",
        version: V2,
        spoil: |image| image.header.entries = 0x1FFF_FFFF,
        field: Field::Entries,
        value: 0x1FFF_FFFF,
        rule: Rule::BatInFile,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "file cut inside the BAT",
        version: V1,
        spoil: |image| {
            image.bat.clear();
            image.len = 64 + 6 * 4 - 1;
        },
        field: Field::Entries,
        value: 6,
        rule: Rule::BatInFile,
        salvaged: None,
    },
    Case {
        name: "fewer entries than clusters",
        version: V2,
        spoil: |image| image.header.entries = 5,
        field: Field::Entries,
        value: 5,
        rule: Rule::EntriesCoverSize,
        salvaged: Some([0, 3, 1, 0, 2, 0]),
    },
    Case {
        name: "version 2 without a start of data",
        version: V2,
        spoil: |image| image.header.data_off = 0,
        field: Field::DataOffset,
        value: 0,
        rule: Rule::DataOffsetNotZero,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "version 2 with data inside the cluster of the BAT",
        version: V2,
        spoil: |image| image.header.data_off = 3,
        field: Field::DataOffset,
        value: 3,
        rule: Rule::DataBehindBat,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "data inside the BAT",
        version: V2,
        spoil: |image| {
            *image = Image::new(V2, 1, 6 * 100, 4);
            image.header.data_off = 4;
        },
        field: Field::DataOffset,
        value: 4,
        rule: Rule::DataBehindBat,
        salvaged: Some([0; 6]),
    },
    Case {
        name: "data beyond the end (peer's own test)",
        version: V1,
        spoil: |image| image.header.data_off = u32::MAX,
        field: Field::DataOffset,
        value: 0xFFFF_FFFF,
        rule: Rule::DataOffsetInFile,
        salvaged: Some([0, 12, 4, 0, 8, 0]),
    },
    Case {
        name: "entry that software uses for none",
        version: V2,
        spoil: |image| image.bat[3] = u32::MAX,
        field: Field::Bat(3),
        value: 0xFFFF_FFFF,
        rule: Rule::EntryNotReserved,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "entry before the start of data",
        version: V2,
        spoil: |image| {
            image.header.data_off = 8;
            image.bat = vec![0, 3, 1, 0, 2, 0];
        },
        field: Field::Bat(2),
        value: 1,
        rule: Rule::EntryBehindBat,
        salvaged: Some([0, 3, 0, 0, 2, 0]),
    },
    Case {
        name: "version 1 entry inside the header",
        version: V1,
        spoil: |image| image.bat[0] = 3,
        field: Field::Bat(0),
        value: 3,
        rule: Rule::EntryBehindBat,
        salvaged: Some([0, 12, 4, 0, 8, 0]),
    },
    Case {
        name: "entry at the end of the file",
        version: V2,
        spoil: |image| image.bat[0] = 5,
        field: Field::Bat(0),
        value: 5,
        rule: Rule::EntryInFile,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "entry that wraps a 32-bit sector",
        version: V2,
        spoil: |image| image.bat[0] = 0x4000_0001,
        field: Field::Bat(0),
        value: 0x4000_0001,
        rule: Rule::EntryInFile,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "cluster that begins inside the file and ends outside",
        version: V2,
        spoil: |image| {
            image.bat[0] = 4;
            image.len -= 1;
        },
        field: Field::Bat(0),
        value: 4,
        rule: Rule::EntryInFile,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "two entries for one cluster",
        version: V2,
        spoil: |image| image.bat[5] = 3,
        field: Field::Bat(5),
        value: 3,
        rule: Rule::EntryUnique,
        salvaged: Some(SOUND_V2),
    },
    Case {
        name: "two version 1 entries for one sector",
        version: V1,
        spoil: |image| image.bat[0] = 4,
        field: Field::Bat(2),
        value: 4,
        rule: Rule::EntryUnique,
        salvaged: Some([4, 12, 0, 0, 8, 0]),
    },
    Case {
        name: "version 1 entries that overlap",
        version: V1,
        spoil: |image| image.bat[5] = 15,
        field: Field::Bat(5),
        value: 15,
        rule: Rule::EntryOverlap,
        salvaged: Some([0, 12, 4, 0, 8, 0]),
    },
];

fn spoilt(case: &Case) -> Image {
    let mut image = Image::sample(case.version);
    (case.spoil)(&mut image);
    image
}

#[test]
fn each_broken_rule_is_refused_by_name() {
    for case in CASES {
        let error = spoilt(case).load().expect_err(case.name);
        let LoadError::Refused { file, problem } = &error else {
            panic!("{}: {error}", case.name);
        };
        assert_eq!(file, "test.hds");
        assert_eq!(
            (problem.field, problem.value, problem.rule),
            (case.field, Value::Number(case.value), case.rule),
            "{}",
            case.name
        );
    }
}

#[test]
fn the_lenient_reader_finds_the_same_and_leaves_out_what_is_damaged() {
    for case in CASES {
        match (spoilt(case).inspect(), case.salvaged) {
            (Err(error), None) => assert_eq!(error.rule(), Some(case.rule), "{}", case.name),
            (Ok(found), Some(bat)) => {
                assert_eq!(found.problems[0].rule, case.rule, "{}", case.name);
                assert_eq!(
                    found.problem_count, 1,
                    "{}: {:?}",
                    case.name, found.problems
                );
                assert!(found.is_corrupt(), "{}", case.name);
                let image = super::expanded(found.delta);
                let entries = image.bat.len().min(6);
                assert_eq!(image.bat[..entries], bat[..entries], "{}", case.name);
            }
            (found, _) => panic!("{}: {found:?}", case.name),
        }
    }
}

#[test]
fn every_rule_of_the_mapping_has_a_case() {
    let elsewhere = [Rule::Magic, Rule::SizeLimit];
    for rule in Rule::ALL {
        let wanted =
            matches!(rule.kind(), Kind::Corrupt | Kind::NotAnImage) && !elsewhere.contains(rule);
        assert_eq!(
            CASES.iter().any(|case| case.rule == *rule),
            wanted,
            "{rule:?}"
        );
    }
}

#[test]
fn the_message_names_file_field_value_and_rule() {
    let mut image = Image::sample(V2);
    image.bat[5] = 3;
    let error = image.load().expect_err("duplicate").to_string();
    assert_eq!(
        error,
        "test.hds: BAT[5] = 3: points to a cluster that another entry points to"
    );
    let image = Image::sample(V2).patch(0, b"QFI\xfb");
    let error = image.load().expect_err("no magic").to_string();
    assert!(
        error.starts_with("test.hds: m_Sig = \"QFI\\xfbouFreSpacExt\": must be"),
        "{error}"
    );
}

#[test]
fn sound_images_have_no_problem() {
    for version in [V1, V2] {
        let image = Image::sample(version);
        let found = image.inspect().expect("sound");
        assert_eq!((found.problems.len(), found.problem_count), (0, 0));
        assert_eq!(found.delta, image.load().expect("sound"));
        assert_eq!((found.allocated, found.fragmented), (3, 1), "{version:?}");
    }
}
