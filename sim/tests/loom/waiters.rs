//! Who waits, and every way in which the wait can end: whatever they wait for succeeds or fails while another one comes
//! to wait, nobody is forgotten and nobody is told twice (I33, I34, I38).

use super::engine::image::Image;
use super::engine::rig::{Io, Rig, options};
use super::explore::{check, race, thread};
use super::ops::{discard, flush, read, write, write_fua};
use super::stage::{FULL, PLAIN, finish, finish_poisoned, is_index, is_sync, marked, one, until};
use crate::core::{Failure, NoSpace, Options, WriteBack};

type End = Result<(), Failure>;

/// On a cluster: its maker's base ends, while a write and a read of the cluster arrive.
fn on_a_base(name: &str, end: End) {
    let image = Image::new(PLAIN);
    let options = Options {
        no_space: NoSpace::Fail,
        ..options()
    };
    check(name, None, move |last| {
        let rig = marked(&image, options);
        let base = one(rig.submit((0, 0), write(1, 1)));
        assert!(rig.submit((0, 1), read(1, 1)).is_empty(), "parked");
        let threads = [
            thread(|rig| rig.submit((1, 0), write(1, 1))),
            thread(move |rig| rig.end(base, end)),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
        assert_eq!(rig.outcome((0, 0)), end);
        assert_eq!(rig.outcome((1, 0)), Ok(()));
    });
}

#[test]
fn base_done() {
    on_a_base("base_done", Ok(()));
}

#[test]
fn base_failed() {
    on_a_base("base_failed", Err(Failure::Io));
}

#[test]
fn base_without_space() {
    on_a_base("base_without_space", Err(Failure::NoSpace));
}

/// On a cluster whose maker waits for the file to grow; another maker joins.
fn on_an_extension(name: &str, end: End) {
    let image = Image::new(FULL);
    let options = Options {
        no_space: NoSpace::Fail,
        ..options()
    };
    check(name, None, move |last| {
        let rig = marked(&image, options);
        let extension = one(rig.submit((0, 0), write(1, 1)));
        assert!(rig.submit((0, 1), write(1, 1)).is_empty(), "parked");
        let threads = [
            thread(|rig| rig.submit((1, 0), write(2, 1))),
            thread(move |rig| rig.end(extension, end)),
        ];
        let left = race(&rig, threads);
        finish(&rig, left, last);
        assert_eq!(rig.outcome((0, 0)), end);
    });
}

#[test]
fn extension_done() {
    on_an_extension("extension_done", Ok(()));
}

#[test]
fn extension_failed() {
    on_an_extension("extension_failed", Err(Failure::Io));
}

#[test]
fn extension_without_space() {
    on_an_extension("extension_without_space", Err(Failure::NoSpace));
}

/// A round with a write (immediate mode), a FUA write and a flush waiting for it, as far as its index write, or its sync.
fn round(rig: &Rig, wanted: fn(&crate::core::IoOp) -> bool) -> (Io, Vec<Io>) {
    let mut pool = rig.submit((0, 0), write(1, 1));
    let index = until(rig, &mut pool, is_index);
    pool.extend(rig.submit((0, 1), flush()));
    pool.push(index);
    if wanted(&pool[pool.len() - 1].op) {
        return (pool.remove(pool.len() - 1), pool);
    }
    (until(rig, &mut pool, wanted), pool)
}

/// On a page: its index write ends, while a flush arrives and another slot changes.
fn on_an_index(name: &str, end: End, written: bool, no_space: NoSpace) {
    let image = Image::new(PLAIN);
    let options = Options {
        write_back: WriteBack::Immediate,
        no_space,
        ..options()
    };
    check(name, None, move |last| {
        let rig = marked(&image, options);
        let (index, mut pool) = round(&rig, is_index);
        let threads = [
            thread(|rig| {
                let mut left = rig.submit((1, 1), discard(0, 1));
                left.extend(rig.submit((1, 0), flush()));
                left
            }),
            thread(move |rig| match end {
                Ok(()) => rig.done(index),
                Err(failure) => rig.fail_after(index, failure, written),
            }),
        ];
        pool.extend(race(&rig, threads));
        finish(&rig, pool, last);
    });
}

#[test]
fn index_done() {
    on_an_index("index_done", Ok(()), true, NoSpace::Fail);
}

#[test]
fn index_failed() {
    on_an_index("index_failed", Err(Failure::Io), false, NoSpace::Fail);
}

#[test]
fn index_failed_but_written() {
    let io = Err(Failure::Io);
    on_an_index("index_failed_but_written", io, true, NoSpace::Fail);
}

#[test]
fn index_without_space() {
    let none = Err(Failure::NoSpace);
    on_an_index("index_without_space", none, false, NoSpace::Fail);
}

#[test]
fn index_starves() {
    let wait = options().no_space;
    on_an_index("index_starves", Err(Failure::NoSpace), false, wait);
}

/// On a sync: the round's sync ends, while a FUA write to the page's slot and a flush arrive.
fn on_a_sync(name: &str, end: End) {
    let image = Image::new(PLAIN);
    let options = Options {
        write_back: WriteBack::Immediate,
        ..options()
    };
    check(name, None, move |last| {
        let rig = marked(&image, options);
        let mut pool = rig.submit((0, 0), write(1, 1));
        let index = until(&rig, &mut pool, is_index);
        pool.extend(rig.done(index));
        let sync = until(&rig, &mut pool, is_sync);
        pool.extend(rig.submit((0, 1), flush()));
        let threads = [
            thread(|rig| {
                let mut left = rig.submit((1, 1), discard(0, 1));
                left.extend(rig.submit((1, 0), flush()));
                left
            }),
            thread(move |rig| rig.end(sync, end)),
        ];
        pool.extend(race(&rig, threads));
        match end {
            Ok(()) => finish(&rig, pool, last),
            Err(_) => finish_poisoned(&rig, pool, last),
        }
    });
}

#[test]
fn sync_done() {
    on_a_sync("sync_done", Ok(()));
}

#[test]
fn sync_failed() {
    on_a_sync("sync_failed", Err(Failure::Io));
}

/// A FUA write to a durable slot fails while a sync is in flight, and while somebody comes to wait: nothing is durable
/// from then on.
#[test]
fn direct_fua_failed_beside_a_sync() {
    let image = Image::new(PLAIN);
    check("direct_fua_failed_beside_a_sync", None, move |last| {
        let rig = marked(&image, options());
        let fua = one(rig.submit((0, 0), write_fua(0, 1)));
        let mut pool = rig.submit((0, 1), flush());
        let sync = until(&rig, &mut pool, is_sync);
        pool.extend(rig.submit((1, 0), flush()));
        let threads = [
            thread(|rig| rig.done(sync)),
            thread(|rig| rig.fail(fua, Failure::Io)),
        ];
        pool.extend(race(&rig, threads));
        finish_poisoned(&rig, pool, last);
    });
}

/// On the in-use mark: it is made, or not, while another modifying request arrives.
fn on_the_mark(name: &str, wanted: fn(&crate::core::IoOp) -> bool, end: End) {
    let image = Image::new(PLAIN);
    let options = Options {
        no_space: NoSpace::Fail,
        ..options()
    };
    check(name, None, move |last| {
        let rig = Rig::new(&image, options);
        let mut pool = rig.submit((0, 0), write(1, 1));
        let last_of_mark = until(&rig, &mut pool, wanted);
        let poisons = end.is_err() && is_sync(&last_of_mark.op);
        let threads = [
            thread(|rig| {
                let mut left = rig.submit((1, 0), write(0, 1));
                left.extend(rig.submit((1, 1), flush()));
                left
            }),
            thread(move |rig| rig.end(last_of_mark, end)),
        ];
        pool.extend(race(&rig, threads));
        if poisons {
            finish_poisoned(&rig, pool, last);
        } else {
            finish(&rig, pool, last);
        }
        assert_eq!(rig.outcome((0, 0)), end);
    });
}

#[test]
fn mark_done() {
    on_the_mark("mark_done", is_sync, Ok(()));
}

#[test]
fn mark_failed() {
    on_the_mark("mark_failed", is_index, Err(Failure::Io));
}

#[test]
fn mark_without_space() {
    on_the_mark("mark_without_space", is_index, Err(Failure::NoSpace));
}

#[test]
fn mark_not_synced() {
    on_the_mark("mark_not_synced", is_sync, Err(Failure::Io));
}
