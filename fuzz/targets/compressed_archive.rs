//! An archive as it is, compressed; what is asserted is in `cache::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cache::fuzz::fuzz_compressed_archive(bytes));
