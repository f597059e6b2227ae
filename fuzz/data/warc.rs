//! A WARC file, decompressed; what is asserted is in `data::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| data::fuzz::fuzz_warc(bytes));
