use super::*;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

fn bell() -> OwnedFd {
    use rustix::event::{EventfdFlags, eventfd};
    eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd")
}

#[test]
fn a_ring_that_is_dropped_waits_for_what_names_its_memory() {
    let bell = bell();
    let arena = Rc::new(Arena::new(1).expect("memory"));
    let mut ring =
        Ring::new(8, Rc::clone(&arena), &[bell.as_fd()], Buffers::None).expect("io_uring");
    ring.read(FileIndex(0), 0, 8, Place::Memory(0), 1);
    ring.timeout(Duration::from_secs(3600), 2);
    ring.submit().expect("submitted");
    ring.read(FileIndex(0), 0, 8, Place::Memory(8), 3);
    assert_eq!(ring.in_flight(), 3);
    drop(ring);
    assert_eq!(
        Rc::strong_count(&arena),
        1,
        "nothing was left to the kernel"
    );
}

#[test]
fn memory_is_checked() {
    let arena = Arena::new(4096).expect("memory");
    arena.copy_in(4000, b"abc");
    let mut out = [9; 5];
    arena.copy_out(3999, &mut out);
    assert_eq!(&out, b"\0abc\0");
    arena.zero(4001, 1);
    arena.copy_out(3999, &mut out);
    assert_eq!(&out, b"\0a\0c\0");
    let end = arena.size();
    assert!(std::panic::catch_unwind(|| arena.zero(end - 1, 2)).is_err());
    assert!(std::panic::catch_unwind(|| arena.zero(usize::MAX, 2)).is_err());
}

#[test]
fn a_full_submission_queue_is_handed_over() {
    let zero = File::open("/dev/zero").expect("zeros");
    let arena = Rc::new(Arena::new(1 << 20).expect("memory"));
    arena.copy_in(0, &[7; 4096]);
    let mut ring =
        Ring::new(4, Rc::clone(&arena), &[zero.as_fd()], Buffers::None).expect("io_uring");
    for n in 0..32 {
        ring.read(FileIndex(0), 0, 128, Place::Memory(128 * n as usize), n);
    }
    let mut ended = Vec::new();
    while ended.len() < 32 {
        ring.submit_and_wait().expect("waited");
        ring.reap(&mut ended);
    }
    let mut words: Vec<u64> = ended.iter().map(|c| c.data).collect();
    words.sort_unstable();
    assert_eq!(words, (0..32).collect::<Vec<_>>());
    assert!(ended.iter().all(|c| c.result == 128));
    let mut out = [1; 4096];
    arena.copy_out(0, &mut out);
    assert_eq!(out, [0; 4096]);
}

#[test]
fn a_lock_in_the_table_is_held_until_the_ring_is_gone() {
    let file = tempfile::NamedTempFile::new().expect("file");
    let again = &file.reopen().expect("another descriptor");
    let lock = file.reopen().expect("a third");
    lock.lock().expect("locked");
    // A thread has its ring until it ends, whatever it drops.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let arena = Rc::new(Arena::new(1).expect("memory"));
            let _ring = Ring::new(8, arena, &[lock.as_fd()], Buffers::Ours(0)).expect("io_uring");
            // As when the process dies: descriptors first, rings when their I/O has ended.
            drop(lock);
            assert!(again.try_lock().is_err(), "the ring holds it");
        });
    });
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while again.try_lock().is_err() {
        assert!(std::time::Instant::now() < until, "the ring is gone");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn pinned_bytes_are_bytes_of_the_arena_and_stay_where_they_are() {
    let mut file = tempfile::tempfile().expect("file");
    std::io::Write::write_all(&mut file, &[7; 8192]).expect("write");
    let arena = Rc::new(Arena::new(1 << 20).expect("arena"));
    let mut ring =
        Ring::new(4, Rc::clone(&arena), &[file.as_fd()], Buffers::Ours(2)).expect("io_uring");
    assert!(!ring.pin(2, 0, 4096), "there is no such place");
    if !ring.pin(1, 8192, 8192) {
        // This process may not pin memory: then it is refused for good.
        assert!(!ring.pin(1, 8192, 8192));
        return;
    }
    assert!(ring.pin(1, 8192, 8192));
    assert!(!ring.pin(1, 0, 8192), "other bytes than the first time");
    let into = Place::Pinned {
        index: 1,
        at: 8192 + 512,
    };
    ring.read(FileIndex(0), 0, 4096, into, 5);
    ring.submit_and_wait().expect("waits");
    let mut ended = Vec::new();
    ring.reap(&mut ended);
    assert_eq!((ended[0].data, ended[0].result), (5, 4096));
    let mut bytes = [0; 6000];
    arena.copy_out(8192, &mut bytes);
    assert_eq!(bytes.iter().position(|&b| b == 7), Some(512));
    assert_eq!(bytes.iter().filter(|&&b| b == 7).count(), 4096);
    let outside = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let into = Place::Pinned {
            index: 1,
            at: 16384 - 512,
        };
        ring.read(FileIndex(0), 0, 4096, into, 6);
    }));
    assert!(outside.is_err(), "it ends behind what is pinned");
}
