//! Brings a device to where a race begins, and from where a race left it to its end.

use std::sync::Arc;

use super::engine::image::{Image, Shape};
use super::engine::rig::{Io, Rig};
use super::ops::{discard, flush};
use crate::core::{CloseError, Failure, IoOp, Options};

/// Guest clusters of one sector in one page; the first is mapped. Free hosts of unknown content are there.
pub(crate) const PLAIN: Shape = Shape {
    cluster: 1,
    clusters: 4,
    mapped: &[&[0]],
    spare: 3,
};

/// As [`PLAIN`], but the file is full: an allocation extends it or takes what a discard gave back.
pub(crate) const FULL: Shape = Shape { spare: 0, ..PLAIN };

/// As [`PLAIN`], but three of four are mapped.
pub(crate) const MAPPED: Shape = Shape {
    mapped: &[&[0, 1, 2]],
    spare: 1,
    ..PLAIN
};

/// As [`PLAIN`], with a second page: guest clusters 4 and 5. A cluster of each is mapped.
pub(crate) const TWO_PAGES: Shape = Shape {
    clusters: 6,
    mapped: &[&[0, 4]],
    ..PLAIN
};

/// Clusters of two sectors over a lower delta that has the first two; the top has the first.
pub(crate) const CHAIN: Shape = Shape {
    cluster: 2,
    clusters: 4,
    mapped: &[&[0, 1], &[0]],
    spare: 3,
};

/// A device whose in-use mark is made, with nothing else changed. The last guest cluster must not be mapped.
pub(crate) fn marked(image: &Image, options: Options) -> Arc<Rig> {
    mark(Rig::new(image, options))
}

/// The same with a watched map of kept slots.
pub(crate) fn marked_watched(image: &Image, options: Options) -> Arc<Rig> {
    mark(Rig::watched(image, options))
}

/// The same with a watched barrier.
pub(crate) fn marked_guarded(image: &Image, options: Options) -> Arc<Rig> {
    mark(Rig::guarded(image, options))
}

fn mark(rig: Arc<Rig>) -> Arc<Rig> {
    let geometry = rig.device.geometry();
    let last = geometry.size.0 - geometry.cluster.0;
    rig.run((0, 6), discard(last, geometry.cluster.0))
        .expect("marked");
    rig
}

/// The only I/O of a list.
pub(crate) fn one(mut list: Vec<Io>) -> Io {
    assert_eq!(list.len(), 1, "{list:?}");
    list.remove(0)
}

/// Carries out what `pool` holds and what follows from it until an I/O comes that `wanted` names; hands that one out.
pub(crate) fn until(rig: &Rig, pool: &mut Vec<Io>, wanted: fn(&IoOp) -> bool) -> Io {
    loop {
        if let Some(index) = pool.iter().position(|io| wanted(&io.op)) {
            return pool.remove(index);
        }
        if pool.is_empty() {
            pool.extend(rig.turn(0));
            assert!(!pool.is_empty(), "the I/O never comes");
        } else {
            let io = pool.remove(0);
            pool.extend(rig.done(io));
        }
    }
}

pub(crate) fn is_index(op: &IoOp) -> bool {
    matches!(op, IoOp::WriteIndex { .. })
}

pub(crate) fn is_sync(op: &IoOp) -> bool {
    matches!(op, IoOp::Sync { .. })
}

pub(crate) fn is_punch(op: &IoOp) -> bool {
    matches!(op, IoOp::PunchHole { .. })
}

pub(crate) fn is_extension(op: &IoOp) -> bool {
    matches!(op, IoOp::SetLen { .. })
}

/// Carries out everything that follows from `list`, but starts no write-back.
pub(crate) fn chase(rig: &Rig, mut list: Vec<Io>) -> Vec<Io> {
    while let Some(io) = list.pop() {
        list.extend(rig.done(io));
    }
    list
}

/// Carries out everything that follows from `list`, write-back included: what one queue's thread does.
pub(crate) fn serve(rig: &Rig, queue: u16, mut list: Vec<Io>) -> Vec<Io> {
    loop {
        list = chase(rig, list);
        list.extend(rig.turn(queue));
        if list.is_empty() {
            return list;
        }
    }
}

/// Carries the rest out, gives back the space it waited for, and checks everything up to a clean close.
pub(crate) fn finish(rig: &Rig, pool: Vec<Io>, newest_first: bool) {
    settle(rig, pool, newest_first);
    rig.check_at_rest();
    rig.check_close();
}

/// As [`finish`], for a file whose sync failed: nothing is durable any more, and everybody is told.
pub(crate) fn finish_poisoned(rig: &Rig, pool: Vec<Io>, newest_first: bool) {
    settle(rig, pool, newest_first);
    rig.check_at_rest();
    assert_eq!(
        rig.run((0, 7), flush()),
        Err(Failure::Io),
        "a flush after a failed sync"
    );
    let mut pool = rig.suspend();
    rig.drain(&mut pool, newest_first);
    rig.device.verify();
    let closed = rig.close();
    assert!(
        matches!(
            closed,
            Some(Err(CloseError::NotDurable { poisoned: true, .. }))
        ),
        "closed after a failed sync: {closed:?}"
    );
}

fn settle(rig: &Rig, mut pool: Vec<Io>, newest_first: bool) {
    rig.drain(&mut pool, newest_first);
    if rig.device.is_starving() {
        pool.extend(rig.tick(1_000_000));
        rig.drain(&mut pool, newest_first);
    }
}
