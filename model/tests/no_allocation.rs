//! A model and a checker that are used again allocate nothing in steady state.

use model::disk::Model;
use model::fsck::Fsck;
use model::op::{End, Kind, Op, Value};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Of this thread: the test's driver has threads and memory of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above, and the place came from this allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn run(model: &mut Model, content: &mut [Value], seed: u64) {
    model.reset(content);
    let ops = [
        Kind::Write {
            preflush: false,
            fua: false,
        },
        Kind::Discard,
        Kind::Write {
            preflush: true,
            fua: true,
        },
        Kind::WriteZeroes {
            fua: false,
            unmap: true,
        },
    ];
    for round in 0..20 {
        let op = |kind: Kind, i: u64| Op {
            kind,
            start: (seed + round + i) % 8,
            len: if kind == Kind::Flush { 0 } else { 4 },
        };
        let running: [_; 4] = std::array::from_fn(|i| {
            model.submit(op(ops[i], i as u64), (round * 4 + i as u64 + 1) as u32)
        });
        let flush = model.submit(op(Kind::Flush, 0), 0);
        let reader = model.submit(op(Kind::Read, 3), 0);
        for id in running {
            model.complete(id, End::Ok, &[]).expect("nothing is read");
        }
        // The write of zeros reached the same sectors, and may have come last.
        let end = if round % 3 == 0 { End::Io } else { End::Ok };
        model
            .complete(reader, end, &[Value::ZERO; 4])
            .expect("zeros may be seen");
        model
            .complete(flush, End::Ok, &[])
            .expect("nothing is read");
    }
}

#[test]
fn steady_state_allocates_nothing() {
    let mut model = Model::new(12);
    let mut content = vec![Value::ZERO; 12];
    let image = vec![0; 64];
    let mut sound = b"WithouFreSpacExt".to_vec();
    sound.resize(512 * 8, 0);
    for (at, byte) in [
        (16, 2),
        (28, 1),
        (32, 3),
        (36, 3),
        (48, 1),
        (64, 3),
        (68, 3),
        (72, 9),
    ] {
        sound[at] = byte;
    }
    let mut fsck = Fsck::default();
    let mut before = 0;
    for seed in 0..200 {
        if seed == 100 {
            before = ALLOCATIONS.get();
        }
        run(&mut model, &mut content, seed);
        assert_eq!(fsck.check(&image).problems.len(), 1);
        assert_eq!(fsck.check(&sound).problems.len(), 2);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
