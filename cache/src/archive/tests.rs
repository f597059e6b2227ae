//! Tests of archives: what comes back, and everything that must not.

use plan::artifact::content_digest;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{Folder, make, preimage, store};
use crate::verify;

const RUN: &str = "run-1";
const TEXT: &[u8] = b"{\"a\":\"journal\"}\n";

/// A store with three artifacts, its folder, and their archive.
fn packed() -> (Folder, Store, BTreeSet<Key>, PathBuf) {
    let (folder, store) = store();
    let big = "x".repeat(5_000);
    make(&store, 1, &[("a", "one"), ("sub/b", &big), ("sub/again", "one"), ("empty", "")]);
    make(&store, 2, &[("c", &big)]);
    make(&store, 3, &[("d", "three")]);
    let keys = (1..=3).map(|number| preimage(number).key()).collect();
    let path = folder.path().join("run.tar.zst");
    pack(&store, RUN, TEXT, &keys, &path).unwrap();
    (folder, store, keys, path)
}

fn plain(path: &Path) -> Vec<u8> {
    zstd::decode_all(fs::read(path).unwrap().as_slice()).unwrap()
}

/// An archive of these entries, then what becomes of it.
fn try_entries(entries: &[(&str, EntryKind, Vec<u8>)]) -> (Store, Result<Unpacked>, Folder) {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        if let EntryKind::Other(kind, link) = kind {
            header.set_entry_type(*kind);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
        }
        if let EntryKind::Claims(size) = kind {
            header.set_size(*size);
        }
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    try_bytes(&builder.into_inner().unwrap())
}

enum EntryKind {
    Plain,
    Claims(u64),
    Other(tar::EntryType, &'static str),
}

fn try_bytes(tar: &[u8]) -> (Store, Result<Unpacked>, Folder) {
    let (folder, store) = store();
    let path = folder.path().join("try.tar.zst");
    fs::write(&path, zstd::encode_all(tar, 1).unwrap()).unwrap();
    let outcome = unpack(&store, &path);
    let usage = store.usage().unwrap();
    assert_eq!((usage.leftover_bytes, usage.slots), (0, 0));
    if outcome.is_err() {
        assert_eq!((usage.keys, usage.objects), (0, 0));
    }
    (store, outcome, folder)
}

#[test]
fn a_run_comes_back_as_it_was() {
    let (folder, ours, keys, path) = packed();
    let contents = peek(&path).unwrap();
    assert_eq!((contents.run.as_str(), contents.artifacts, contents.files, contents.bytes), (RUN, 3, 3, 5_008));
    let theirs = Store::open(folder.path().join("theirs")).unwrap();
    make(&theirs, 3, &[("d", "three")]);
    let unpacked = unpack(&theirs, &path).unwrap();
    assert_eq!((unpacked.run.as_str(), unpacked.journal.as_slice(), unpacked.present), (RUN, TEXT, 1));
    assert_eq!(unpacked.keys, keys.iter().copied().collect::<Vec<_>>());
    for key in &keys {
        let (ours, theirs) = (ours.lookup(key).unwrap().unwrap(), theirs.lookup(key).unwrap().unwrap());
        assert_eq!(ours.manifest.files, theirs.manifest.files);
    }
    assert!(verify(&theirs, &()).unwrap().is_clean());
    assert_eq!((theirs.usage().unwrap().leftover_bytes, theirs.usage().unwrap().slots), (0, 0));
    assert_eq!(unpack(&theirs, &path).unwrap().present, 3);
    // Packed again it is the same to the byte, and nothing is written over.
    let again = folder.path().join("again.tar.zst");
    pack(&ours, RUN, TEXT, &keys, &again).unwrap();
    assert_eq!(fs::read(&again).unwrap(), fs::read(&path).unwrap());
    assert!(pack(&ours, RUN, TEXT, &keys, &path).unwrap_err().to_string().contains("exists"));
}

#[test]
fn a_damaged_artifact_is_not_packed() {
    let (folder, store, keys, _) = packed();
    let artifact = store.lookup(&preimage(3).key()).unwrap().unwrap();
    crate::fixtures::spoil(&artifact.path.join("d"), "eerht");
    let to = folder.path().join("damaged.tar.zst");
    assert!(matches!(pack(&store, RUN, TEXT, &keys, &to), Err(StoreError::WrongBytes { .. })));
    assert!(!to.exists() && fs::read_dir(folder.path()).unwrap().count() == 2);
}

#[test]
fn an_archive_that_is_cut_short_anywhere_is_refused() {
    let (_folder, _, _, path) = packed();
    let whole = plain(&path);
    for length in (0..whole.len() - 1024).step_by(97) {
        let (_, outcome, _folder) = try_bytes(&whole[..length]);
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{length}: {error}");
    }
    let compressed = fs::read(&path).unwrap();
    for length in [0, 1, 10, compressed.len() / 2, compressed.len() - 1] {
        let (folder, store) = store();
        let path = folder.path().join("cut");
        fs::write(&path, &compressed[..length]).unwrap();
        assert!(unpack(&store, &path).is_err(), "{length}");
        assert_eq!(store.usage().unwrap().keys, 0);
    }
}

#[test]
fn entries_that_do_not_belong_are_refused() {
    let (_folder, _, _, path) = packed();
    let whole = plain(&path);
    let mut archive = tar::Archive::new(whole.as_slice());
    let entries: Vec<(String, Vec<u8>)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
        })
        .collect();
    let good = || entries.iter().map(|(name, bytes)| (name.as_str(), EntryKind::Plain, bytes.clone())).collect::<Vec<_>>();
    assert!(try_entries(&good()).1.is_ok());
    let refused = |entries: &[(&str, EntryKind, Vec<u8>)], why: &str| {
        let error = try_entries(entries).1.unwrap_err().to_string();
        assert!(error.contains(why), "expected `{why}`: {error}");
    };
    let last = entries.len() - 1;
    for name in ["/etc/passwd", "../../etc/passwd", "blobs/../../x", "blobs/"] {
        let mut hostile = good();
        hostile[last].0 = name;
        refused(&hostile, "belongs");
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Char,
        tar::EntryType::Directory,
        tar::EntryType::GNUSparse,
    ] {
        let mut hostile = good();
        hostile[last].1 = EntryKind::Other(kind, "/etc/passwd");
        refused(&hostile, "no plain file");
    }
    // A name that follows in an entry of its own, of any length.
    let mut hostile = good();
    hostile.insert(0, ("././@LongLink", EntryKind::Other(tar::EntryType::GNULongName, ""), b"x".repeat(5000)));
    refused(&hostile, "no plain file");
    let mut hostile = good();
    hostile[last].2[0] ^= 1;
    refused(&hostile, "does not hold");
    let mut hostile = good();
    hostile.push((entries[last].0.as_str(), EntryKind::Plain, entries[last].1.clone()));
    refused(&hostile, "goes on");
    let mut hostile = good();
    hostile.remove(last);
    refused(&hostile, "cut short");
    let mut hostile = good();
    hostile.swap(2, 3);
    refused(&hostile, "order");
    let mut hostile = good();
    hostile[last].1 = EntryKind::Claims(1 << 40);
    refused(&hostile, "belongs");
}

#[test]
fn what_announces_too_much_is_refused_before_anything_is_unpacked() {
    let contents = |change: &dyn Fn(&mut Contents)| {
        let journal_digest = Digest::from_bytes(*blake3::hash(b"").as_bytes());
        let (journal, artifacts, record_bytes, files, bytes) = (0, 0, 0, 0, 0);
        let mut contents =
            Contents { format: FORMAT, run: RUN.into(), journal, journal_digest, artifacts, record_bytes, files, bytes };
        change(&mut contents);
        ("workbench-archive.json", EntryKind::Plain, serde_json::to_vec(&contents).unwrap())
    };
    type Change = dyn Fn(&mut Contents);
    let cases: [(&Change, &str); 5] = [
        (&|contents| contents.format = 2, "format 2"),
        (&|contents| contents.journal = 1 << 40, "journal"),
        (&|contents| contents.artifacts = 1 << 40, "artifacts"),
        (&|contents| contents.record_bytes = 1 << 40, "records"),
        (&|contents| contents.bytes = 5, "table of contents"),
    ];
    for (change, why) in cases {
        let error = try_entries(&[contents(change), (JOURNAL, EntryKind::Plain, Vec::new())]).1.unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    // A file that is honestly announced and larger than any disk, out of a few bytes.
    let (_folder, store) = store();
    let mut manifest = make(&store, 1, &[("a", "x")]).manifest;
    manifest.files[0].bytes = 1 << 60;
    manifest.digest = content_digest(&manifest.files);
    let key = manifest.key;
    let record = to_line(&Record { manifest, preimage: preimage(1) }).unwrap();
    let table = contents(&|contents| {
        (contents.artifacts, contents.record_bytes, contents.files, contents.bytes) = (1, record.len() as u64, 1, 1 << 60);
    });
    let name = format!("records/{key}.json");
    let error = try_entries(&[table, (JOURNAL, EntryKind::Plain, Vec::new()), (&name, EntryKind::Plain, record)]).1.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_byte_is_taken_for_the_artifact(at in 0.0..1.0_f64, flip in 1..=255_u8) {
        let (_folder, ours, keys, path) = packed();
        let mut tar = plain(&path);
        let at = (tar.len() as f64 * at) as usize;
        tar[at] ^= flip;
        let (theirs, outcome, _other) = try_bytes(&tar);
        prop_assert!(verify(&theirs, &()).unwrap().is_clean());
        if outcome.is_ok() {
            // A header field or padding that says nothing about what is kept.
            prop_assert_eq!(outcome.unwrap().journal, TEXT);
            for key in &keys {
                let (ours, theirs) = (ours.lookup(key).unwrap().unwrap(), theirs.lookup(key).unwrap().unwrap());
                prop_assert_eq!(ours.manifest.files, theirs.manifest.files);
            }
        }
    }
}
