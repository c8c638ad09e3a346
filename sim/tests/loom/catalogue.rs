//! Races of historic bugs (`corpus/bugs`, the patches name the test that must fail) for which no model of a protocol
//! stands at the right place: the state before the race is what makes the mistake harmful.

use super::engine::image::Image;
use super::engine::rig::options;
use super::explore::{check, race, thread};
use super::ops::{discard, flush, read, write, write_fua};
use super::stage::{PLAIN, finish, is_index, is_sync, marked, one, until};

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
