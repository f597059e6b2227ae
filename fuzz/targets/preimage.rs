//! A preimage as it lies in a store; what is asserted is in `cache::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cache::fuzz::fuzz_preimage(bytes));
