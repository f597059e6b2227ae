//! The store as other crates and other processes see it, with every file really synced. It looks at no path inside the store.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cache::{Claim, Store, verify};
use plan::{Preimage, Provenance, Value};

/// Names the store when this program runs as a worker.
const WORKER: &str = "CACHE_TEST_STORE";

fn preimage(number: i64) -> Preimage {
    Preimage {
        format: plan::key::FORMAT,
        kind: "test".into(),
        version: 1,
        params: Value::map([("number", Value::Int(number))]),
        inputs: Vec::new(),
    }
}

fn make(store: &Store, number: i64, n_files: usize) -> plan::Artifact {
    match store.claim_wait(&preimage(number), &|_| true).unwrap() {
        Claim::Hit(artifact) => artifact,
        Claim::Slot(slot) => {
            let mut log = fs_err::OpenOptions::new().create(true).append(true).open(slot.log_path()).unwrap();
            std::io::Write::write_all(&mut log, b"made\n").unwrap();
            for index in 0..n_files {
                let folder = slot.out().join(format!("part{}", index / 50));
                fs_err::create_dir_all(&folder).unwrap();
                fs_err::write(folder.join(format!("{index}.txt")), format!("{number}/{index}")).unwrap();
            }
            slot.commit("test", Vec::new(), BTreeMap::new(), Provenance::default()).unwrap()
        }
        Claim::Busy(owner) => panic!("gave up on {owner}"),
    }
}

fn spawn_worker(store: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--ignored"])
        .env(WORKER, store)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: the other tests run it as another process.
#[test]
#[ignore = "run by the other tests"]
fn worker() {
    let Ok(root) = std::env::var(WORKER) else { return };
    let store = Store::open(root).unwrap();
    for number in 0..12 {
        let n_files = if number % 3 == 0 { 40 } else { 1 };
        let artifact = make(&store, number, n_files);
        assert_eq!(artifact.manifest.files.len(), n_files);
    }
    assert!(store.take_damage().is_empty());
}

#[test]
fn two_processes_and_this_one_make_each_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut workers = [spawn_worker(folder.path()), spawn_worker(folder.path())];
    let store = Store::open(folder.path()).unwrap();
    // Reading goes on while others commit.
    while workers.iter_mut().any(|worker| worker.try_wait().unwrap().is_none()) {
        for number in 0..12 {
            if let Some(artifact) = store.lookup(&preimage(number).key()).unwrap() {
                for file in &artifact.manifest.files {
                    assert_eq!(std::fs::metadata(artifact.path.join(&file.path)).unwrap().len(), file.bytes);
                }
            }
        }
    }
    assert!(workers.iter_mut().all(|worker| worker.wait().unwrap().success()));
    assert!(store.take_damage().is_empty());
    let usage = store.usage().unwrap();
    assert_eq!((usage.keys, usage.objects, usage.slots, usage.leftover_bytes), (12, 12, 0, 0));
    assert!(verify(&store, &()).unwrap().is_clean());
    store.destroy().unwrap();
}

#[test]
fn a_killed_process_leaves_nothing_locked_or_half_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for number in 0..6 {
        let mut worker = spawn_worker(folder.path());
        // Let it get one key further each time, then kill it wherever it is by then.
        while store.keys().unwrap().len() <= number && worker.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        assert!(verify(&store, &()).unwrap().is_clean());
        assert!(store.slots().unwrap().iter().all(|slot| slot.owner.is_none()));
    }
    assert!(spawn_worker(folder.path()).wait().unwrap().success());
    let usage = store.usage().unwrap();
    assert_eq!((usage.keys, usage.slots), (12, 0));
    assert!(verify(&store, &()).unwrap().is_clean());
    store.destroy().unwrap();
}

#[test]
fn many_files_are_committed_in_one_piece() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let artifact = make(&store, 1, 300);
    assert_eq!(artifact.manifest.files.len(), 300);
    assert!(artifact.manifest.files.is_sorted_by_key(|file| file.path.clone()));
    assert_eq!(store.lookup(&preimage(1).key()).unwrap(), Some(artifact));
    store.destroy().unwrap();
}
