//! Operations, faults and crashes on a tiny disk, against the model: see [`sim::fuzzing::bat_ops`].
//!
//! libFuzzer keeps an input that reaches new edges of code; here it keeps one as well whose events came in an order, or
//! whose world was in a state, that no input had before: each is a counter of its own.
#![no_main]

use std::sync::atomic::{AtomicU8, Ordering};

/// Hashes share counters rarely: a campaign sees some thousands.
const COUNTERS: usize = 1 << 16;

/// libFuzzer finds them by the name of their section, and clears them before each input; nobody else reads them.
// SAFETY: the section holds counters of a byte and nothing else, which is all that libFuzzer asks for.
#[used]
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static SEEN: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    sim::fuzzing::bat_ops_watched(bytes, |feature| {
        // How often says nothing.
        SEEN[feature as usize % COUNTERS].store(1, Ordering::Relaxed);
    });
});
