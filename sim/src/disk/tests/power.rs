//! Blocking calls on the simulated disk: they work, they fail, and power is lost at every one of them.

use super::*;
use crate::disk::fault::{FaultPlan, FaultRates, IoKind};
use crate::disk::{BlockingFile, Power};
use ploop_core::drive::DeltaFile;
use std::io;

const TINY: Geometry = Geometry {
    meta_len: 512,
    granule: 16,
    limit_sectors: 16,
};

/// Data first, sync, then the mark in the metadata that vouches for it.
fn update(file: &dyn DeltaFile) -> io::Result<()> {
    file.set_len(512 * 3)?;
    file.write_at(1024, &[8; 512])?;
    file.sync()?;
    file.write_at(0, &[1; 16])?;
    file.sync()
}

fn fresh() -> SimFile {
    let mut file = SimFile::new();
    file.reset(TINY, &[], &[], 1024);
    file
}

#[test]
fn power_is_lost_at_every_call_and_order_is_kept() {
    let mut outcomes = BTreeSet::new();
    for calls in 0.. {
        let mut lost = false;
        for seed in 0..200 {
            let (mut file, mut tape, mut faults) =
                (fresh(), Tape::from_seed(seed), FaultPlan::none());
            let power = Power::new(&mut tape, &mut faults, Some(calls));
            let blocking = BlockingFile::new(&mut file, &power);
            let result = update(&blocking);
            lost = power.is_lost();
            assert_eq!(result.is_err(), lost);
            if lost {
                assert_eq!(power.calls(), calls + 1);
                assert!(
                    DeltaFile::len(&blocking).is_err() && blocking.read_at(0, &mut [0; 8]).is_err()
                );
            }
            file.crash(&mut tape);
            let mut mark = [0; 1];
            file.view().read_bytes(0, &mut mark);
            let data = file.read_value(2) != Value::ZERO;
            assert!(
                mark[0] == 0 || data,
                "the mark without its data, power lost after {calls} calls"
            );
            outcomes.insert((mark[0], data, file.len_sectors()));
        }
        if !lost {
            assert_eq!(calls, 5);
            break;
        }
    }
    assert_eq!(
        outcomes,
        [(0, false, 2), (0, false, 3), (0, true, 3), (1, true, 3)].into()
    );
}

#[test]
fn an_error_at_every_call_is_reported() {
    for nth in 1.. {
        let (mut file, mut tape, mut faults) = (
            fresh(),
            Tape::from_seed(1),
            FaultPlan::io_error_at(nth, None),
        );
        let result = {
            let power = Power::new(&mut tape, &mut faults, None);
            let result = update(&BlockingFile::new(&mut file, &power));
            assert!(!power.is_lost());
            result
        };
        match result {
            Ok(()) => {
                assert_eq!(nth, 6);
                assert!(faults.untouched());
                return;
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(5), "call {nth}"),
        }
        assert_eq!(faults.injected().total(), 1);
    }
}

#[test]
fn a_failed_sync_may_lose_what_it_covered() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        let mut faults = FaultPlan::io_error_at(1, Some(IoKind::Sync));
        let (mut file, mut tape) = (fresh(), Tape::from_seed(seed));
        let power = Power::new(&mut tape, &mut faults, None);
        let blocking = BlockingFile::new(&mut file, &power);
        blocking.write_at(512, &[8; 512]).unwrap();
        assert!(blocking.sync().is_err() && blocking.sync().is_ok());
        outcomes.insert(file.crash_images(2).distinct() > 1);
    }
    assert_eq!(outcomes, [false, true].into());
}

#[test]
fn a_short_write_says_how_much_it_did() {
    let rates = FaultRates {
        short: 1000,
        horizon: 1,
        ..FaultRates::default()
    };
    let mut outcomes = BTreeSet::new();
    for seed in 0..50 {
        let (mut file, mut tape, mut faults) = (fresh(), Tape::from_seed(seed), FaultPlan::none());
        faults.draw(&rates, &mut tape);
        let power = Power::new(&mut tape, &mut faults, None);
        let done = BlockingFile::new(&mut file, &power)
            .write_at(1024, &[8; 2048])
            .unwrap();
        let whole = (0..4)
            .take_while(|sector| file.read_value(2 + sector) != Value::ZERO)
            .count();
        assert!(whole * 512 >= done);
        outcomes.insert((done, whole == 4));
    }
    let expected = [
        (512, false),
        (512, true),
        (1024, false),
        (1024, true),
        (1536, false),
        (1536, true),
        (2048, true),
    ];
    assert!(
        outcomes.is_subset(&expected.into()) && outcomes.len() >= 6,
        "{outcomes:?}"
    );
}

#[test]
fn bytes_read_back_and_limits_hold() {
    let (mut file, mut tape, mut faults) = (fresh(), Tape::from_seed(1), FaultPlan::none());
    let power = Power::new(&mut tape, &mut faults, None);
    let blocking = BlockingFile::new(&mut file, &power);
    update(&blocking).unwrap();
    let mut buf = [0; 2000];
    assert_eq!(blocking.read_at(0, &mut buf).unwrap(), 1536);
    assert_eq!(
        (buf[0], buf[16], buf[1023], buf[1024], buf[1535]),
        (1, 0, 0, 8, 8)
    );
    blocking.zero_at(1024, 512, true).unwrap();
    assert_eq!(blocking.read_at(1024, &mut buf).unwrap(), 512);
    assert_eq!(buf[..512], [0; 512]);
    assert_eq!(
        blocking.zero_at(1, 512, true).unwrap_err().raw_os_error(),
        Some(22)
    );
    assert_eq!(
        blocking
            .write_at(512 * 16, &[0])
            .unwrap_err()
            .raw_os_error(),
        Some(27)
    );
    assert_eq!(
        blocking.set_len(u64::MAX).unwrap_err().raw_os_error(),
        Some(27)
    );
    blocking.set_len(100).unwrap();
    assert_eq!(blocking.read_at(0, &mut buf).unwrap(), 100);
}

#[test]
fn views_are_read_only() {
    let file = fresh();
    assert_eq!(
        file.write_at(0, &[1]).unwrap_err().kind(),
        io::ErrorKind::ReadOnlyFilesystem
    );
    assert!(
        file.zero_at(0, 512, false).is_err()
            && file.set_len(0).is_err()
            && DeltaFile::sync(&file).is_err()
    );
    assert_eq!(IoKind::ALL.len(), crate::disk::fault::IO_KINDS);
}
