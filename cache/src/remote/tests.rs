//! Tests of pushing and bringing, against a folder as the remote store.

use fs_err as fs;
use plan::FileEntry;

use super::*;
use crate::fixtures::{Folder, make, preimage, slot, store};
use crate::verify;

mod web;

/// A remote folder, a store that has artifacts 1 to 3, and an empty store.
struct Two {
    folder: Folder,
    here: Store,
    there: Store,
    keys: Vec<Key>,
}

impl Two {
    fn new() -> Self {
        let folder = Folder::new();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let (here, there) = (Store::open(here).unwrap(), Store::open(there).unwrap());
        let large = "x".repeat(300_000);
        make(&here, 1, &[("a", "one"), ("sub/b", &large), ("sub/same", "one"), ("empty", "")]);
        make(&here, 2, &[("c", &large)]);
        make(&here, 3, &[("c", &large)]);
        Self { here, there, keys: (1..=3).map(|number| preimage(number).key()).collect(), folder }
    }

    fn remote(&self, store: &Store) -> Remote {
        Remote::open(self.folder.path().join("remote").to_str().unwrap(), store).unwrap()
    }

    fn blob(&self, file: &FileEntry) -> PathBuf {
        self.folder.path().join("remote").join(blob_name(&file.digest))
    }
}

#[test]
fn what_is_pushed_can_be_brought_and_each_file_goes_up_once() {
    let two = Two::new();
    let remote = two.remote(&two.here);
    let strange = preimage(9).key();
    let mut keys = two.keys.clone();
    keys.push(strange);
    let pushed = remote.push(&keys).unwrap();
    assert_eq!((pushed.keys, pushed.present, pushed.files, pushed.bytes), (3, 0, 2, 300_003));
    assert_eq!(pushed.missing, [strange]);
    assert_eq!(remote.push(&two.keys).unwrap(), Pushed { present: 3, ..Pushed::default() });
    // A push that ended before its records is taken up with the files that had arrived.
    fs::remove_file(two.folder.path().join("remote").join(record_name(&two.keys[1]))).unwrap();
    let again = remote.push(&two.keys).unwrap();
    assert_eq!((again.keys, again.present, again.files, again.shared), (1, 2, 0, 1));
    let remote = two.remote(&two.there);
    let pulled = remote.pull(&keys).unwrap();
    assert_eq!((pulled.keys, pulled.present, pulled.missing.as_slice()), (3, 0, [strange].as_slice()));
    for key in &two.keys {
        let (ours, theirs) = (two.here.lookup(key).unwrap().unwrap(), two.there.lookup(key).unwrap().unwrap());
        assert_eq!(ours.manifest, theirs.manifest);
        assert_eq!(two.here.preimage(key).unwrap(), two.there.preimage(key).unwrap());
    }
    assert!(verify(&two.there, &()).unwrap().is_clean());
    assert_eq!((two.there.usage().unwrap().slots, two.there.usage().unwrap().leftover_bytes), (0, 0));
    assert_eq!(remote.pull(&two.keys).unwrap(), Pulled { present: 3, ..Pulled::default() });
}

#[test]
fn a_wrong_byte_is_named_and_nothing_is_committed() {
    let two = Two::new();
    two.remote(&two.here).push(&two.keys).unwrap();
    let manifest = two.here.manifest(&two.keys[1]).unwrap().unwrap();
    let blob = two.blob(&manifest.files[0]);
    for bytes in ["y".repeat(300_000), "x".repeat(299_999), "x".repeat(300_001), String::new()] {
        fs::write(&blob, bytes).unwrap();
        let error = two.remote(&two.there).fetch(&two.keys[1]).unwrap_err();
        assert!(matches!(&error, StoreError::WrongBytes { .. }), "{error}");
        assert!(error.to_string().contains(&manifest.files[0].digest.to_string()), "{error}");
        assert_eq!(two.there.usage().unwrap().keys, 0);
    }
    fs::remove_file(&blob).unwrap();
    let error = two.remote(&two.there).fetch(&two.keys[1]).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    fs::write(&blob, "x".repeat(300_000)).unwrap();
    assert!(two.remote(&two.there).fetch(&two.keys[1]).unwrap());
}

#[test]
fn a_record_that_lies_is_refused() {
    let two = Two::new();
    two.remote(&two.here).push(&two.keys).unwrap();
    let path = |key: &Key| two.folder.path().join("remote").join(record_name(key));
    let honest = fs::read(path(&two.keys[0])).unwrap();
    let cases: [(Vec<u8>, &str); 4] = [
        (fs::read(path(&two.keys[1])).unwrap(), "belongs to"),
        (String::from_utf8(honest.clone()).unwrap().replace("\"a\"", "\"../../a\"").into_bytes(), "contradicts"),
        (honest[..honest.len() / 2].to_vec(), "EOF"),
        (b"[]".to_vec(), "expected"),
    ];
    for (text, why) in cases {
        fs::write(path(&two.keys[0]), text).unwrap();
        let error = two.remote(&two.there).fetch(&two.keys[0]).unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }) && error.to_string().contains(why), "{error}");
    }
    assert_eq!(two.there.usage().unwrap().keys, 0);
}

#[test]
fn a_download_goes_on_from_what_an_interrupted_one_left() {
    let two = Two::new();
    two.remote(&two.here).push(&two.keys).unwrap();
    let file = two.here.manifest(&two.keys[1]).unwrap().unwrap().files.remove(0);
    let held = slot(&two.there, 2);
    let part = held.paths.fetched().join(file.digest.to_string());
    // The second is broken, which shows only at its end.
    for left in ["x".repeat(1000), "y".repeat(1000), "z".repeat(400_000)] {
        fs::create_dir_all(held.paths.fetched()).unwrap();
        fs::write(&part, left).unwrap();
        let remote = two.remote(&two.there);
        assert!(
            remote.client.download(&blob_name(&file.digest), &part, FileHash { digest: file.digest, bytes: 300_000 }).unwrap()
        );
        assert_eq!(fs::read(&part).unwrap(), "x".repeat(300_000).as_bytes());
    }
    let Filled::Hit(artifact) = two.remote(&two.there).fill(held).unwrap() else { panic!("it is there") };
    assert_eq!(artifact.manifest.files, [file]);
    assert!(two.there.slots().unwrap().is_empty());
}

#[test]
fn a_slot_without_a_remote_artifact_is_handed_back() {
    let two = Two::new();
    let Filled::Absent(slot) = two.remote(&two.there).fill(slot(&two.there, 1)).unwrap() else { panic!("nothing was pushed") };
    crate::fixtures::write(&slot.out(), &[("a", "made here")]);
    assert_eq!(crate::fixtures::commit(*slot).unwrap().manifest.files.len(), 1);
}

#[test]
fn a_damaged_artifact_does_not_go_up() {
    let two = Two::new();
    let artifact = two.here.lookup(&two.keys[1]).unwrap().unwrap();
    crate::fixtures::spoil(&artifact.path.join("c"), &"y".repeat(300_000));
    let error = two.remote(&two.here).push(&two.keys[1..2]).unwrap_err();
    assert!(matches!(&error, StoreError::WrongBytes { place, .. } if place.ends_with("/c")), "{error}");
    assert!(!two.remote(&two.there).fetch(&two.keys[1]).unwrap());
}

#[test]
fn journals_travel_and_never_replace_another_run() {
    let two = Two::new();
    let remote = two.remote(&two.here);
    remote.push_run("run-1", b"one\n").unwrap();
    remote.push_run("run-1", b"one\ntwo\n").unwrap();
    remote.push_run("run-1", b"one\n").unwrap();
    assert_eq!(remote.journal("run-1").unwrap().unwrap(), b"one\ntwo\n");
    assert!(remote.push_run("run-1", b"other\n").unwrap_err().to_string().contains("another run"));
    assert_eq!(remote.journal("run-2").unwrap(), None);
}

#[test]
fn addresses_are_checked() {
    let (_folder, store) = store();
    for (url, why) in [
        ("ftp://host/x", "no kind of store"),
        ("s3://", "no bucket"),
        ("https://user:secret@host/x", "credentials"),
        ("file://host/x", "no kind of store"),
    ] {
        let error = Remote::open(url, &store).unwrap_err().to_string();
        assert!(error.contains(why), "{url}: {error}");
    }
    let error =
        Remote::open(store.root().parent().unwrap().join("none").to_str().unwrap(), &store).unwrap().pull(&[]).unwrap_err();
    assert!(error.to_string().contains("push"), "{error}");
}

#[test]
fn a_file_of_many_parts_goes_up_and_a_damaged_one_does_not() {
    let two = Two::new();
    let large: String =
        (0..3_000_000).map(|number: u32| format!("{:07}", number.wrapping_mul(2_654_435_761) % 9_999_991)).collect();
    let made = make(&two.here, 4, &[("large", &large)]);
    let keys = [made.manifest.key];
    let pushed = two.remote(&two.here).push(&keys).unwrap();
    assert_eq!((pushed.files, pushed.bytes), (1, 21_000_000));
    let blob = two.blob(&made.manifest.files[0]);
    assert!(fs::read(&blob).unwrap() == large.as_bytes());
    assert!(two.remote(&two.there).fetch(&keys[0]).unwrap());
    fs::remove_dir_all(two.folder.path().join("remote")).unwrap();
    crate::fixtures::spoil(&made.path.join("large"), &large.replace('0', "1"));
    let error = two.remote(&two.here).push(&keys).unwrap_err();
    assert!(matches!(error, StoreError::WrongBytes { .. }), "{error}");
    assert!(!blob.exists());
}

#[test]
fn transfers_that_break_off_go_on_where_they_were() {
    let two = Two::new();
    two.remote(&two.here).push(&two.keys).unwrap();
    // Every other answer is an error of the server, or ends after some bytes.
    let server = web::Server::start(two.folder.path().join("remote"), web::Mood::Bad);
    let remote = Remote::open(&server.url(), &two.there).unwrap();
    let pulled = remote.pull(&two.keys).unwrap();
    assert_eq!((pulled.keys, pulled.missing.len()), (3, 0));
    assert!(verify(&two.there, &()).unwrap().is_clean());
    assert!(server.asked_for_ranges() > 0, "the rest was asked for, not all of it again");
    assert!(remote.push_run("r", b"x").unwrap_err().to_string().contains("only be read"));
}

#[test]
fn a_run_does_not_wait_twice_for_a_store_that_cannot_be_reached() {
    let two = Two::new();
    let url = web::Server::start(two.folder.path().join("none"), web::Mood::Good).url();
    // The server is gone now.
    let remote = Remote::open(&url, &two.there).unwrap();
    let error = remote.fill(slot(&two.there, 1)).unwrap_err();
    assert!(matches!(&error, StoreError::Remote { .. }) && error.to_string().contains("network"), "{error}");
    let began = std::time::Instant::now();
    assert!(matches!(remote.fill(slot(&two.there, 1)).unwrap(), Filled::Absent(_)));
    assert!(began.elapsed() < std::time::Duration::from_millis(500));
}
