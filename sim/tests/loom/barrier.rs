//! Flush, suspend and the barrier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::engine::image::Image;
use super::engine::rig::options;
use super::explore::{check, race, thread};
use super::ops::{discard, flush, read, write};
use super::stage::{FULL, PLAIN, chase, finish, is_index, is_punch, is_sync, marked, one, until};
use crate::core::Failure;

/// A flush comes while a write to a fresh cluster ends: it covers what was acknowledged before it, wherever the page stands.
#[test]
fn flush_against_write_ending() {
    let image = Image::new(PLAIN);
    check("flush_against_write_ending", None, move |last| {
        let rig = marked(&image, options());
        let base = one(rig.submit((0, 0), write(1, 1)));
        let threads = [
            thread(|rig| {
                let mut left = rig.done(base);
                left.extend(rig.turn(0));
                left
            }),
            thread(|rig| {
                let mut left = rig.submit((1, 0), flush());
                left.extend(rig.turn(1));
                left
            }),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A flush counts on the next sync while that one starts and ends: it is told, or finds it ended.
#[test]
fn flush_against_its_sync() {
    let image = Image::new(PLAIN);
    check("flush_against_its_sync", None, move |last| {
        let rig = marked(&image, options());
        assert!(rig.submit((0, 1), flush()).is_empty());
        let threads = [
            thread(|rig| rig.submit((1, 0), flush())),
            thread(|rig| chase(rig, rig.turn(0))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A flush comes while the page's older image is being written: it gets another round for what changed since.
#[test]
fn flush_against_older_image() {
    let image = Image::new(PLAIN);
    check("flush_against_older_image", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), write(1, 1)).expect("allocated");
        let mut pool = rig.submit((0, 1), flush());
        let index = until(&rig, &mut pool, is_index);
        pool.extend(rig.submit((0, 0), write(2, 1)));
        let base = one(std::mem::take(&mut pool));
        rig.done(base);
        pool.extend(rig.done(index));
        let sync = until(&rig, &mut pool, is_sync);
        let threads = [
            thread(|rig| {
                let mut left = rig.submit((1, 1), discard(1, 1));
                left.extend(rig.submit((1, 0), flush()));
                left
            }),
            thread(|rig| rig.done(sync)),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// Suspend comes while a request is submitted and another one ends: the request is done before the barrier, or held back.
#[test]
fn suspend_against_submit() {
    let image = Image::new(PLAIN);
    check("suspend_against_submit", None, move |last| {
        let rig = marked(&image, options());
        let reading = one(rig.submit((0, 0), read(0, 1)));
        let threads = [
            thread(|rig| {
                let left = rig.submit((1, 0), discard(0, 1));
                assert!(
                    left.is_empty() || !rig.is_quiesced(),
                    "quiesced with I/O in flight (I35)"
                );
                left
            }),
            thread(|rig| rig.done(reading)),
            thread(|rig| rig.suspend()),
        ];
        let mut pool = race(&rig, threads);
        rig.drain(&mut pool, last);
        assert!(rig.is_quiesced(), "{}", rig.device.dump());
        rig.device.verify();
        pool.extend(rig.resume());
        finish(&rig, pool, last);
    });
}

/// The last I/O of a suspended device ends while the barrier is asked for: whoever is told "quiesced" is alone with the
/// files, so nothing comes out of that I/O's end.
#[test]
fn barrier_against_last_io() {
    let image = Image::new(PLAIN);
    check("barrier_against_last_io", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), discard(0, 1)).expect("discarded");
        let mut pool = rig.suspend();
        let index = until(&rig, &mut pool, is_index);
        pool.extend(rig.done(index));
        let sync = until(&rig, &mut pool, is_sync);
        let quiesced = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&quiesced);
        let threads = [
            thread(|rig| rig.done(sync)),
            thread(move |rig| {
                seen.store(rig.is_quiesced(), Ordering::Relaxed);
                Vec::new()
            }),
        ];
        pool.extend(race(&rig, threads));
        assert!(
            pool.is_empty() || !quiesced.load(Ordering::Relaxed),
            "quiesced, and then {pool:?} came out (I35)"
        );
        rig.drain(&mut pool, last);
        assert!(rig.is_quiesced(), "{}", rig.device.dump());
        pool.extend(rig.resume());
        finish(&rig, pool, last);
    });
}

/// A suspended device's page still waits for a sync before its round: the barrier is asked for anywhere between that sync
/// and the punch that follows from the round.
#[test]
fn barrier_against_awaited_round() {
    let image = Image::new(PLAIN);
    check("barrier_against_awaited_round", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), discard(0, 1)).expect("discarded");
        rig.run((0, 0), write(1, 1)).expect("allocated");
        let mut suspended = rig.suspend();
        let sync = until(&rig, &mut suspended, is_sync);
        let quiesced = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&quiesced);
        let threads = [
            thread(|rig| {
                let mut left = rig.done(sync);
                vec![until(rig, &mut left, is_punch)]
            }),
            thread(move |rig| {
                seen.store(rig.is_quiesced(), Ordering::Relaxed);
                Vec::new()
            }),
        ];
        let mut pool = race(&rig, threads);
        assert!(
            !quiesced.load(Ordering::Relaxed),
            "quiesced, and then {pool:?} came out (I35)"
        );
        rig.drain(&mut pool, last);
        assert!(rig.is_quiesced(), "{}", rig.device.dump());
        pool.extend(rig.resume());
        finish(&rig, pool, last);
    });
}

/// Suspend cancels the waits for space, also of an I/O that finds none just then: no wait outlives it (I36).
fn suspend_against_starving(name: &str, wanted: fn(&crate::core::IoOp) -> bool) {
    let image = Image::new(FULL);
    check(name, None, move |last| {
        let rig = marked(&image, options());
        let mut pool = rig.submit((0, 0), write(1, 1));
        pool.extend(rig.submit((0, 1), discard(0, 1)));
        pool.extend(rig.submit((0, 2), flush()));
        let io = until(&rig, &mut pool, wanted);
        let threads = [
            thread(|rig| rig.suspend()),
            thread(|rig| rig.fail(io, Failure::NoSpace)),
        ];
        pool.extend(race(&rig, threads));
        rig.drain(&mut pool, last);
        assert!(
            !rig.device.is_starving(),
            "a wait for space outlives suspend"
        );
        assert!(rig.is_quiesced(), "{}", rig.device.dump());
        pool.extend(rig.resume());
        finish(&rig, pool, last);
    });
}

#[test]
fn suspend_against_starving_extension() {
    suspend_against_starving(
        "suspend_against_starving_extension",
        super::stage::is_extension,
    );
}

#[test]
fn suspend_against_starving_index() {
    suspend_against_starving("suspend_against_starving_index", is_index);
}

/// Two suspended halves of one request: the barrier waits for both.
#[test]
fn barrier_against_parts_of_a_request() {
    let image = Image::new(PLAIN);
    check("barrier_against_parts_of_a_request", None, move |last| {
        let rig = marked(&image, options());
        let mut parts = rig.submit((0, 0), write(0, 2));
        let mut pool = rig.suspend();
        let (Some(second), Some(first)) = (parts.pop(), parts.pop()) else {
            panic!("two parts: {parts:?}");
        };
        let threads = [
            thread(|rig| chase(rig, vec![first])),
            thread(|rig| {
                assert!(!rig.is_quiesced(), "quiesced with a part in flight (I35)");
                let left = chase(rig, vec![second]);
                // The first part may have ended, or not; what follows from this one is not written back yet.
                assert!(!rig.is_quiesced(), "quiesced with a page to write (I35)");
                left
            }),
        ];
        pool.extend(race(&rig, threads));
        rig.drain(&mut pool, last);
        assert!(rig.is_quiesced(), "{}", rig.device.dump());
        pool.extend(rig.resume());
        finish(&rig, pool, last);
    });
}
