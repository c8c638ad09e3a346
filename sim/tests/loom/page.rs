//! One metadata page: look-ups and allocations against each other and against the page's write-back.

use super::engine::image::Image;
use super::engine::rig::options;
use super::explore::{check, race, thread};
use super::ops::{discard, flush, promote, read, write, write_fua};
use super::stage::{
    CHAIN, FULL, PLAIN, chase, finish, is_index, is_sync, marked, marked_watched, one, serve, until,
};

/// A read, and a write that finds the cluster held or mapped, against the publication of its mapping.
#[test]
fn lookup_against_publish() {
    let image = Image::new(PLAIN);
    check("lookup_against_publish", None, move |last| {
        let rig = marked(&image, options());
        let base = one(rig.submit((0, 0), write(1, 1)));
        let threads = [
            thread(|rig| chase(rig, rig.submit((1, 0), read(1, 1)))),
            thread(|rig| chase(rig, rig.submit((1, 1), write(1, 1)))),
            thread(|rig| rig.done(base)),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A write that finds a mapping is acknowledged while the mapping is being published: a server that is killed then must
/// leave a slot that leads to it.
#[test]
fn acknowledged_against_kept_slot() {
    let image = Image::new(PLAIN);
    check("acknowledged_against_kept_slot", None, move |last| {
        let rig = marked_watched(&image, options());
        let base = one(rig.submit((0, 0), write(1, 1)));
        let threads = [
            thread(|rig| rig.done(base)),
            thread(|rig| chase(rig, rig.submit((1, 1), write(1, 1)))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// Look-up against publication over a lower delta: the base is a copy, the guest's own sector follows in place.
#[test]
fn lookup_against_copy_on_write() {
    let image = Image::new(CHAIN);
    check("lookup_against_copy_on_write", None, move |last| {
        let rig = marked(&image, options());
        let copy = one(rig.submit((0, 0), write(2, 1)));
        let threads = [
            thread(|rig| chase(rig, rig.submit((1, 0), read(2, 2)))),
            thread(|rig| chase(rig, rig.submit((1, 1), write(3, 1)))),
            thread(|rig| chase(rig, vec![copy])),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A cluster is promoted while it is written and read: one of the two copies it, once, and the guest sees no difference.
#[test]
fn promotion_against_write() {
    let image = Image::new(CHAIN);
    check("promotion_against_write", None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| chase(rig, rig.submit((0, 0), promote(2, 2)))),
            thread(|rig| chase(rig, rig.submit((1, 0), write(2, 1)))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// The same against a discard of the whole cluster: it must not show what is below.
#[test]
fn promotion_against_discard() {
    let image = Image::new(CHAIN);
    check("promotion_against_discard", None, move |last| {
        let rig = marked(&image, options());
        let copy = one(rig.submit((0, 0), promote(2, 2)));
        let threads = [
            thread(|rig| chase(rig, rig.submit((1, 0), discard(2, 2)))),
            thread(|rig| chase(rig, rig.submit((1, 1), read(2, 2)))),
            thread(|rig| chase(rig, vec![copy])),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// Two writes to one unmapped cluster: one makes the mapping, the other waits for it.
#[test]
fn two_writers_of_one_cluster() {
    let image = Image::new(PLAIN);
    check("two_writers_of_one_cluster", None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| chase(rig, rig.submit((0, 0), write(1, 1)))),
            thread(|rig| chase(rig, rig.submit((1, 0), write_fua(1, 1)))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// Two allocations on one page, from the reservation to the round that both ride in.
#[test]
fn two_allocators_of_one_page() {
    let image = Image::new(PLAIN);
    check("two_allocators_of_one_page", None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| chase(rig, rig.submit((0, 0), write(1, 1)))),
            thread(|rig| chase(rig, rig.submit((1, 0), write(2, 1)))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A round takes its image while an allocation joins the page (park, prepare, attach).
#[test]
fn allocation_against_start_of_round() {
    let image = Image::new(FULL);
    check("allocation_against_start_of_round", None, move |last| {
        let rig = marked(&image, options());
        // Two fresh hosts: the first mapping may be written after the sync that covers the extension.
        rig.run((0, 0), write_fua(1, 1)).expect("allocated");
        rig.run((0, 0), discard(1, 1)).expect("given up");
        let mut pool = rig.submit((0, 1), flush());
        let base = one(rig.submit((0, 0), write_fua(2, 1)));
        let threads = [thread(|rig| rig.turn(0)), thread(|rig| rig.done(base))];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// Two queues end their batches at once: each dirty page gets one round.
#[test]
fn two_turns() {
    let image = Image::new(FULL);
    check("two_turns", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), write_fua(1, 1)).expect("allocated");
        rig.run((0, 0), discard(1, 1)).expect("given up");
        let mut pool = rig.submit((0, 1), flush());
        let threads = [thread(|rig| rig.turn(0)), thread(|rig| rig.turn(1))];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// The image is written while another slot of the page is published.
#[test]
fn index_written_against_allocation() {
    let image = Image::new(PLAIN);
    check("index_written_against_allocation", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), write(1, 1)).expect("allocated");
        let mut pool = rig.submit((0, 1), flush());
        let index = until(&rig, &mut pool, is_index);
        let base = one(rig.submit((0, 0), write_fua(2, 1)));
        let threads = [
            thread(|rig| {
                let mut left = rig.done(index);
                left.extend(rig.turn(0));
                left
            }),
            thread(|rig| {
                let mut left = rig.done(base);
                left.extend(rig.turn(1));
                left
            }),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// The round's sync ends while another slot of the page is published, and a third is looked up.
#[test]
fn round_settles_against_allocation() {
    let image = Image::new(PLAIN);
    check("round_settles_against_allocation", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), write(1, 1)).expect("allocated");
        let mut pool = rig.submit((0, 1), flush());
        let index = until(&rig, &mut pool, is_index);
        pool.extend(rig.done(index));
        let sync = until(&rig, &mut pool, is_sync);
        let base = one(rig.submit((0, 0), write_fua(2, 1)));
        let threads = [
            thread(|rig| {
                let mut left = rig.done(sync);
                left.extend(rig.turn(0));
                left
            }),
            thread(|rig| rig.submit((1, 1), write_fua(1, 1))),
            thread(|rig| rig.done(base)),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// A slot that is being written is given up while the round settles, and another cluster looks for a host: it never gets
/// the one that the image on the disk names.
#[test]
fn round_settles_against_its_own_slot() {
    let image = Image::new(FULL);
    check("round_settles_against_its_own_slot", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), write(1, 1)).expect("allocated");
        let mut pool = rig.submit((0, 1), flush());
        let index = until(&rig, &mut pool, is_index);
        let threads = [
            thread(|rig| {
                let mut left = rig.done(index);
                left.extend(rig.turn(0));
                let sync = left.pop();
                left.extend(sync.into_iter().flat_map(|sync| rig.done(sync)));
                left
            }),
            thread(|rig| {
                let mut left = chase(rig, rig.submit((1, 0), discard(1, 1)));
                left.extend(rig.submit((1, 1), write(2, 1)));
                left
            }),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// A page that waits for a sync before its round: the sync ends while a younger change wants the round too.
#[test]
fn awaited_sync_against_allocation() {
    let image = Image::new(PLAIN);
    check("awaited_sync_against_allocation", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), write(1, 1)).expect("allocated");
        let mut pool = rig.submit((0, 1), flush());
        let sync = until(&rig, &mut pool, is_sync);
        let base = one(rig.submit((0, 0), write_fua(2, 1)));
        let threads = [
            thread(|rig| {
                let mut left = rig.done(sync);
                left.extend(rig.turn(0));
                left
            }),
            thread(|rig| {
                let mut left = rig.done(base);
                left.extend(rig.turn(1));
                left
            }),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// The first two modifying requests: one makes the in-use mark, both wait for it.
#[test]
fn two_requests_wait_for_the_mark() {
    let image = Image::new(PLAIN);
    check("two_requests_wait_for_the_mark", None, move |last| {
        let rig = super::engine::rig::Rig::new(&image, options());
        let threads = [
            thread(|rig| {
                let list = rig.submit((0, 0), write(1, 1));
                serve(rig, 0, list)
            }),
            thread(|rig| rig.submit((1, 0), discard(0, 1))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}
