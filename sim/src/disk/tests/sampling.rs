//! `crash` draws from `crash_images`, and reaches all of them.

use super::*;
use crate::disk::CrashReport;
use crate::tape::Kind;
use crate::trace::TraceHash;

/// A file in some state that a tape makes: writes, holes, lengths, syncs, failures, some of it in flight.
fn random_file(tape: &mut Tape, file: &mut SimFile) {
    random_changes(tape, file, 1);
}

/// The same; failures as often as `failures` says (0: never). Returns what is in flight.
fn random_changes(tape: &mut Tape, file: &mut SimFile, failures: u32) -> Vec<IoId> {
    use crate::tape::Kind::{Event, Op};
    file.reset(plain(), &[], &[Value(1), Value(2), Value(3)], 3 * 512);
    let mut in_flight = Vec::new();
    let mut syncs = Vec::new();
    for step in 0..8_u64 {
        let (at, len) = (
            u64::from(tape.choose(Op, 4)),
            1 + u64::from(tape.choose(Op, 2)),
        );
        let values: Vec<Value> = (0..len)
            .map(|index| Value(10 * (step + 1) + index))
            .collect();
        match tape.choose(Event, 8) {
            0..=2 => in_flight.push(file.submit(Change::Data {
                at,
                values: &values,
            })),
            3 => in_flight.push(file.submit_fua(Change::Data {
                at,
                values: &values,
            })),
            4 => in_flight.push(file.submit(Change::Zero { at, len })),
            5 => in_flight.push(file.submit(Change::Extend { sectors: 3 + at })),
            6 => syncs.push(file.submit_sync()),
            _ => in_flight.push(file.submit(Change::SetLen {
                bytes: 512 * (1 + at),
            })),
        }
        if tape.chance(Event, 2, 3) && !in_flight.is_empty() {
            let id = in_flight.swap_remove(tape.index(Event, in_flight.len()));
            let effect = [Effect::Done, Effect::Failed, Effect::Short(512)];
            let effect = effect[tape.weighted(Event, &[3, failures, failures])];
            file.complete(id, effect, tape);
        }
        if tape.chance(Event, 1, 3) && !syncs.is_empty() {
            let id = syncs.swap_remove(tape.index(Event, syncs.len()));
            let effect = [SyncEffect::Done, SyncEffect::Failed { evict: true }];
            file.complete_sync(id, effect[tape.weighted(Event, &[3, failures])], tape);
        }
    }
    in_flight
}

#[test]
fn a_crash_leaves_one_of_the_images_and_every_image_can_be_left() {
    let (mut tape, mut file, mut crashed) = (Tape::from_seed(0), SimFile::new(), SimFile::new());
    let (mut most, mut report) = (0, CrashReport::default());
    for seed in 0..1500 {
        tape.restart(seed);
        random_file(&mut tape, &mut file);
        let all = images(&file);
        most = most.max(all.len());
        let mut drawn = BTreeSet::new();
        // Coupon collector: enough draws for the rarest of a few images.
        let draws = if all.len() <= 12 { 600 } else { 30 };
        for draw in 0..draws {
            tape.restart(seed << 32 | draw);
            crashed.copy_from(&file);
            let one = crashed.crash(&mut tape);
            report.survived += one.survived;
            report.lost += one.lost;
            report.torn += one.torn;
            report.length_lost |= one.length_lost;
            let image = content(|sector| crashed.read_value(sector), crashed.len_sectors());
            assert!(
                all.contains(&image),
                "seed {seed}: {image:?} is none of {all:?}"
            );
            assert_eq!(
                images(&crashed),
                [image.clone()].into(),
                "something is pending after a crash"
            );
            drawn.insert(image);
        }
        assert!(
            all.len() > 12 || drawn == all,
            "seed {seed}: {:?} never drawn",
            all.difference(&drawn)
        );
    }
    assert!(
        most > 50,
        "the states are too simple: {most} images at most"
    );
    assert!(
        report.survived > 0 && report.lost > 0 && report.torn > 0 && report.length_lost,
        "{report:?}"
    );
}

#[test]
fn the_same_tape_makes_the_same_crash() {
    let (mut file, mut again) = (SimFile::new(), SimFile::new());
    for seed in 0..300 {
        let mut tape = Tape::from_seed(seed);
        random_file(&mut tape, &mut file);
        file.crash(&mut tape);
        let mut replay = Tape::replay(tape.choices().to_vec());
        random_file(&mut replay, &mut again);
        again.crash(&mut replay);
        assert_eq!(replay.misaligned(), 0);
        let hash = |file: &SimFile| {
            let mut hash = TraceHash::new();
            seen(file).iter().for_each(|&value| hash.push(value));
            hash.value()
        };
        assert_eq!(hash(&file), hash(&again), "seed {seed}");
        assert_eq!(file.len_bytes(), again.len_bytes());
    }
}

#[test]
fn nothing_of_one_run_is_left_in_the_next() {
    // The same file object again and again, against a new one.
    let mut used = SimFile::new();
    for seed in 0..300 {
        let mut fresh = SimFile::new();
        random_file(&mut Tape::from_seed(seed), &mut fresh);
        random_file(&mut Tape::from_seed(seed), &mut used);
        assert_eq!(images(&fresh), images(&used), "seed {seed}");
        assert_eq!(fresh.syncs, used.syncs);
        assert_eq!(seen(&fresh), seen(&used));
    }
}

#[test]
fn from_image_to_image_one_unit_changes() {
    let mut tape = Tape::from_seed(0);
    let mut file = SimFile::new();
    for seed in 0..200 {
        tape.restart(seed);
        random_file(&mut tape, &mut file);
        let mut images = file.crash_images(u64::MAX);
        let mut last: Option<Image> = None;
        while images.advance() {
            let image = image_of(&images);
            if let Some(last) = last.filter(|last| last.0 == image.0) {
                let changed = last.1.iter().zip(&image.1).filter(|(a, b)| a != b).count();
                assert_eq!(changed, 1, "{last:?} -> {image:?}");
            }
            last = Some(image);
        }
    }
}

#[test]
fn an_installed_image_is_a_file_of_its_own() {
    let (mut tape, mut file, mut installed) = (Tape::from_seed(3), SimFile::new(), SimFile::new());
    random_file(&mut tape, &mut file);
    let mut images = file.crash_images(u64::MAX);
    while images.advance() {
        images.install(&mut installed);
        let image = image_of(&images);
        assert_eq!(super::images(&installed), [image].into());
        write(&mut installed, 0, &[99]);
        assert_eq!(installed.read_value(0), Value(99));
    }
}

#[test]
fn the_cap_cuts_and_the_count_stays_true() {
    let mut file = file(&[0; 40]);
    write(&mut file, 0, &(1..=40).collect::<Vec<_>>());
    let mut images = file.crash_images(10);
    assert_eq!(images.distinct(), 1 << 40);
    assert_eq!((0..20).filter(|_| images.advance()).count(), 10);
}

#[test]
fn a_large_change_is_torn_without_a_choice_for_each_sector() {
    let mut file = file(&[0; 2048]);
    let mut torn = 0;
    for seed in 0..50 {
        write(
            &mut file,
            0,
            &(0..2048)
                .map(|index| seed << 20 | index)
                .collect::<Vec<_>>(),
        );
        let mut tape = Tape::from_seed(seed);
        torn += file.crash(&mut tape).torn;
        assert!(tape.choices().len() < 100);
    }
    assert!(torn > 0);
}

#[test]
fn once_all_is_completed_and_synced_a_crash_leaves_what_was_seen() {
    let (mut tape, mut file) = (Tape::from_seed(0), SimFile::new());
    for seed in 0..3000 {
        tape.restart(seed);
        for id in random_changes(&mut tape, &mut file, 0) {
            file.complete(id, Effect::Done, &mut tape);
        }
        let before = content(|sector| file.read_value(sector), file.len_sectors());
        sync(&mut file);
        assert_eq!(images(&file), [before].into(), "seed {seed}");
        assert_eq!(file.pending(), 0);
    }
}

#[test]
fn something_always_in_flight_costs_no_memory() {
    let mut file = file(&[1; 8]);
    let slow = submit(&mut file, 0, &[100, 101, 102]);
    // One unit of it lands at once.
    let mut out = Vec::new();
    let land = [(Kind::Land, 2, 0), (Kind::Land, 2, 1), (Kind::Land, 2, 0)];
    file.observe(0, 3, &mut out, &mut answers(&land));
    assert_eq!(seen(&file)[..3], [1, 101, 1]);
    let mut last = submit(&mut file, 4, &[200, 200]);
    for round in 0..10_000 {
        let next = submit(&mut file, 4, &[201 + round, 201 + round]);
        // Every other time the older one came later.
        file.complete(last, Effect::Done, &mut calm());
        write(&mut file, 2, &[1000 + round]);
        file.observe(
            5,
            1,
            &mut out,
            &mut answers(&[(Kind::Land, 2, (round % 2) as u32)]),
        );
        sync(&mut file);
        last = next;
        assert!(
            file.cache.size() < 500,
            "{} after {round} rounds",
            file.cache.size()
        );
    }
    done(&mut file, last);
    sync(&mut file);
    // What was seen of the slow one is no more durable than the rest of it.
    let mut expected = BTreeSet::new();
    for (a, b, c) in (0..8).map(|bits| (bits & 1, bits & 2, bits & 4)) {
        let [a, b, c] = [
            [1, 100][a.min(1)],
            [1, 101][b.min(1)],
            [10_999, 102][c.min(1)],
        ];
        expected.insert((8, vec![a, b, c, 1, 10_200, 10_200, 1, 1]));
    }
    assert_eq!(images(&file), expected);
    file.complete(slow, Effect::Done, &mut answers(&[(Kind::Order, 2, 1)]));
    assert_eq!(seen(&file), [100, 101, 10_999, 1, 10_200, 10_200, 1, 1]);
}
