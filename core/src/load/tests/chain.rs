//! The rules of a chain, each broken alone.

use super::Image;
use crate::control::files::check_nested;
use crate::delta::chain::{MAX_LEVELS, validate};
use crate::delta::{Body, LoadedDelta};
use crate::error::{Rule, Value};
use crate::format::Version::{V1, V2};
use crate::units::Sectors;

fn image(cluster: u64, size: u64) -> LoadedDelta {
    Image::new(V2, cluster, size, 0).load().expect("sound")
}

fn raw(len: u64) -> LoadedDelta {
    LoadedDelta {
        name: "base.raw".to_owned(),
        file_len: len,
        body: Body::Raw,
    }
}

fn rule(chain: &[LoadedDelta], write: bool) -> Option<Rule> {
    validate(chain, write)
        .err()
        .map(|error| error.rule().expect("not I/O"))
}

#[test]
fn sound_chains() {
    for write in [false, true] {
        assert_eq!(rule(&[image(8, 100)], write), None);
        assert_eq!(rule(&[image(8, 0)], write), None, "an empty disk is one");
        assert_eq!(
            rule(&[image(8, 40), image(8, 100), image(8, 100)], write),
            None
        );
        assert_eq!(rule(&[raw(1), image(8, 100)], write), None);
        assert_eq!(rule(&[raw(100 * 512), image(8, 100)], write), None);
        let mixed = Image::sample(V1).load().expect("sound");
        assert_eq!(
            rule(&[mixed, image(4, 24)], write),
            None,
            "versions may differ"
        );
    }
    assert_eq!(rule(&[raw(0)], false), None);
    assert_eq!(rule(&vec![image(8, 8); MAX_LEVELS], true), None);
}

/// In the last cluster of the disk nobody sees what lies behind its end; a raw base for the kernel has whole clusters.
#[test]
fn a_lower_delta_may_end_with_the_last_cluster() {
    for chain in [
        vec![raw(13 * 8 * 512), image(8, 100)],
        vec![raw(100 * 512 + 1), image(8, 100)],
        vec![image(8, 104), image(8, 100)],
        vec![raw(13 * 8 * 512), image(8, 100), image(8, 99), image(8, 99)],
    ] {
        for write in [false, true] {
            assert_eq!(rule(&chain, write), None);
        }
        let (top, lower) = chain.split_last().expect("a top");
        assert!(check_nested(lower, top.size()).is_err());
        assert!(check_nested(lower, Sectors(104)).is_ok());
    }
}

#[test]
fn broken_chains() {
    let cases = [
        (vec![], Rule::ChainNotEmpty),
        (vec![image(8, 8); MAX_LEVELS + 1], Rule::ChainLimit),
        (vec![image(4, 100), image(8, 100)], Rule::SameCluster),
        (
            vec![image(8, 100), raw(100), image(8, 100)],
            Rule::RawIsBase,
        ),
        (vec![image(8, 100), raw(100)], Rule::RawIsBase),
        (vec![raw(100), raw(100)], Rule::RawIsBase),
        (vec![image(8, 0), image(8, 100)], Rule::LowerNotEmpty),
        (vec![raw(0), image(8, 100)], Rule::LowerNotEmpty),
        (vec![image(8, 105), image(8, 100)], Rule::LowerFitsTop),
        (
            vec![raw(13 * 8 * 512 + 1), image(8, 100)],
            Rule::LowerFitsTop,
        ),
        (vec![image(8, 100), image(8, 0)], Rule::LowerFitsTop),
        // What a shorter one in the middle leaves open: QEMU reads zeros there, and a look-up by clusters the levels below.
        (
            vec![image(8, 100), image(8, 40), image(8, 100)],
            Rule::LowerFitsTop,
        ),
        (
            vec![image(8, 16), image(8, 9), image(8, 100)],
            Rule::LowerFitsTop,
        ),
        (
            vec![image(8, 100), image(8, 98), image(8, 99)],
            Rule::LowerFitsTop,
        ),
        (
            vec![raw(16 * 512), image(8, 9), image(8, 10)],
            Rule::LowerFitsTop,
        ),
    ];
    for (chain, broken) in cases {
        assert_eq!(
            (rule(&chain, false), rule(&chain, true)),
            (Some(broken), Some(broken))
        );
    }
    assert_eq!(rule(&[raw(100)], true), Some(Rule::RawIsNotTop));
}

#[test]
fn only_the_top_must_be_writable() {
    let mut long = Image::new(V2, 8, 100, 0);
    long.header.size.0 -= 8;
    let mut converting = Image::new(V2, 8, 100, 0).patch(52, [2]);
    converting.header.in_use = crate::format::InUse::InUse;
    let mut mixed = Image::new(V1, 8, 100, 4);
    mixed.bat[2] = 8;
    mixed.bat[3] = 17;
    for (spoilt, broken, value) in [
        (long, Rule::EntriesMatchSize, 13),
        (converting, Rule::NotConverting, 2),
        (mixed, Rule::OneGrid, 17),
    ] {
        let spoilt = spoilt.load().expect("sound for reading");
        let chain = [image(8, 92), spoilt.clone()];
        assert_eq!(
            (rule(&chain, false), rule(&chain, true)),
            (None, Some(broken))
        );
        match validate(&chain, true) {
            Err(crate::error::LoadError::Refused { problem, .. }) => {
                assert_eq!(problem.value, Value::Number(value));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            rule(&[spoilt, image(8, 100)], true),
            None,
            "{broken:?} below the top"
        );
    }
}
