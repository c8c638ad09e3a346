//! Descriptors of bundles, printed, changed and read again: see [`ublk_frontend::bundle::fuzzing::descriptor_xml`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ublk_frontend::bundle::fuzzing::descriptor_xml(bytes));
