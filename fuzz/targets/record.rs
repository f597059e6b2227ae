//! A record as it lies in a remote store and in an archive; what is asserted is in `cache::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cache::fuzz::fuzz_record(bytes));
