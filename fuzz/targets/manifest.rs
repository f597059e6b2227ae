//! A manifest as it lies in a store; what is asserted is in `cache::fuzz`. Once as it is, and once with the digest that its files have,
//! which chance would never find.
#![no_main]

use plan::Manifest;
use plan::artifact::content_digest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cache::fuzz::fuzz_manifest(bytes);
    if let Ok(mut manifest) = serde_json::from_slice::<Manifest>(bytes) {
        manifest.digest = content_digest(&manifest.files);
        cache::fuzz::fuzz_manifest(&serde_json::to_vec(&manifest).expect("a manifest that was read can be written"));
    }
});
