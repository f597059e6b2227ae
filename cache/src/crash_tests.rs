//! Ends the process before each operation that changes the disk, and looks at what the next one finds: a whole artifact or a clean
//! slot, never a wrong hit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;
use plan::{Artifact, Key};
use proptest::prelude::*;

use crate::disk::Disk;
use crate::fixtures::{Folder, commit, preimage, write};
use crate::{Claim, GcPlan, Result, Store, StoreError, verify};

type Files = Vec<(&'static str, &'static str)>;

/// Opens the store in a process that dies after so many operations.
fn doomed(root: &Path, operations: i64) -> Result<Store> {
    let disk = Disk::default();
    disk.fuse.set(operations);
    Store::open_on(disk, root)
}

/// What one process does: claim, write, commit.
fn attempt(store: &Store, number: i64, files: &Files) -> Result<Artifact> {
    match store.claim(&preimage(number))? {
        Claim::Hit(artifact) => Ok(artifact),
        Claim::Slot(slot) => {
            write(&slot.out(), files);
            write(&slot.progress(), &[("state", "x")]);
            commit(slot)
        }
        Claim::Busy(owner) => panic!("the lock outlived its process: {owner}"),
    }
}

fn assert_holds(artifact: &Artifact, files: &Files) {
    let expected: BTreeMap<String, String> = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
    let found: BTreeMap<String, String> = artifact
        .manifest
        .files
        .iter()
        .map(|file| (file.path.clone(), fs::read_to_string(artifact.path.join(&file.path)).unwrap()))
        .collect();
    assert_eq!(found, expected);
}

/// The promise of the store, whatever happened before: each key is a hit with its own files or can be made now.
fn assert_sound(root: &Path, wanted: &BTreeMap<i64, Files>) {
    let store = Store::open(root).unwrap();
    assert!(verify(&store, &()).unwrap().is_clean());
    for (number, files) in wanted {
        if let Some(artifact) = store.lookup(&preimage(*number).key()).unwrap() {
            assert_holds(&artifact, files);
            assert_eq!(store.preimage(&preimage(*number).key()).unwrap(), Some(preimage(*number)));
        }
    }
    assert!(store.take_damage().is_empty());
}

fn files() -> Files {
    vec![("a.txt", "first"), ("sub/b.txt", "second"), ("sub/deep/c.txt", "third")]
}

/// Seals three artifacts, two of them with the same bytes, and commits them together.
fn attempt_together(store: &Store) -> Result<()> {
    let mut sealed = Vec::new();
    for (number, text) in [(1, "one"), (2, "two"), (3, "one")] {
        if let Claim::Slot(slot) = store.claim(&preimage(number))? {
            write(&slot.out(), &[("a.txt", text)]);
            sealed.push(slot.seal("test", Vec::new(), BTreeMap::new(), plan::Provenance::default())?);
        }
    }
    store.commit(sealed).into_iter().try_for_each(|outcome| outcome.map(drop))
}

#[test]
fn a_death_at_any_operation_of_a_common_commit_leaves_hits_or_slots() {
    let wanted: BTreeMap<i64, Files> =
        [(1, "one"), (2, "two"), (3, "one")].map(|(key, text)| (key, vec![("a.txt", text)])).into();
    for operations in 0.. {
        let folder = Folder::new();
        let root = folder.path().join("store");
        let outcome = doomed(&root, operations).and_then(|store| attempt_together(&store));
        assert_sound(&root, &wanted);
        let store = Store::open(&root).unwrap();
        attempt_together(&store).unwrap();
        for (number, files) in &wanted {
            assert_holds(&store.lookup(&preimage(*number).key()).unwrap().unwrap(), files);
        }
        assert!(store.slots().unwrap().is_empty(), "after {operations} operations");
        if outcome.is_ok() {
            assert!(operations > 45, "only {operations} operations were tried");
            break;
        }
    }
}

#[test]
fn a_death_at_any_operation_of_a_commit_leaves_a_hit_or_a_slot() {
    let wanted = BTreeMap::from([(1, files())]);
    let mut hits_after_death = 0;
    for operations in 0.. {
        let folder = Folder::new();
        let root = folder.path().join("store");
        let outcome = doomed(&root, operations).and_then(|store| attempt(&store, 1, &files()).map(|_| store));
        assert_sound(&root, &wanted);
        let store = Store::open(&root).unwrap();
        hits_after_death += i32::from(outcome.is_err() && store.lookup(&preimage(1).key()).unwrap().is_some());
        assert_holds(&attempt(&store, 1, &files()).unwrap(), &files());
        assert_sound(&root, &wanted);
        assert!(store.slots().unwrap().is_empty(), "after {operations} operations");
        GcPlan::compute(&store, &BTreeSet::from([preimage(1).key()])).unwrap().apply(&store).unwrap();
        assert_holds(&store.lookup(&preimage(1).key()).unwrap().unwrap(), &files());
        let usage = store.usage().unwrap();
        assert_eq!((usage.objects, usage.leftover_bytes), (1, 0));
        match outcome {
            // It lived long enough for everything, even for cleaning up.
            Ok(store) if store.disk().fuse.left() >= 0 => {
                assert!(operations > 30, "only {operations} operations were tried");
                assert_eq!(hits_after_death, 1, "one sync after the commit point reports its failure");
                return;
            }
            Ok(_) | Err(StoreError::Io(_)) => {}
            Err(other) => panic!("after {operations} operations: {other}"),
        }
    }
}

#[test]
fn a_death_at_any_operation_of_a_collection_leaves_what_roots_need() {
    let roots: BTreeSet<Key> = BTreeSet::from([preimage(1).key()]);
    let other: Files = vec![("x", "other"), ("y/z", "more")];
    let wanted = BTreeMap::from([(1, files()), (2, files()), (3, other.clone())]);
    for operations in 0.. {
        let folder = Folder::new();
        let root = folder.path().join("store");
        let store = Store::open(&root).unwrap();
        for (number, files) in &wanted {
            attempt(&store, *number, files).unwrap();
        }
        store.disk().fuse.set(operations);
        let outcome = GcPlan::compute(&store, &roots).and_then(|plan| plan.apply(&store));
        let lived = store.disk().fuse.left() >= 0;
        drop(store);
        assert_sound(&root, &wanted);
        let store = Store::open(&root).unwrap();
        assert_holds(&store.lookup(&preimage(1).key()).unwrap().unwrap(), &files());
        GcPlan::compute(&store, &roots).unwrap().apply(&store).unwrap();
        let usage = store.usage().unwrap();
        assert_eq!((usage.keys, usage.objects, usage.leftover_bytes), (1, 1, 0));
        if lived {
            assert!(outcome.is_ok() && operations > 8);
            return;
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    /// Make a key, dying after so many operations.
    Make(i64, i64),
    /// Damage the artifact of a key: 0 truncates a file, 1 removes one, 2 removes the object.
    Damage(i64, u8),
    /// Collect all but one key, dying after so many operations.
    Collect(i64, i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..5_i64, 0..80_i64).prop_map(|(key, life)| Act::Make(key, life)),
        2 => (0..5_i64, 0..3_u8).prop_map(|(key, how)| Act::Damage(key, how)),
        1 => (0..5_i64, 0..30_i64).prop_map(|(key, life)| Act::Collect(key, life)),
    ]
}

fn damage(store: &Store, number: i64, how: u8) {
    let Some(artifact) = store.lookup(&preimage(number).key()).unwrap() else { return };
    let file = artifact.path.join(&artifact.manifest.files[0].path);
    crate::fixtures::spoil(&file, "");
    match how {
        0 => {}
        1 => fs::remove_file(file).unwrap(),
        _ => store.disk().remove_tree(&artifact.path).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Keys 0 and 1 have the same bytes, so that deaths also strike objects that two keys share.
    #[test]
    fn no_history_of_deaths_and_damage_gives_a_wrong_hit(acts in prop::collection::vec(act(), 1..24)) {
        let wanted: BTreeMap<i64, Files> = (0..5)
            .map(|number| (number, if number < 2 { files() } else { vec![("n", ["", "", "2", "3", "4"][number as usize])] }))
            .collect();
        let folder = Folder::new();
        let root = folder.path().join("store");
        for act in acts {
            match act {
                Act::Make(number, life) => {
                    if let Ok(artifact) = doomed(&root, life).and_then(|store| attempt(&store, number, &wanted[&number])) {
                        assert_holds(&artifact, &wanted[&number]);
                    }
                }
                Act::Damage(number, how) => damage(&Store::open(&root).unwrap(), number, how),
                Act::Collect(number, life) => {
                    let roots = BTreeSet::from([preimage(number).key()]);
                    let _ = doomed(&root, life).and_then(|store| GcPlan::compute(&store, &roots)?.apply(&store));
                }
            }
            let store = Store::open(&root).unwrap();
            for (number, files) in &wanted {
                if let Some(artifact) = store.lookup(&preimage(*number).key()).unwrap() {
                    assert_holds(&artifact, files);
                }
            }
        }
        let store = Store::open(&root).unwrap();
        for (number, files) in &wanted {
            assert_holds(&attempt(&store, *number, files).unwrap(), files);
        }
        drop(store);
        assert_sound(&root, &wanted);
    }
}
