//! Discards: against I/O on their cluster, against allocations on their page, and the life of the host they give up.

use super::engine::image::Image;
use super::engine::rig::options;
use super::explore::{check, race, thread};
use super::ops::{discard, flush, read, write, write_fua};
use super::stage::{CHAIN, FULL, PLAIN, chase, finish, is_index, is_sync, marked, one, until};

/// A discard and a write of one mapped cluster, both from their look-up to their end.
#[test]
fn discard_against_write_of_its_cluster() {
    let image = Image::new(PLAIN);
    check("discard_against_write_of_its_cluster", None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| chase(rig, rig.submit((0, 0), discard(0, 1)))),
            thread(|rig| chase(rig, rig.submit((1, 0), write_fua(0, 1)))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A write is on its way to a mapped host while a discard gives that host up for another cluster: the look-up and the
/// registration that keeps the discard waiting are one step.
#[test]
fn lookup_against_reuse_of_its_host() {
    let image = Image::new(FULL);
    check("lookup_against_reuse_of_its_host", None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| chase(rig, rig.submit((0, 0), discard(0, 1)))),
            thread(|rig| rig.submit((1, 0), write(0, 1))),
        ];
        let on_its_way = race(&rig, threads);
        let mut pool = rig.submit((0, 1), flush());
        rig.drain(&mut pool, last);
        pool.extend(rig.submit((0, 2), write(1, 1)));
        rig.drain(&mut pool, last);
        finish(&rig, on_its_way, last);
    });
}

/// A discard against an allocation under way on the same cluster.
#[test]
fn discard_against_allocation_of_its_cluster() {
    let image = Image::new(PLAIN);
    let name = "discard_against_allocation_of_its_cluster";
    check(name, None, move |last| {
        let rig = marked(&image, options());
        let base = one(rig.submit((0, 0), write(1, 1)));
        let threads = [
            thread(|rig| rig.submit((1, 0), discard(1, 1))),
            thread(|rig| rig.submit((1, 1), read(1, 1))),
            thread(|rig| rig.done(base)),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A discard against an allocation on another slot of the same page, both wanted durably.
#[test]
fn discard_against_allocation_of_its_page() {
    let image = Image::new(PLAIN);
    let name = "discard_against_allocation_of_its_page";
    check(name, None, move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| chase(rig, rig.submit((0, 0), discard(0, 1)))),
            thread(|rig| chase(rig, rig.submit((1, 0), write_fua(1, 1)))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// A discard meets two I/Os in flight that end around it: the last one to end un-maps the cluster.
#[test]
fn discard_drains_mapped_io() {
    let image = Image::new(PLAIN);
    check("discard_drains_mapped_io", None, move |last| {
        let rig = marked(&image, options());
        let reading = one(rig.submit((0, 0), read(0, 1)));
        let writing = one(rig.submit((0, 1), write(0, 1)));
        let threads = [
            thread(|rig| rig.submit((1, 0), discard(0, 1))),
            thread(|rig| rig.done(reading)),
            thread(|rig| rig.done(writing)),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// While a discard drains, a write comes and an I/O ends: the write takes another host.
#[test]
fn write_against_draining_discard() {
    let image = Image::new(PLAIN);
    check("write_against_draining_discard", None, move |last| {
        let rig = marked(&image, options());
        let reading = one(rig.submit((0, 0), read(0, 1)));
        assert!(rig.submit((0, 1), discard(0, 1)).is_empty());
        let threads = [
            thread(|rig| rig.submit((1, 0), write(0, 1))),
            thread(|rig| rig.submit((1, 1), read(0, 1))),
            thread(|rig| rig.done(reading)),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// The same cluster is mapped in a lower delta: the discard zeroes and keeps the mapping.
#[test]
fn discard_over_lower_data() {
    let image = Image::new(CHAIN);
    check("discard_over_lower_data", None, move |last| {
        let rig = marked(&image, options());
        let reading = one(rig.submit((0, 0), read(0, 2)));
        let threads = [
            thread(|rig| chase(rig, rig.submit((1, 0), discard(0, 2)))),
            thread(|rig| chase(rig, rig.submit((1, 1), write(1, 1)))),
            thread(|rig| rig.done(reading)),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// The un-map becomes durable, and the host is given back, while an allocation looks for one: it never gets a host that
/// the disk may still name.
#[test]
fn durable_unmap_against_allocation() {
    let image = Image::new(FULL);
    check("durable_unmap_against_allocation", None, move |last| {
        let rig = marked(&image, options());
        rig.run((0, 0), discard(0, 1)).expect("discarded");
        let mut pool = rig.submit((0, 1), flush());
        let index = until(&rig, &mut pool, is_index);
        pool.extend(rig.done(index));
        let sync = until(&rig, &mut pool, is_sync);
        let threads = [
            thread(|rig| rig.submit((1, 0), write(1, 1))),
            thread(|rig| chase(rig, rig.done(sync))),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}
