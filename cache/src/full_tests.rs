//! A disk that is full, and one that cannot be written to: what was finished stays, what cannot be done says so and what to do. Real
//! ones are small file systems in memory, which only root may mount; the rest is played.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

use crate::fixtures::{Folder, commit, make, preimage, slot, write};
use crate::{Claim, GcPlan, StatCache, Store, StoreError, hash_file, verify};

/// A file system in memory, in a folder of its own.
struct Small {
    folder: Folder,
}

impl Small {
    fn mount(bytes: u64) -> Option<Self> {
        let folder = Folder::new();
        let (size, at) = (format!("size={bytes}"), folder.path());
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status().is_ok_and(|s| s.success());
        if !done {
            #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("skipped: mounting a small file system needs root");
            }
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn remount(&self, how: &str) {
        assert!(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).status().unwrap().success());
    }

    /// Leaves no room, and no name for another file.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let chunk = [1_u8; 4096];
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
        ballast
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_says_what_to_do() {
    let Some(small) = Small::mount(4 << 20) else { return };
    let store = Store::open(small.path().join("store")).unwrap();
    let made = make(&store, 1, &[("x", "finished")]);
    let unfinished = slot(&store, 2);
    write(&unfinished.out(), &[("y", "made")]);
    write(&unfinished.progress(), &[("state", "half")]);
    let ballast = small.fill();
    let error = commit(unfinished).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Full(_)), "{text}");
    assert!(text.contains("gc") && text.contains(&preimage(2).key().to_string()), "{text}");
    assert!(matches!(store.claim(&preimage(3)), Err(StoreError::Full(_))));
    // What was finished is there, and more can be found out.
    assert_eq!(store.lookup(&preimage(1).key()).unwrap().unwrap(), made);
    assert!(verify(&store, &()).unwrap().is_clean());
    let plan = GcPlan::compute(&store, &BTreeSet::from([preimage(1).key(), preimage(2).key()])).unwrap();
    plan.apply(&store).unwrap();
    fs::remove_file(ballast).unwrap();
    let again = slot(&store, 2);
    assert!(again.resumed());
    write(&again.out(), &[("y", "made")]);
    commit(again).unwrap();
    assert_eq!(store.usage().unwrap().leftover_bytes, 0);
    assert!(verify(&store, &()).unwrap().is_clean());
}

#[test]
fn long_work_is_committed_on_a_full_disk() {
    let Some(small) = Small::mount(4 << 20) else { return };
    let store = Store::open(small.path().join("store")).unwrap();
    let long = slot(&store, 1);
    write(&long.out(), &[("x", "a month of work")]);
    // What a step does that runs for more than a few seconds.
    long.beat();
    small.fill();
    commit(long).unwrap();
    assert!(store.lookup(&preimage(1).key()).unwrap().is_some());
    assert!(store.slots().unwrap().is_empty());
}

#[test]
fn a_store_that_cannot_be_written_to_serves_what_it_has() {
    let Some(small) = Small::mount(4 << 20) else { return };
    let root = small.path().join("store");
    let made = make(&Store::open(&root).unwrap(), 1, &[("x", "finished")]);
    fs::remove_dir(root.join("holders")).unwrap();
    fs::write(small.path().join("outside"), "text").unwrap();
    small.remount("ro");
    let store = Store::open(&root).unwrap();
    let _lease = store.lease().unwrap();
    let Claim::Hit(hit) = store.claim(&preimage(1)).unwrap() else { panic!("it is there") };
    assert_eq!(hit, made);
    let error = store.claim(&preimage(2)).unwrap_err();
    assert!(matches!(&error, StoreError::ReadOnly(_)) && error.to_string().contains("slots"), "{error}");
    store.names("r").unwrap().remember("s", preimage(1).key(), None).unwrap();
    let stats = StatCache::open(&store).unwrap();
    assert_eq!(hash_file(&small.path().join("outside"), &stats).unwrap().bytes, 4);
    stats.save().unwrap();
    assert!(verify(&store, &()).unwrap().is_clean());
    assert!(store.held().unwrap().is_empty() && store.usage().unwrap().keys == 1);
    let plan = GcPlan::compute(&store, &BTreeSet::new()).unwrap();
    assert!(matches!(plan.apply(&store), Err(StoreError::ReadOnly(_) | StoreError::InUse { .. })));
    small.remount("rw");
    assert!(store.lookup(&preimage(1).key()).unwrap().is_some());
}

#[test]
fn a_disk_that_is_full_for_a_while_anywhere_in_a_commit_loses_nothing() {
    let files = [("a.txt", "first"), ("sub/b.txt", "second")];
    for times in [1, 1000] {
        for operations in 0.. {
            let folder = Folder::new();
            let store = Store::open(folder.path().join("store")).unwrap();
            let kept = make(&store, 1, &[("x", "finished")]);
            store.disk().fuse.fill(operations, times);
            let attempt = || match store.claim(&preimage(2))? {
                Claim::Slot(slot) => {
                    write(&slot.out(), &files);
                    commit(slot)
                }
                other => panic!("{other:?}"),
            };
            let outcome = attempt();
            let untouched = store.disk().fuse.left() > 0;
            store.disk().fuse.fill(i64::MAX, 0);
            assert_eq!(store.lookup(&preimage(1).key()).unwrap().as_ref(), Some(&kept));
            match outcome {
                Ok(artifact) => assert_eq!(store.lookup(&preimage(2).key()).unwrap(), Some(artifact)),
                Err(error) => assert!(matches!(error, StoreError::Full(_)), "{error}"),
            }
            if store.lookup(&preimage(2).key()).unwrap().is_none() {
                let slot = slot(&store, 2);
                write(&slot.out(), &files);
                commit(slot).unwrap();
            }
            assert!(verify(&store, &()).unwrap().is_clean());
            assert!(store.take_damage().is_empty());
            let found: BTreeMap<_, _> = store.manifests().unwrap().map(|m| m.unwrap()).map(|m| (m.key, m.files.len())).collect();
            assert_eq!(found, BTreeMap::from([(preimage(1).key(), 1), (preimage(2).key(), 2)]));
            if untouched {
                break;
            }
        }
    }
}
