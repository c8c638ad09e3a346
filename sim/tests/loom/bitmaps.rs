//! Who has to know of every change: the dirty bitmaps (I32) and the marks of a live copy (I40), against the writes that
//! change something, and against those who start, stop, save and take.

use super::engine::image::Image;
use super::engine::rig::{Io, Rig, options};
use super::engine::switch::Switch;
use super::explore::{Thread, check, race, thread};
use super::ops::{discard, read, write};
use super::stage::{MAPPED, PLAIN, chase, finish, marked_guarded, one};

/// Suspends, and if all is drained at once, switches.
fn switches(switch: Switch) -> Thread {
    thread(move |rig| {
        let mut left = rig.suspend();
        if rig.is_quiesced() {
            left.extend(rig.switch(switch));
        }
        left
    })
}

/// If it was not drained at once, it is now.
fn switch_now(rig: &Rig, mut pool: Vec<Io>, switch: Switch, last: bool) -> Vec<Io> {
    if rig.number == rig.current().number {
        rig.drain(&mut pool, last);
        assert!(
            rig.is_quiesced(),
            "[progress] never drained (I35)\n{}",
            rig.device.dump()
        );
        pool.extend(rig.switch(switch));
    }
    pool
}

/// Two writes and a discard end at the same time, in three clusters: all of them are in the bitmap that is saved.
#[test]
fn three_changes_of_one_bitmap() {
    let image = Image::tracked(MAPPED);
    check("three_changes_of_one_bitmap", None, move |last| {
        let rig = marked_guarded(&image, options());
        let one_end = one(rig.submit((0, 0), write(0, 1)));
        let other_end = one(rig.submit((0, 1), write(1, 1)));
        let threads = [
            thread(|rig| rig.done(one_end)),
            thread(|rig| rig.done(other_end)),
            thread(|rig| rig.submit((1, 0), discard(2, 1))),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// What a switch does to the bitmap, against a write: it is in the bitmap that is saved, or in the next one.
fn bitmap_against_write(name: &str, tracked: bool, switch: Switch) {
    let image = match tracked {
        true => Image::tracked(PLAIN),
        false => Image::new(PLAIN),
    };
    check(name, None, move |last| {
        let rig = marked_guarded(&image, options());
        let begun = one(rig.submit((0, 0), write(0, 1)));
        let threads = [
            thread(|rig| rig.done(begun)),
            thread(|rig| rig.current().submit((1, 0), write(1, 1))),
            switches(switch),
        ];
        let left = race(&rig, threads);
        let left = switch_now(&rig, left, switch, last);
        finish(rig.current(), left, last);
    });
}

#[test]
fn bitmap_saved_against_write() {
    bitmap_against_write("bitmap_saved_against_write", true, Switch::Reload);
}

#[test]
fn bitmap_started_against_write() {
    bitmap_against_write("bitmap_started_against_write", false, Switch::Start);
}

#[test]
fn bitmap_stopped_against_write() {
    bitmap_against_write("bitmap_stopped_against_write", true, Switch::Stop);
}

/// Somebody copies the disk: takes the mark of a cluster, and reads it, while a write of it ends. What he has is new, or it
/// is marked again.
#[test]
fn mark_taken_against_write() {
    let image = Image::new(PLAIN);
    check("mark_taken_against_write", None, move |last| {
        let rig = marked_guarded(&image, options());
        assert_eq!(rig.device.start_tracking(), 1, "one cluster is mapped");
        let writing = one(rig.submit((0, 0), write(0, 1)));
        let threads = [
            thread(|rig| {
                let taken = rig.device.next_tracked().expect("it is on");
                assert!(taken.is_some(), "cluster 0 was marked");
                chase(rig, rig.submit((1, 0), read(0, 1)))
            }),
            thread(|rig| rig.done(writing)),
        ];
        let left = race(&rig, threads);
        let copied = rig.read_by((1, 0));
        let marked = rig.device.tracked();
        assert!(
            marked == 1 || copied == rig.content(0),
            "[tracking] cluster 0 was copied before its write ended, and is not marked (I40)"
        );
        rig.device.stop_tracking();
        finish(&rig, left, last);
    });
}
