//! A record as it lies in a remote store and in an archive; what is asserted is in `cache::fuzz`. Once as it is, and once with the
//! key and the digest that it should have, which chance would never find.
#![no_main]

use plan::artifact::content_digest;
use plan::{Manifest, Preimage};
use serde_json::{Value, json};

fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let record: Value = serde_json::from_slice(bytes).ok()?;
    let preimage: Preimage = serde_json::from_value(record.get("preimage")?.clone()).ok()?;
    let mut manifest: Manifest = serde_json::from_value(record.get("manifest")?.clone()).ok()?;
    manifest.key = preimage.key();
    manifest.digest = content_digest(&manifest.files);
    serde_json::to_vec(&json!({ "manifest": manifest, "preimage": preimage })).ok()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cache::fuzz::fuzz_record(bytes);
    if let Some(mended) = mended(bytes) {
        cache::fuzz::fuzz_record(&mended);
    }
});
