//! Races of historic bugs (`corpus/bugs`, the patches name the test that must fail) for which no model of a protocol
//! stands at the right place: the state before the race is what makes the mistake harmful.

use super::engine::image::Image;
use super::engine::rig::options;
use super::explore::{check, race, thread};
use super::ops::{discard, flush, read, write, write_fua};
use super::stage::{
    PLAIN, TWO_PAGES, chase, finish, finish_poisoned, is_index, is_sync, marked, one, until,
};
use crate::core::{Failure, IoOp};

/// A read meets a discard of its cluster; before the read's I/O is carried out, the host may belong to somebody else: but
/// not while the read knows it (S7, D23).
#[test]
fn read_against_discard_and_reuse() {
    let image = Image::new(PLAIN);
    check("read_against_discard_and_reuse", None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| rig.submit((1, 0), read(0, 1))),
            thread(|rig| rig.submit((0, 0), discard(0, 1))),
        ];
        let left = race(&rig, threads);
        rig.run((0, 1), flush()).expect("flushed");
        rig.run((0, 2), write(1, 1)).expect("another cluster");
        finish(&rig, left, last);
    });
}

/// A round takes its image while a mapping is published whose data no sync covers yet (S5).
#[test]
fn round_against_publication_of_unsynced_data() {
    let image = Image::new(PLAIN);
    let name = "round_against_publication_of_unsynced_data";
    check(name, None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), discard(0, 1)).expect("discarded");
        let mut pool = rig.submit((0, 1), flush());
        let base = one(rig.submit((0, 0), write(1, 1)));
        let threads = [thread(|rig| rig.turn(0)), thread(|rig| rig.done(base))];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// A round ends while another queue starts the next one, in which a younger change of the page rides (S3).
#[test]
fn end_of_round_against_start_of_the_next() {
    let image = Image::new(PLAIN);
    check(
        "end_of_round_against_start_of_the_next",
        None,
        move |last| {
            let rig = marked(&image, options());
            rig.run((0, 0), write(1, 1)).expect("allocated");
            let mut pool = rig.submit((0, 1), flush());
            let index = until(&rig, &mut pool, is_index);
            // Published while the image is under way, and covered by the sync that ends the round.
            let base = one(rig.submit((0, 0), write_fua(2, 1)));
            pool.extend(rig.done(base));
            pool.extend(rig.done(index));
            let sync = until(&rig, &mut pool, is_sync);
            let threads = [thread(|rig| rig.turn(1)), thread(|rig| rig.done(sync))];
            pool.extend(race(&rig, threads));
            finish(&rig, pool, last);
        },
    );
}

/// A failed FUA write tells everybody who waits for the sync that is in flight; that sync still is, and so the barrier
/// waits for it (S8).
#[test]
fn barrier_against_sync_that_nobody_waits_for() {
    let image = Image::new(PLAIN);
    let name = "barrier_against_sync_that_nobody_waits_for";
    check(name, None, move |last| {
        let rig = marked(&image, options());
        let fua = one(rig.submit((0, 0), write_fua(0, 1)));
        let mut pool = rig.submit((0, 1), flush());
        let sync = until(&rig, &mut pool, is_sync);
        pool.extend(rig.suspend());
        let threads = [
            thread(|rig| rig.fail(fua, Failure::Io)),
            thread(|rig| {
                assert!(!rig.is_quiesced(), "quiesced with a sync in flight (I35)");
                Vec::new()
            }),
        ];
        pool.extend(race(&rig, threads));
        assert!(!rig.is_quiesced(), "quiesced with a sync in flight (I35)");
        pool.extend(rig.done(sync));
        pool.extend(rig.resume());
        finish_poisoned(&rig, pool, last);
    });
}

/// Tracking starts while a cluster is mapped for the first time: the look around sees it, or its end marks it (S10).
#[test]
fn tracking_against_first_write() {
    let image = Image::new(PLAIN);
    check("tracking_against_first_write", None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| {
                rig.device.start_tracking();
                Vec::new()
            }),
            thread(|rig| chase(rig, rig.submit((0, 0), write(1, 1)))),
        ];
        let left = race(&rig, threads);
        let mut marked = Vec::new();
        while let Ok(Some(clu)) = rig.device.next_tracked() {
            marked.push(clu.0);
        }
        assert!(
            marked.contains(&1),
            "[tracking] cluster 1 was written, and {marked:?} are marked"
        );
        rig.device.stop_tracking();
        finish(&rig, left, last);
    });
}

/// Whoever waits for a cluster goes on in the order of arrival (S17).
#[test]
fn waiters_go_on_in_order_of_arrival() {
    let image = Image::new(PLAIN);
    check("waiters_go_on_in_order_of_arrival", None, move |last| {
        let rig = marked(&image, options());
        let base = one(rig.submit((0, 0), write(1, 1)));
        for tag in 1..4 {
            assert!(rig.submit((0, tag), write(1, 1)).is_empty(), "parked");
        }
        let left = rig.done(base);
        let tags = left.iter().filter_map(|io| match &io.op {
            IoOp::Write { buf, .. } => Some(buf.origin.tag.0),
            _ => None,
        });
        let order: Vec<u16> = tags.collect();
        assert_eq!(order, [1, 2, 3], "[order] of those that waited");
        finish(&rig, left, last);
    });
}

/// The rounds of two pages end at the same time: both are counted out (S20i).
#[test]
fn two_rounds_end() {
    let image = Image::new(TWO_PAGES);
    check("two_rounds_end", None, move |last| {
        let rig = marked(&image, options());
        let mut pool = rig.submit((0, 0), discard(0, 1));
        pool.extend(rig.submit((0, 1), discard(4, 1)));
        pool.extend(rig.submit((0, 2), flush()));
        let first = until(&rig, &mut pool, is_index);
        let second = until(&rig, &mut pool, is_index);
        let threads = [
            thread(|rig| rig.fail(first, Failure::Io)),
            thread(|rig| rig.fail(second, Failure::Io)),
        ];
        pool.extend(race(&rig, threads));
        pool.extend(rig.suspend());
        rig.drain(&mut pool, last);
        assert!(
            rig.is_quiesced(),
            "[progress] never quiesced\n{}",
            rig.device.dump()
        );
        pool.extend(rig.resume());
        finish(&rig, pool, last);
    });
}
