//! Whole devices: two queues, each with a thread that submits, carries out and turns. Bounded: every interleaving with at
//! most three or four preemptions.

use super::engine::image::{Image, Shape};
use super::engine::rig::options;
use super::explore::{check, race, thread};
use super::ops::{discard, flush, write, write_fua};
use super::stage::{chase, finish, marked, serve};

/// Six guest clusters in two pages; one is mapped. The file is full but for one host.
const TWO_PAGES: Shape = Shape {
    cluster: 1,
    clusters: 6,
    mapped: &[&[0]],
    spare: 1,
};

/// Allocation, discard and reuse on two pages, with a flush and a FUA write.
#[test]
fn two_queues() {
    let image = Image::new(TWO_PAGES);
    check("two_queues", Some(3), move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| {
                let list = rig.submit((0, 0), write(1, 1));
                let mut left = chase(rig, list);
                left.extend(rig.submit((0, 1), flush()));
                serve(rig, 0, left)
            }),
            thread(|rig| {
                let list = rig.submit((1, 0), discard(0, 1));
                let mut left = chase(rig, list);
                left.extend(rig.submit((1, 1), write_fua(4, 1)));
                chase(rig, left)
            }),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}

/// Both queues work on one cluster: un-map, map anew, write in place.
#[test]
fn two_queues_on_one_cluster() {
    let image = Image::new(TWO_PAGES);
    check("two_queues_on_one_cluster", Some(4), move |last| {
        let rig = marked(&image, options());
        let threads = [
            thread(|rig| {
                let list = rig.submit((0, 0), discard(0, 1));
                let mut left = chase(rig, list);
                left.extend(rig.submit((0, 1), write(0, 1)));
                left = chase(rig, left);
                left.extend(rig.turn(0));
                chase(rig, left)
            }),
            thread(|rig| {
                let list = rig.submit((1, 0), write_fua(0, 1));
                serve(rig, 1, list)
            }),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
    });
}
