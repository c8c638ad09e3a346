//! The holes bitmap and the end of the file: reservations, releases and extensions against each other.

use super::engine::image::Image;
use super::engine::rig::{Io, Rig, options};
use super::explore::{check, race, thread};
use super::ops::{discard, flush, write};
use super::stage::{FULL, chase, finish, is_extension, is_punch, marked, one, until};
use crate::core::{Failure, NoSpace, Options};

/// Gives the host of cluster 0 back as far as its punch, which is in flight then.
fn punching(rig: &Rig) -> (Io, Vec<Io>) {
    rig.run((0, 0), discard(0, 1)).expect("discarded");
    let mut pool = rig.submit((0, 1), flush());
    let punch = until(rig, &mut pool, is_punch);
    (punch, pool)
}

/// Two reservations and a release: nobody gets the same host, whoever finds none extends the file.
#[test]
fn two_reservations_and_a_release() {
    let image = Image::new(FULL);
    check("two_reservations_and_a_release", None, move |last| {
        let rig = marked(&image, options());
        let (punch, mut pool) = punching(&rig);
        let threads = [
            thread(|rig| rig.submit((0, 2), write(1, 1))),
            thread(|rig| rig.submit((1, 2), write(2, 1))),
            thread(|rig| rig.done(punch)),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

/// The file grows while another reservation finds nothing: it joins, or starts the next extension, or gets a host.
#[test]
fn extension_against_reservation() {
    let image = Image::new(FULL);
    check("extension_against_reservation", None, move |last| {
        let rig = marked(&image, options());
        let extension = one(rig.submit((0, 2), write(1, 1)));
        let threads = [
            thread(|rig| chase(rig, rig.submit((1, 2), write(2, 1)))),
            thread(|rig| chase(rig, rig.done(extension))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// An extension ends, either way, while a punch gives a host to one of those who wait for it.
fn extension_ends_against_release(
    name: &str,
    no_space: NoSpace,
    end: Result<(), Failure>,
    prealloc: u64,
) {
    let image = Image::new(FULL);
    let options = Options {
        no_space,
        prealloc: crate::core::units::Sectors(prealloc),
        ..options()
    };
    check(name, None, move |last| {
        let rig = marked(&image, options);
        let (punch, mut pool) = punching(&rig);
        let mut waiting = rig.submit((0, 2), write(1, 1));
        waiting.extend(rig.submit((0, 3), write(2, 1)));
        let extension = one(waiting);
        assert!(is_extension(&extension.op));
        let threads = [
            thread(|rig| rig.done(punch)),
            thread(move |rig| rig.end(extension, end)),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

#[test]
fn extension_done_against_release() {
    let wait = options().no_space;
    extension_ends_against_release("extension_done_against_release", wait, Ok(()), 1);
}

#[test]
fn extension_failed_against_release() {
    let wait = options().no_space;
    let io = Err(Failure::Io);
    extension_ends_against_release("extension_failed_against_release", wait, io, 1);
}

#[test]
fn extension_without_space_against_release() {
    let none = Err(Failure::NoSpace);
    let name = "extension_without_space_against_release";
    extension_ends_against_release(name, NoSpace::Fail, none, 1);
}

#[test]
fn extension_starves_against_release() {
    let none = Err(Failure::NoSpace);
    let name = "extension_starves_against_release";
    extension_ends_against_release(name, options().no_space, none, 1);
}

#[test]
fn extension_reduced_against_release() {
    let none = Err(Failure::NoSpace);
    let name = "extension_reduced_against_release";
    extension_ends_against_release(name, options().no_space, none, 4);
}
