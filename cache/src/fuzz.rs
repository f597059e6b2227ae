//! What fuzzers call: each takes any bytes and must come back, with nothing accepted that contradicts itself. Not for other use.

use std::io::Read;

use plan::{Key, Manifest, Preimage};
use serde::Deserialize;

use crate::Result;
use crate::archive::format::{self, Contents, Receive};
use crate::hashing::FileHash;
use crate::record::{Record, check_files};
use crate::store::{parse_manifest, parse_preimage, to_line};

#[derive(Deserialize)]
struct Keyed {
    key: Key,
}

/// A manifest, as it lies in a store.
pub fn fuzz_manifest(bytes: &[u8]) {
    let Ok(Keyed { key }) = serde_json::from_slice(bytes) else { return };
    if let Ok(manifest) = parse_manifest(&key, bytes) {
        let text = to_line(&manifest).expect("a manifest that was read can be written");
        let again: Manifest = parse_manifest(&key, &text).expect("a manifest that was written can be read");
        assert_eq!((again.key, again.digest, &again.files), (manifest.key, manifest.digest, &manifest.files));
        let _ = check_files(&manifest.files);
    }
}

/// A preimage, as it lies in a store.
pub fn fuzz_preimage(bytes: &[u8]) {
    let Ok(preimage) = serde_json::from_slice::<Preimage>(bytes) else { return };
    let key = preimage.key();
    let text = to_line(&preimage).expect("a preimage that was read can be written");
    let again = parse_preimage(&key, &text).expect("a preimage keeps its key when it is written and read");
    assert_eq!(again.key(), key);
}

/// A record, as it lies in a remote store and in an archive.
pub fn fuzz_record(bytes: &[u8]) {
    #[derive(Deserialize)]
    struct Outer {
        manifest: Keyed,
    }
    let Ok(Outer { manifest: Keyed { key } }) = serde_json::from_slice(bytes) else { return };
    if let Ok(record) = Record::parse(&key, bytes) {
        assert_eq!((record.preimage.key(), record.manifest.key), (key, key));
        for file in &record.manifest.files {
            let inside = std::path::Path::new("/folder").join(&file.path);
            assert!(inside.starts_with("/folder") && !file.path.split('/').any(|part| part == ".."));
        }
    }
}

/// An archive without its compression.
pub fn fuzz_archive(bytes: &[u8]) {
    let mut counted = Counted::default();
    if format::read(bytes, "archive", &mut counted).is_ok() {
        assert_eq!(counted.read, counted.announced, "everything announced came, and nothing else");
    }
    assert!(counted.read <= bytes.len() as u64);
}

/// An archive as it is, compressed; what it unpacks to is bounded by what it may announce.
pub fn fuzz_compressed_archive(bytes: &[u8]) {
    let Ok(mut decoder) = zstd::stream::read::Decoder::new(bytes) else { return };
    if decoder.window_log_max(format::WINDOW_LOG).is_ok() {
        let _ = format::read(decoder, "archive", &mut Counted::default());
    }
}

/// Takes everything and keeps nothing.
#[derive(Default)]
struct Counted {
    announced: u64,
    read: u64,
}

impl Receive for Counted {
    fn contents(&mut self, contents: &Contents) -> Result<()> {
        self.announced = contents.bytes;
        Ok(())
    }

    fn journal(&mut self, _: Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn records(&mut self, _: Vec<Record>) -> Result<()> {
        Ok(())
    }

    fn blob(&mut self, file: FileHash, from: &mut dyn Read) -> Result<()> {
        let count = std::io::copy(from, &mut std::io::sink())?;
        assert!(count <= file.bytes);
        self.read += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            for fuzz in [fuzz_manifest, fuzz_preimage, fuzz_record, fuzz_archive, fuzz_compressed_archive] {
                fuzz(&bytes);
            }
        }
    }
}
