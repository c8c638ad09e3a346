//! A fast allocator (worlds are made of short-lived small blocks), with counters of what the calling thread does. No shared cache line: threads do not slow
//! each other down.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// Calls of this thread that took memory so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes that this thread has taken, less those it has given back.
pub(crate) fn live_bytes() -> i64 {
    LIVE.get()
}

fn note(calls: u64, bytes: i64) {
    // Constant initial values without a destructor: this neither allocates nor fails, at any point of a thread's life.
    ALLOCATIONS.set(ALLOCATIONS.get() + calls);
    LIVE.set(LIVE.get().wrapping_add(bytes));
}

/// Aligned without asking: blocks of 16 bytes and more begin at multiples of 16, smaller ones at multiples of 8.
fn is_plain(layout: Layout) -> bool {
    layout.align() <= 8 || (layout.align() <= 16 && layout.size() >= 16)
}

fn signed(bytes: usize) -> i64 {
    bytes as i64
}

/// See the module.
pub(crate) struct Counting;

// SAFETY: every call is handed to the allocator as it came; counting touches neither memory nor layout.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise, passed on; a plain block has the alignment that is asked for.
        unsafe {
            if is_plain(layout) {
                libmimalloc_sys::mi_malloc(layout.size()).cast()
            } else {
                MiMalloc.alloc(layout)
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise, passed on; a plain block has the alignment that is asked for.
        unsafe {
            if is_plain(layout) {
                libmimalloc_sys::mi_zalloc(layout.size()).cast()
            } else {
                MiMalloc.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, signed(size) - signed(layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(0, -signed(layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}
