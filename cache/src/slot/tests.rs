//! Tests of claiming slots.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fixtures::{commit, make, preimage, slot, store, write};

#[test]
fn an_abandoned_slot_keeps_progress_log_and_time_but_no_output() {
    let (_folder, store) = store();
    let first = slot(&store, 1);
    assert!(!first.resumed());
    write(&first.out(), &[("half", "x"), ("deep/er", "y")]);
    write(&first.progress(), &[("state", "step 10")]);
    for path in [first.log_path(), first.request_path(), first.answer_path()] {
        fs::write(path, "text").unwrap();
    }
    first.add_seconds(1.5);
    first.add_seconds(f64::NAN);
    first.abandon();
    let second = slot(&store, 1);
    assert!(second.resumed());
    assert_eq!(fs::read_dir(second.out()).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(second.progress().join("state")).unwrap(), "step 10");
    assert_eq!(fs::read_to_string(second.log_path()).unwrap(), "text");
    assert!(!second.request_path().exists() && !second.answer_path().exists());
    second.add_seconds(2.0);
    assert_eq!((second.attempts_seconds(), second.attempts()), (3.5, 2));
    write(&second.out(), &[("whole", "z")]);
    let made = commit(second).unwrap();
    assert_eq!(made.manifest.files.len(), 1);
    assert!(store.slots().unwrap().is_empty());
}

#[test]
fn a_slot_is_busy_while_it_is_held() {
    let (_folder, store) = store();
    let held = slot(&store, 1);
    let Claim::Busy(owner) = store.claim(&preimage(1)).unwrap() else { panic!("two slots for one key") };
    assert_eq!((owner.pid, owner.host.as_str()), (std::process::id(), crate::lock::host()));
    assert!(owner.since_ms > 1_500_000_000_000);
    let listed = store.slots().unwrap();
    assert_eq!((listed[0].key, listed[0].owner.as_ref()), (held.key(), Some(&owner)));
    assert_eq!(listed[0].preimage, Some(preimage(1)));
    assert!(matches!(store.claim(&preimage(2)).unwrap(), Claim::Slot(_)));
    held.abandon();
    assert_eq!(store.slots().unwrap()[0].owner, None);
    assert!(matches!(store.claim(&preimage(1)).unwrap(), Claim::Slot(_)));
}

#[test]
fn whoever_waits_gets_the_hit() {
    let (_folder, store) = store();
    let held = slot(&store, 1);
    let asked = AtomicUsize::new(0);
    let waiting = Barrier::new(2);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            store.claim_wait(&preimage(1), &|_| {
                if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                    waiting.wait();
                }
                true
            })
        });
        waiting.wait();
        write(&held.out(), &[("x", "y")]);
        commit(held).unwrap();
        assert!(matches!(waiter.join().unwrap().unwrap(), Claim::Hit(_)));
    });
    let held = slot(&store, 2);
    assert!(matches!(store.claim_wait(&preimage(2), &|_| false).unwrap(), Claim::Busy(_)));
    drop(held);
}

#[test]
fn among_many_threads_each_key_is_made_once() {
    let (_folder, store) = store();
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..20 {
                    match store.claim_wait(&preimage(number), &|_| true).unwrap() {
                        Claim::Hit(artifact) => assert!(artifact.path.join("x").exists()),
                        Claim::Slot(slot) => {
                            made.fetch_add(1, Ordering::SeqCst);
                            // Every third key has the same bytes, so that objects collide too.
                            write(&slot.out(), &[("x", &(number % 3).to_string())]);
                            commit(slot).unwrap();
                        }
                        Claim::Busy(owner) => panic!("gave up on {owner}"),
                    }
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 20);
    let usage = store.usage().unwrap();
    assert_eq!((usage.keys, usage.objects, usage.slots, usage.leftover_bytes), (20, 3, 0, 0));
    assert!(store.take_damage().is_empty());
}

#[test]
fn empty_folders_go_and_hard_links_are_cut() {
    let (folder, store) = store();
    let outside = folder.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    let slot = slot(&store, 1);
    fs::create_dir_all(slot.out().join("a/b/c")).unwrap();
    fs::create_dir_all(slot.out().join("kept/empty")).unwrap();
    fs::write(slot.out().join("kept/file"), "x").unwrap();
    fs::hard_link(&outside, slot.out().join("linked")).unwrap();
    let made = commit(slot).unwrap();
    fs::write(&outside, "changed").unwrap();
    assert_eq!(fs::read_to_string(made.path.join("linked")).unwrap(), "mine");
    assert!(!made.path.join("a").exists() && !made.path.join("kept/empty").exists());
    assert_eq!(made.manifest.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["kept/file", "linked"]);
}

#[test]
fn a_child_that_outlives_its_parent_keeps_the_slot_busy() {
    let (_folder, store) = store();
    let held = slot(&store, 1);
    let mut command = Command::new("cat");
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    held.hold_in_child(&mut command);
    let mut child = command.spawn().unwrap();
    held.die();
    assert!(matches!(store.claim(&preimage(1)).unwrap(), Claim::Busy(_)));
    assert!(store.exclusive().is_err());
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(matches!(store.claim(&preimage(1)).unwrap(), Claim::Slot(_)));
}

#[test]
fn the_slot_left_by_a_death_after_the_commit_is_swept_by_the_next_hit() {
    let (_folder, store) = store();
    let made = make(&store, 1, &[("x", "y")]);
    let paths = store.slot_paths(&made.manifest.key);
    write(paths.folder(), &[("lock", ""), ("out/x", "y")]);
    assert!(matches!(store.claim(&preimage(1)).unwrap(), Claim::Hit(_)));
    assert!(!paths.folder().exists());
}
