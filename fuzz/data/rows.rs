//! A line of a JSON-lines file; what is asserted is in `data::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| data::fuzz::fuzz_row(bytes));
