//! Images, sound and damaged, opened, read and written, against the model: see [`sim::fuzzing::open_image`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzzing::open_image(bytes));
