//! One hand-made case a rule: the crash images are exactly the ones written here.

use super::*;
use crate::tape::Kind;

#[test]
fn a_write_in_flight_or_completed_persists_sector_by_sector() {
    let mut file = file(&[1, 2, 3]);
    let id = submit(&mut file, 1, &[20, 30]);
    let all: &[&[u64]] = &[&[1, 2, 3], &[1, 20, 3], &[1, 2, 30], &[1, 20, 30]];
    assert_images(&file, all);
    assert_eq!(seen(&file), [1, 2, 3]);
    done(&mut file, id);
    assert_images(&file, all);
    assert_eq!(seen(&file), [1, 20, 30]);
    sync(&mut file);
    assert_images(&file, &[&[1, 20, 30]]);
    assert_eq!(file.pending(), 0);
}

#[test]
fn a_sync_covers_what_was_completed_before_it_was_submitted() {
    let mut file = file(&[1, 1, 1]);
    write(&mut file, 0, &[10]);
    let late = submit(&mut file, 1, &[20]);
    let id = file.submit_sync();
    done(&mut file, late);
    write(&mut file, 2, &[30]);
    file.complete_sync(id, SyncEffect::Done, &mut calm());
    assert_images(
        &file,
        &[&[10, 1, 1], &[10, 20, 1], &[10, 1, 30], &[10, 20, 30]],
    );
    sync(&mut file);
    assert_images(&file, &[&[10, 20, 30]]);
}

#[test]
fn several_syncs_in_flight_cover_each_its_own() {
    let mut file = file(&[1, 1]);
    write(&mut file, 0, &[10]);
    let first = file.submit_sync();
    write(&mut file, 1, &[20]);
    let second = file.submit_sync();
    let mut other = file.clone();
    file.complete_sync(first, SyncEffect::Done, &mut calm());
    assert_images(&file, &[&[10, 1], &[10, 20]]);
    file.complete_sync(second, SyncEffect::Done, &mut calm());
    assert_images(&file, &[&[10, 20]]);
    // The other way round the second one covers what the first covers, too.
    other.complete_sync(second, SyncEffect::Done, &mut calm());
    assert_images(&other, &[&[10, 20]]);
    other.complete_sync(first, SyncEffect::Done, &mut calm());
    assert_images(&other, &[&[10, 20]]);
}

#[test]
fn older_pending_writes_survive_younger_ones_and_the_other_way_round() {
    let mut file = file(&[1]);
    write(&mut file, 0, &[10]);
    write(&mut file, 0, &[11]);
    assert_images(&file, &[&[1], &[10], &[11]]);
    sync(&mut file);
    assert_images(&file, &[&[11]]);
}

#[test]
fn a_durable_write_supersedes_what_was_completed_before_it_was_submitted() {
    let mut file = file(&[1, 1]);
    write(&mut file, 0, &[10, 10]);
    let fua = submit_fua(&mut file, 0, &[20]);
    assert_images(
        &file,
        &[&[1, 1], &[10, 1], &[20, 1], &[1, 10], &[10, 10], &[20, 10]],
    );
    done(&mut file, fua);
    // FUA is no sync: the older write is still pending elsewhere.
    assert_images(&file, &[&[20, 1], &[20, 10]]);
    write(&mut file, 0, &[30]);
    assert_images(&file, &[&[20, 1], &[20, 10], &[30, 1], &[30, 10]]);
}

#[test]
fn writes_in_flight_together_end_in_either_order() {
    let outcome = |second_is_first: u32| {
        let mut file = file(&[1]);
        let a = submit(&mut file, 0, &[10]);
        let b = submit(&mut file, 0, &[20]);
        let c = submit(&mut file, 0, &[30]);
        done(&mut file, a);
        assert_images(&file, &[&[1], &[10], &[20], &[30]]);
        file.complete(
            b,
            Effect::Done,
            &mut answers(&[(Kind::Order, 2, second_is_first)]),
        );
        assert_images(&file, &[&[1], &[10], &[20], &[30]]);
        sync(&mut file);
        // One of the two is durable; the third is in flight and may come before or after.
        let mut before = file.clone();
        file.complete(c, Effect::Done, &mut answers(&[(Kind::Order, 2, 0)]));
        before.complete(c, Effect::Done, &mut answers(&[(Kind::Order, 2, 1)]));
        (
            seen(&file)[0],
            images(&file),
            seen(&before)[0],
            images(&before),
        )
    };
    let set = |values: &[u64]| {
        values
            .iter()
            .map(|&value| (1, vec![value]))
            .collect::<BTreeSet<Image>>()
    };
    assert_eq!(outcome(0), (30, set(&[20, 30]), 20, set(&[20])));
    assert_eq!(outcome(1), (30, set(&[10, 30]), 10, set(&[10])));
}

#[test]
fn a_write_in_flight_when_another_became_durable_may_still_win() {
    let mut file = file(&[1]);
    let slow = submit(&mut file, 0, &[10]);
    let fua = submit_fua(&mut file, 0, &[20]);
    done(&mut file, fua);
    assert_images(&file, &[&[20], &[10]]);
    done(&mut file, slow);
    assert_eq!(seen(&file), [10]);
    assert_images(&file, &[&[20], &[10]]);
    sync(&mut file);
    assert_images(&file, &[&[10]]);
}

#[test]
fn a_hole_is_pending_like_data() {
    let mut file = file(&[1, 2]);
    let id = file.submit(Change::Zero { at: 0, len: 2 });
    assert_images(&file, &[&[1, 2], &[0, 2], &[1, 0], &[0, 0]]);
    done(&mut file, id);
    let fua = submit_fua(&mut file, 0, &[10]);
    done(&mut file, fua);
    // The punch of sector 0 is superseded, that of sector 1 is not durable.
    assert_images(&file, &[&[10, 2], &[10, 0]]);
    sync(&mut file);
    assert_images(&file, &[&[10, 0]]);
    // A write after a punch, both pending: the hole may win over the older and the newer content.
    let id = file.submit(Change::Zero { at: 0, len: 1 });
    done(&mut file, id);
    write(&mut file, 0, &[11]);
    assert_images(&file, &[&[10, 0], &[0, 0], &[11, 0]]);
}

#[test]
fn a_zero_range_ends_at_the_length() {
    let mut file = file(&[1, 2]);
    let id = file.submit(Change::Zero { at: 1, len: 5 });
    done(&mut file, id);
    assert_eq!(seen(&file), [1, 0]);
    sync(&mut file);
    assert_images(&file, &[&[1, 0]]);
}

#[test]
fn a_short_write_has_its_first_bytes_and_any_part_of_the_rest() {
    let mut outcomes = BTreeSet::new();
    every_tape(|tape| {
        let mut file = file(&[1, 1, 1, 1]);
        let id = submit(&mut file, 0, &[10, 20, 30]);
        // One sector and a bit.
        file.complete(id, Effect::Short(700), tape);
        outcomes.insert(seen(&file));
        sync(&mut file);
        let durable = images(&file);
        assert_eq!(durable.len(), 1);
        assert_eq!(durable.first().map(|image| &image.1), Some(&seen(&file)));
    });
    let expected = [
        [10, 1, 1, 1],
        [10, 20, 1, 1],
        [10, 1, 30, 1],
        [10, 20, 30, 1],
    ];
    assert_eq!(
        outcomes,
        expected.iter().map(|values| values.to_vec()).collect()
    );
}

#[test]
fn a_failed_write_has_any_part_pending_even_with_fua() {
    let mut outcomes = BTreeSet::new();
    every_tape(|tape| {
        let mut file = file(&[1, 1]);
        let id = submit_fua(&mut file, 0, &[10, 20]);
        file.complete(id, Effect::Failed, tape);
        outcomes.insert((seen(&file), images(&file)));
    });
    let image = |a, b| (2, vec![a, b]);
    let expected = [
        (vec![1, 1], set(&[image(1, 1)])),
        (vec![10, 1], set(&[image(1, 1), image(10, 1)])),
        (vec![1, 20], set(&[image(1, 1), image(1, 20)])),
        (
            vec![10, 20],
            set(&[image(1, 1), image(10, 1), image(1, 20), image(10, 20)]),
        ),
    ];
    assert_eq!(outcomes, expected.into_iter().collect());
}

#[test]
fn what_a_failed_sync_leaves_is_never_covered_again() {
    let mut outcomes = BTreeSet::new();
    every_tape(|tape| {
        let mut file = file(&[1]);
        write(&mut file, 0, &[10]);
        let id = file.submit_sync();
        file.complete_sync(id, SyncEffect::Failed { evict: true }, tape);
        let before = (seen(&file), images(&file));
        sync(&mut file);
        sync(&mut file);
        assert_eq!(
            (seen(&file), images(&file)),
            before,
            "a later sync changed what was lost"
        );
        outcomes.insert(before);
        // A later write supersedes it as usual.
        write(&mut file, 0, &[11]);
        sync(&mut file);
        assert_images(&file, &[&[11]]);
    });
    let both = set(&[(1, vec![1]), (1, vec![10])]);
    // Durable in spite of the error; seen but lost; seen no more, but a crash may bring it.
    assert_eq!(
        outcomes,
        [
            (vec![10], set(&[(1, vec![10])])),
            (vec![10], both.clone()),
            (vec![1], both)
        ]
        .into()
    );
}

#[test]
fn without_eviction_a_failed_sync_changes_no_read() {
    every_tape(|tape| {
        let mut file = file(&[1, 1]);
        write(&mut file, 0, &[10, 20]);
        let id = file.submit_sync();
        file.complete_sync(id, SyncEffect::Failed { evict: false }, tape);
        assert_eq!(seen(&file), [10, 20]);
    });
}

#[test]
fn a_failed_sync_loses_only_what_it_covered() {
    every_tape(|tape| {
        let mut file = file(&[1, 1]);
        write(&mut file, 0, &[10]);
        let failing = file.submit_sync();
        write(&mut file, 1, &[20]);
        let next = file.submit_sync();
        file.complete_sync(failing, SyncEffect::Failed { evict: true }, tape);
        file.complete_sync(next, SyncEffect::Done, &mut calm());
        assert!(images(&file).iter().all(|(_, values)| values[1] == 20));
    });
}

#[test]
fn what_a_read_saw_of_a_write_in_flight_stays_seen_and_a_sync_after_completion_fixes_it() {
    let mut file = file(&[1, 1]);
    let a = submit(&mut file, 0, &[10, 10]);
    let b = submit(&mut file, 0, &[20]);
    let mut out = Vec::new();
    // Sector 0: b lands, a not; sector 1: a does not land.
    file.observe(
        0,
        2,
        &mut out,
        &mut answers(&[(Kind::Land, 2, 0), (Kind::Land, 2, 0), (Kind::Land, 2, 1)]),
    );
    assert_eq!(out, [Value(20), Value(1)]);
    assert_eq!(seen(&file), [20, 1]);
    // a completes, and came before b where they overlap.
    file.complete(a, Effect::Done, &mut answers(&[(Kind::Order, 2, 1)]));
    assert_eq!(seen(&file), [20, 10]);
    assert_images(
        &file,
        &[&[1, 1], &[10, 1], &[20, 1], &[1, 10], &[10, 10], &[20, 10]],
    );
    done(&mut file, b);
    sync(&mut file);
    assert_images(&file, &[&[20, 10]]);
}

#[test]
fn a_read_sees_any_part_of_what_is_in_flight() {
    let mut outcomes = BTreeSet::new();
    let runs = every_tape(|tape| {
        let mut file = file(&[1, 1]);
        submit(&mut file, 0, &[10, 20]);
        submit(&mut file, 0, &[11]);
        let mut out = Vec::new();
        file.observe(0, 2, &mut out, tape);
        assert_eq!(
            out.iter().map(|value| value.0).collect::<Vec<_>>(),
            seen(&file)
        );
        outcomes.insert(seen(&file));
    });
    assert_eq!(runs, 8);
    let expected = [[1, 1], [10, 1], [11, 1], [1, 20], [10, 20], [11, 20]];
    assert_eq!(
        outcomes,
        expected.iter().map(|values| values.to_vec()).collect()
    );
}

#[test]
fn what_landed_does_not_land_again() {
    let mut file = file(&[1]);
    submit(&mut file, 0, &[10]);
    submit(&mut file, 0, &[20]);
    let mut tape = answers(&[(Kind::Land, 2, 1); 4]);
    let mut out = Vec::new();
    file.observe(0, 1, &mut out, &mut tape);
    file.observe(0, 1, &mut out, &mut tape);
    assert_eq!(out, [Value(20), Value(20)]);
    assert_eq!(tape.choices().len(), 2);
}

#[test]
#[should_panic(expected = "not in flight")]
fn completing_twice_is_refused() {
    let mut file = file(&[1]);
    let id = submit(&mut file, 0, &[2]);
    done(&mut file, id);
    done(&mut file, id);
}
