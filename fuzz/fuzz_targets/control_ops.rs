//! Grow, merge, compact, repair, cut and failing, on drawn images, against the model: see [`sim::fuzzing::control_ops`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzzing::control_ops(bytes));
