//! The barrier of a topology switch (I12, I13, I35), against each sort of request: from the moment when the control plane is
//! told "drained" no part of an earlier request is in flight or begins, whatever it was waiting for; and what came too late
//! is carried out on the new chain, once.
//!
//! ```text
//!   client    ──request, in parts, copies, waiting──▶ ...        ╲ raced in every order
//!   control   ──suspend──▶ "drained?"                            ╱
//!   then      ──the rest, "drained!"──▶ close ──▶ the files change ──▶ open ──▶ what had not ended comes again ──▶ all checks
//! ```
//! The rig judges (`engine::ledger`): nothing in flight when somebody is told so, nothing begins until requests go again,
//! on the old device never again; what was closed is durable, and reads the same after the switch.

use super::engine::image::Image;
use super::engine::rig::{Io, Rig, options};
use super::engine::switch::Switch;
use super::explore::{Thread, check, race, thread};
use super::ops::{discard, flush, promote, read, write, write_fua};
use super::stage::{
    CHAIN, FULL, PLAIN, chase, finish, is_extension, is_index, is_sync, marked_guarded, one, serve,
    until,
};
use crate::core::{Failure, IoOp};

/// The control plane: suspends, and asks once.
fn suspends() -> Thread {
    thread(|rig| {
        let left = rig.suspend();
        rig.is_quiesced();
        left
    })
}

/// Carries out what the race left; then the chain is changed, and the requests that have not ended come again.
fn switch(rig: &Rig, mut pool: Vec<Io>, switch: Switch, last: bool) {
    rig.drain(&mut pool, last);
    assert!(
        rig.is_quiesced(),
        "[progress] never drained (I35)\n{}",
        rig.device.dump()
    );
    rig.device.verify();
    pool.extend(rig.switch(switch));
    finish(rig.current(), pool, last);
}

/// A write of two clusters: one part in place, the other one over lower data, which is copied first.
#[test]
fn suspend_against_split_write() {
    let image = Image::new(CHAIN);
    check("suspend_against_split_write", None, move |last| {
        let rig = marked_guarded(&image, options());
        let mut parts = rig.submit((0, 0), write(1, 2));
        let (Some(copied), Some(placed)) = (parts.pop(), parts.pop()) else {
            panic!("two parts: {parts:?}");
        };
        let threads = [
            thread(|rig| rig.done(placed)),
            thread(|rig| chase(rig, vec![copied])),
            suspends(),
        ];
        let left = race(&rig, threads);
        switch(&rig, left, Switch::Snapshot, last);
    });
}

/// The same from the look-up on: while it is suspended the request may have begun, or is held back, but as a whole.
#[test]
fn suspend_against_split_submit() {
    let image = Image::new(CHAIN);
    check("suspend_against_split_submit", None, move |last| {
        let rig = marked_guarded(&image, options());
        let threads = [thread(|rig| rig.submit((0, 0), write(1, 2))), suspends()];
        let left = race(&rig, threads);
        switch(&rig, left, Switch::Snapshot, last);
    });
}

/// A copy on write whose copy ends, so that its data write begins; another write waits for the cluster.
#[test]
fn suspend_against_copy() {
    let image = Image::new(CHAIN);
    check("suspend_against_copy", None, move |last| {
        let rig = marked_guarded(&image, options());
        let copy = one(rig.submit((0, 0), write(2, 1)));
        assert!(rig.submit((0, 1), write(3, 1)).is_empty(), "parked");
        let threads = [thread(|rig| chase(rig, vec![copy])), suspends()];
        let left = race(&rig, threads);
        switch(&rig, left, Switch::Forward, last);
    });
}

/// The data write of a copy on write ends, while a read and the barrier arrive.
#[test]
fn suspend_against_data_of_a_copy() {
    let image = Image::new(CHAIN);
    check("suspend_against_data_of_a_copy", None, move |last| {
        let rig = marked_guarded(&image, options());
        let mut pool = rig.submit((0, 0), write(2, 1));
        let data = until(&rig, &mut pool, |op| matches!(op, IoOp::Write { .. }));
        let threads = [
            thread(|rig| rig.done(data)),
            thread(|rig| rig.submit((1, 0), read(2, 2))),
            suspends(),
        ];
        pool.extend(race(&rig, threads));
        switch(&rig, pool, Switch::Backward, last);
    });
}

/// A cluster is promoted: its copy ends, while a write of it arrives.
#[test]
fn suspend_against_promotion() {
    let image = Image::new(CHAIN);
    check("suspend_against_promotion", None, move |last| {
        let rig = marked_guarded(&image, options());
        let copy = one(rig.submit((0, 0), promote(2, 2)));
        let threads = [
            thread(|rig| chase(rig, vec![copy])),
            thread(|rig| rig.submit((1, 0), write(2, 1))),
            suspends(),
        ];
        let left = race(&rig, threads);
        switch(&rig, left, Switch::Forward, last);
    });
}

/// A write that waits for space is tried again.
#[test]
fn suspend_against_retry() {
    let image = Image::new(FULL);
    check("suspend_against_retry", None, move |last| {
        let rig = marked_guarded(&image, options());
        let mut pool = rig.submit((0, 0), write(1, 1));
        let extension = until(&rig, &mut pool, is_extension);
        pool.extend(rig.fail(extension, Failure::NoSpace));
        let threads = [thread(|rig| chase(rig, rig.tick(1_000_000))), suspends()];
        pool.extend(race(&rig, threads));
        switch(&rig, pool, Switch::Snapshot, last);
    });
}

/// A write finds no space, and another one joins it, while the device is suspended: the wait ends, one way or the other.
#[test]
fn suspend_against_starving_writes() {
    let image = Image::new(FULL);
    check("suspend_against_starving_writes", None, move |last| {
        let rig = marked_guarded(&image, options());
        let extension = one(rig.submit((0, 0), write(1, 1)));
        let threads = [
            thread(|rig| rig.fail(extension, Failure::NoSpace)),
            thread(|rig| rig.submit((1, 0), write(2, 1))),
            suspends(),
        ];
        let left = race(&rig, threads);
        switch(&rig, left, Switch::Snapshot, last);
    });
}

/// A discard waits for a read of its cluster, which ends.
#[test]
fn suspend_against_draining_discard() {
    let image = Image::new(PLAIN);
    check("suspend_against_draining_discard", None, move |last| {
        let rig = marked_guarded(&image, options());
        let reading = one(rig.submit((0, 0), read(0, 1)));
        assert!(rig.submit((0, 1), discard(0, 1)).is_empty(), "parked");
        let threads = [thread(|rig| rig.done(reading)), suspends()];
        let left = race(&rig, threads);
        switch(&rig, left, Switch::Compact, last);
    });
}

/// A flush, from its arrival to the first I/O of its write-back: on the new chain it still covers what was acknowledged.
#[test]
fn suspend_against_flush() {
    let image = Image::new(PLAIN);
    check("suspend_against_flush", None, move |last| {
        let rig = marked_guarded(&image, options());
        rig.run((0, 1), write(1, 1)).expect("allocated");
        let threads = [
            thread(|rig| {
                let mut left = rig.submit((0, 0), flush());
                left.extend(rig.turn(0));
                left
            }),
            suspends(),
        ];
        let left = race(&rig, threads);
        switch(&rig, left, Switch::Snapshot, last);
    });
}

/// A write with FUA waits for its slot: the round ends.
#[test]
fn suspend_against_slot_of_fua() {
    let image = Image::new(PLAIN);
    check("suspend_against_slot_of_fua", None, move |last| {
        let rig = marked_guarded(&image, options());
        let mut pool = rig.submit((0, 0), write_fua(1, 1));
        let index = until(&rig, &mut pool, is_index);
        let threads = [thread(|rig| serve(rig, 0, vec![index])), suspends()];
        pool.extend(race(&rig, threads));
        switch(&rig, pool, Switch::Grow(3), last);
    });
}

/// The first two writes wait for the in-use mark.
#[test]
fn suspend_against_mark() {
    let image = Image::new(PLAIN);
    check("suspend_against_mark", None, move |last| {
        let rig = Rig::guarded(&image, options());
        let mut pool = rig.submit((0, 0), write(0, 1));
        let index = until(&rig, &mut pool, is_index);
        assert!(rig.submit((1, 0), write(1, 1)).is_empty(), "parked");
        pool.extend(rig.done(index));
        let sync = until(&rig, &mut pool, is_sync);
        let threads = [thread(|rig| rig.done(sync)), suspends()];
        pool.extend(race(&rig, threads));
        switch(&rig, pool, Switch::Snapshot, last);
    });
}

/// A request arrives while the chain is switched: it goes to the old device, which holds it back or is shut, or to the new
/// one, and is carried out once, there.
#[test]
fn switch_against_arrival() {
    let image = Image::new(CHAIN);
    check("switch_against_arrival", None, move |last| {
        let rig = marked_guarded(&image, options());
        let mut pool = rig.suspend();
        rig.drain(&mut pool, last);
        assert!(rig.submit((0, 0), write(3, 1)).is_empty(), "held back");
        assert!(rig.is_quiesced());
        let threads = [
            thread(|rig| chase(rig, rig.current().submit((1, 0), write(2, 1)))),
            thread(|rig| rig.switch(Switch::Snapshot)),
        ];
        pool.extend(race(&rig, threads));
        finish(rig.current(), pool, last);
    });
}

/// The switch is given up: requests that were held back and one that arrives meanwhile go on, each once.
#[test]
fn resume_against_arrival() {
    let image = Image::new(PLAIN);
    check("resume_against_arrival", None, move |last| {
        let rig = marked_guarded(&image, options());
        let mut pool = rig.suspend();
        assert!(rig.submit((0, 0), write(1, 1)).is_empty(), "held back");
        rig.drain(&mut pool, last);
        assert!(rig.is_quiesced());
        let threads = [
            thread(|rig| chase(rig, rig.resume())),
            thread(|rig| chase(rig, rig.submit((1, 0), write(1, 1)))),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// Suspended and given up at once, while a request arrives and another one ends.
#[test]
fn suspend_and_resume_against_arrival() {
    let image = Image::new(PLAIN);
    check("suspend_and_resume_against_arrival", None, move |last| {
        let rig = marked_guarded(&image, options());
        let base = one(rig.submit((0, 0), write(1, 1)));
        let threads = [
            thread(|rig| {
                let mut left = rig.suspend();
                left.extend(rig.resume());
                left
            }),
            thread(|rig| {
                let mut left = rig.done(base);
                left.extend(rig.submit((1, 0), discard(1, 1)));
                left
            }),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}
