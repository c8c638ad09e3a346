//! The rules of the length, one hand-made case each.

use super::*;
use crate::tape::Kind;

#[test]
fn length_and_data_of_an_extending_write_persist_independently() {
    let mut file = file(&[1]);
    write(&mut file, 1, &[20, 30]);
    let short = (1, vec![1]);
    let long = |a, b| (3, vec![1, a, b]);
    assert_eq!(
        images(&file),
        set(&[short, long(0, 0), long(20, 0), long(0, 30), long(20, 30)])
    );
    sync(&mut file);
    assert_eq!(images(&file), set(&[long(20, 30)]));
}

#[test]
fn the_length_is_the_durable_or_any_pending_one() {
    let mut file = file(&[1]);
    let ids = [2, 4, 3].map(|sectors| file.submit(Change::Extend { sectors }));
    let of_len = |len: u64| (len, (0..len).map(|sector| u64::from(sector == 0)).collect());
    let all = set(&[of_len(1), of_len(2), of_len(3), of_len(4)]);
    assert_eq!(images(&file), all);
    ids.into_iter().for_each(|id| done(&mut file, id));
    assert_eq!(file.len_sectors(), 4);
    assert_eq!(images(&file), all);
    sync(&mut file);
    assert_eq!(images(&file), set(&[of_len(4)]));
    // An extension to less than what is seen changes nothing.
    let id = file.submit(Change::Extend { sectors: 3 });
    done(&mut file, id);
    assert_eq!(images(&file), set(&[of_len(4)]));
}

#[test]
fn a_longer_length_in_flight_does_not_keep_a_synced_write_from_being_durable() {
    let mut file = file(&[1]);
    let far = file.submit(Change::Extend { sectors: 4 });
    write(&mut file, 1, &[20]);
    sync(&mut file);
    assert_eq!(
        images(&file),
        set(&[(2, vec![1, 20]), (4, vec![1, 20, 0, 0])])
    );
    done(&mut file, far);
    sync(&mut file);
    assert_eq!(images(&file), set(&[(4, vec![1, 20, 0, 0])]));
}

#[test]
fn fua_makes_data_durable_but_no_length() {
    let mut file = file(&[1]);
    let id = submit_fua(&mut file, 1, &[20]);
    done(&mut file, id);
    assert_eq!(images(&file), set(&[(1, vec![1]), (2, vec![1, 20])]));
    sync(&mut file);
    assert_eq!(images(&file), set(&[(2, vec![1, 20])]));
}

#[test]
fn data_beyond_the_surviving_length_is_gone_for_good() {
    let mut file = file(&[1]);
    let id = submit_fua(&mut file, 1, &[20]);
    done(&mut file, id);
    // Everything pending is lost, the length too.
    file.crash(&mut answers(&[(Kind::Crash, 8, 0)]));
    assert_eq!(file.len_sectors(), 1);
    let id = file.submit(Change::Extend { sectors: 2 });
    done(&mut file, id);
    assert_eq!(seen(&file), [1, 0]);
    assert_eq!(images(&file), set(&[(1, vec![1]), (2, vec![1, 0])]));
}

#[test]
fn truncation_persists_as_a_length_and_as_zeros() {
    let mut file = file(&[1, 2, 3]);
    let id = file.submit(Change::SetLen { bytes: 1024 });
    done(&mut file, id);
    assert_eq!(seen(&file), [1, 2]);
    assert_eq!(
        images(&file),
        set(&[(3, vec![1, 2, 3]), (3, vec![1, 2, 0]), (2, vec![1, 2])])
    );
    let id = file.submit(Change::Extend { sectors: 3 });
    done(&mut file, id);
    assert_eq!(seen(&file), [1, 2, 0]);
    sync(&mut file);
    assert_eq!(images(&file), set(&[(3, vec![1, 2, 0])]));
}

#[test]
fn an_extension_after_a_truncation_is_a_length_of_its_own() {
    let mut file = file(&[1, 2, 3]);
    let id = file.submit(Change::SetLen { bytes: 512 });
    done(&mut file, id);
    let id = file.submit(Change::Extend { sectors: 2 });
    done(&mut file, id);
    let image = |values: &[u64]| (values.len() as u64, values.to_vec());
    let expected: [&[u64]; 7] = [
        &[1],
        &[1, 2],
        &[1, 0],
        &[1, 2, 3],
        &[1, 0, 3],
        &[1, 2, 0],
        &[1, 0, 0],
    ];
    assert_eq!(images(&file), expected.into_iter().map(image).collect());
    sync(&mut file);
    assert_eq!(images(&file), set(&[(2, vec![1, 0])]));
}

#[test]
fn a_failed_extending_write_extends_as_far_as_it_got_or_all_the_way() {
    let mut lengths = BTreeSet::new();
    every_tape(|tape| {
        let mut file = file(&[1]);
        let id = submit(&mut file, 1, &[20, 30]);
        file.complete(id, Effect::Failed, tape);
        lengths.insert(seen(&file));
    });
    let expected: [&[u64]; 6] = [
        &[1],
        &[1, 0, 0],
        &[1, 20],
        &[1, 20, 0],
        &[1, 0, 30],
        &[1, 20, 30],
    ];
    assert_eq!(
        lengths,
        expected.iter().map(|values| values.to_vec()).collect()
    );
}

#[test]
fn a_lost_length_is_never_covered_again() {
    let mut lengths = BTreeSet::new();
    every_tape(|tape| {
        let mut file = file(&[1]);
        let id = file.submit(Change::Extend { sectors: 2 });
        done(&mut file, id);
        let id = file.submit_sync();
        file.complete_sync(id, SyncEffect::Failed { evict: true }, tape);
        sync(&mut file);
        lengths.insert(
            images(&file)
                .into_iter()
                .map(|image| image.0)
                .collect::<Vec<_>>(),
        );
    });
    assert_eq!(lengths, [vec![1, 2], vec![2]].into());
}
