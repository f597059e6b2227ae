//! Tests of looking up and recording.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fixtures::{make, preimage, slot, spoil, store, write};

#[test]
fn a_committed_artifact_is_found_again_as_it_was() {
    let (folder, store) = store();
    assert!(store.lookup(&preimage(1).key()).unwrap().is_none());
    let made = make(&store, 1, &[("model.bin", "weights"), ("logs/loss.csv", "1,2")]);
    let again = Store::open(folder.path().join("store")).unwrap();
    let found = again.lookup(&preimage(1).key()).unwrap().unwrap();
    assert_eq!(found, made);
    assert_eq!(fs::read_to_string(found.path.join("logs/loss.csv")).unwrap(), "1,2");
    assert_eq!(found.manifest.metrics.keys().collect::<Vec<_>>(), ["loss"]);
    assert_eq!(found.manifest.provenance.seconds, 0.1 + 0.2);
    assert_eq!(again.artifact(&found.manifest.digest), found.path);
    assert_eq!(again.preimage(&preimage(1).key()).unwrap(), Some(preimage(1)));
    assert_eq!(again.manifests().unwrap().collect::<Result<Vec<_>>>().unwrap(), [made.manifest]);
}

#[test]
fn artifacts_are_read_only() {
    let (_folder, store) = store();
    let made = make(&store, 1, &[("a/b", "x")]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&made.path), 0o555);
    assert_eq!(mode(&made.path.join("a")), 0o555);
    assert_eq!(mode(&made.path.join("a/b")), 0o444);
}

#[test]
fn keys_with_the_same_bytes_share_an_object() {
    let (_folder, store) = store();
    let one = make(&store, 1, &[("x", "same")]);
    let two = make(&store, 2, &[("x", "same")]);
    assert_eq!(one.path, two.path);
    let usage = store.usage().unwrap();
    assert_eq!((usage.keys, usage.objects, usage.object_bytes, usage.slots, usage.leftover_bytes), (2, 1, 4, 0, 0));
    let keys: Vec<Key> = store.manifests().unwrap().map(|manifest| manifest.unwrap().key).collect();
    assert!(keys.is_sorted() && keys.len() == 2);
}

#[test]
fn an_unknown_layout_and_a_foreign_folder_are_refused() {
    let (folder, store) = store();
    fs::write(store.root().join("FORMAT"), "99\n").unwrap();
    let error = Store::open(store.root()).unwrap_err().to_string();
    assert!(error.contains("layout version `99`, this program reads version 1"), "{error}");
    fs::write(folder.path().join("thesis.tex"), "").unwrap();
    let error = Store::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is not a store") && error.contains("no FORMAT file"), "{error}");
}

#[test]
fn damage_is_a_miss_that_is_reported_once_and_mended_by_making_it_again() {
    let files = [("a", "first"), ("sub/b", "second")];
    type Harm = fn(&Artifact, &Store);
    let cases: [(&str, Harm); 6] = [
        ("file `a` is missing", |made, _| {
            spoil(&made.path.join("a"), "");
            fs::remove_file(made.path.join("a")).unwrap();
        }),
        ("file `sub/b` has 3 bytes instead of 6", |made, _| spoil(&made.path.join("sub/b"), "sec")),
        ("file `c` does not belong to it", |made, _| spoil(&made.path.join("c"), "extra")),
        ("its folder is missing", |made, store| store.disk().remove_tree(&made.path).unwrap()),
        ("the manifest cannot be read", |made, store| {
            let path = store.layout().manifest(&made.manifest.key);
            let text = fs::read(&path).unwrap();
            fs::write(&path, &text[..text.len() / 2]).unwrap();
        }),
        ("contradicts itself", |made, store| {
            let path = store.layout().manifest(&made.manifest.key);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("sub/b", "sub/c")).unwrap();
        }),
    ];
    for (message, damage) in cases {
        let (_folder, store) = store();
        let made = make(&store, 1, &files);
        damage(&made, &store);
        assert!(store.lookup(&preimage(1).key()).unwrap().is_none(), "{message}");
        assert!(store.lookup(&preimage(1).key()).unwrap().is_none(), "{message}");
        let found = store.take_damage();
        assert_eq!(found.len(), 1, "{message}");
        assert!(found[0].to_string().contains(message), "{} / {message}", found[0]);
        assert!(store.take_damage().is_empty());
        let again = make(&store, 1, &files);
        assert_eq!(again.manifest.digest, made.manifest.digest);
        assert_eq!(store.lookup(&preimage(1).key()).unwrap(), Some(again));
        assert!(crate::verify(&store, &()).unwrap().is_clean(), "{message}");
    }
}

#[test]
fn a_record_that_was_replaced_meanwhile_is_not_set_aside() {
    let (_folder, store) = store();
    let made = make(&store, 1, &[("x", "y")]);
    let path = store.layout().manifest(&made.manifest.key);
    assert!(!store.set_record_aside(&path, b"what was judged").unwrap());
    assert_eq!(store.lookup(&made.manifest.key).unwrap(), Some(made));
}

#[test]
fn a_store_is_destroyed_only_when_nobody_works_with_it() {
    let (_folder, store) = store();
    make(&store, 1, &[("sub/x", "y")]);
    let root = store.root().to_path_buf();
    let lease = store.lease().unwrap();
    assert!(store.clone().destroy().unwrap_err().to_string().contains("in use"));
    drop(lease);
    store.destroy().unwrap();
    assert!(!root.exists());
}

#[test]
fn names_recall_what_was_asked_last() {
    let (_folder, store) = store();
    assert_eq!(store.recall("r.rhai", "sft").unwrap(), None);
    make(&store, 1, &[("x", "y")]);
    store.names("r.rhai").unwrap().remember("sft", preimage(1).key(), None).unwrap();
    assert_eq!(store.recall("r.rhai", "sft").unwrap(), Some(preimage(1)));
    // A step that has not been committed yet, or failed, is remembered too.
    let slot = slot(&store, 2);
    store.names("r.rhai").unwrap().remember("sft", slot.key(), None).unwrap();
    assert_eq!(store.recall("r.rhai", "sft").unwrap(), Some(preimage(2)));
    assert_eq!(store.recall("r.rhai", "other").unwrap(), None);
    fs::write(store.layout().preimage(&preimage(1).key()), serde_json::to_vec(&preimage(3)).unwrap()).unwrap();
    let error = store.preimage(&preimage(1).key()).unwrap_err().to_string();
    assert!(error.contains("it is that of key"), "{error}");
}

#[test]
fn what_no_artifact_may_hold_is_refused_and_the_slot_stays() {
    let (_folder, store) = store();
    let slot = slot(&store, 1);
    write(&slot.progress(), &[("state", "half way")]);
    write(&slot.out(), &[("x", "y")]);
    std::os::unix::fs::symlink("x", slot.out().join("link")).unwrap();
    let error = crate::fixtures::commit(slot).unwrap_err().to_string();
    assert!(error.contains("link` is a symbolic link"), "{error}");
    let slot = crate::fixtures::slot(&store, 1);
    assert!(slot.resumed());
    let error = crate::fixtures::commit(slot).unwrap_err().to_string();
    assert!(error.contains("nothing was written"), "{error}");
}
