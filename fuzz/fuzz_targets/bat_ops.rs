//! Operations, faults and crashes on a tiny disk, against the model: see [`sim::fuzzing::bat_ops`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzzing::bat_ops(bytes));
