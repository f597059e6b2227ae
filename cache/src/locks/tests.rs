//! Tests of what is held by processes on other machines, played by files that change as theirs would.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::fixtures::{commit, make, preimage, slot, store, write};
use crate::holder::tests::foreign;
use crate::{Claim, GcPlan, Slot, StoreError};

const SILENCE: Duration = Duration::from_millis(400);

/// A slot that a process on another machine took.
fn foreign_slot(store: &Store, number: i64) -> crate::SlotPaths {
    let paths = store.slot_paths(&preimage(number).key());
    write(paths.folder(), &[("progress/state", "half"), ("preimage.json", &serde_json::to_string(&preimage(number)).unwrap())]);
    fs::write(paths.holder(), foreign(0)).unwrap();
    paths
}

/// Another process's next heartbeat.
fn beat(path: &Path) {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let text = fs::read(path).unwrap();
    let number = format!("{:020}\n", COUNTER.fetch_add(1, Ordering::Relaxed));
    let end = text.len() - number.len();
    fs::write(path, [&text[..end], number.as_bytes()].concat()).unwrap();
}

fn claim(store: &Store, number: i64) -> std::result::Result<Slot, Owner> {
    match store.claim(&preimage(number)).unwrap() {
        Claim::Slot(slot) => Ok(slot),
        Claim::Busy(owner) => Err(owner),
        Claim::Hit(_) => panic!("nobody made it"),
    }
}

#[test]
fn a_slot_on_another_machine_is_waited_for_while_it_beats_and_taken_when_it_stops() {
    let (_folder, store) = store();
    store.watch().set_silence(SILENCE);
    let paths = foreign_slot(&store, 1);
    for _ in 0..8 {
        let owner = claim(&store, 1).unwrap_err();
        assert_eq!(owner.host, "elsewhere");
        std::thread::sleep(SILENCE / 4);
        beat(&paths.holder());
    }
    assert_eq!(store.slots().unwrap()[0].owner.as_ref().unwrap().host, "elsewhere");
    let began = std::time::Instant::now();
    let Claim::Slot(slot) = store.claim_wait(&preimage(1), &|_| true).unwrap() else { panic!("it fell silent") };
    assert!(began.elapsed() >= SILENCE / 2, "{:?}", began.elapsed());
    assert!(slot.resumed());
    write(&slot.out(), &[("x", "y")]);
    commit(slot).unwrap();
    assert!(store.slots().unwrap().is_empty());
}

#[test]
fn the_result_of_another_machine_is_taken_when_it_commits() {
    let (_folder, store) = store();
    let paths = foreign_slot(&store, 1);
    assert!(claim(&store, 1).is_err());
    // The other machine commits.
    fs::remove_dir_all(paths.folder()).unwrap();
    make(&store, 1, &[("x", "theirs")]);
    fs::create_dir_all(paths.folder()).unwrap();
    fs::write(paths.holder(), foreign(3)).unwrap();
    assert!(matches!(store.claim_wait(&preimage(1), &|_| true).unwrap(), Claim::Hit(_)));
    assert!(paths.folder().exists(), "its slot is its own to remove");
}

#[test]
fn who_was_thought_dead_commits_nothing_and_disturbs_nobody() {
    let (_folder, store) = store();
    let ours = slot(&store, 1);
    write(&ours.out(), &[("x", "ours")]);
    ours.check_held().unwrap();
    // Another machine took the slot and began to fill it.
    let paths = ours.paths().clone();
    fs::remove_file(paths.holder()).unwrap();
    fs::write(paths.holder(), foreign(0)).unwrap();
    write(&ours.out(), &[("x", "theirs")]);
    let error = commit(ours).unwrap_err();
    assert!(matches!(&error, StoreError::Lost { by, .. } if by.contains("elsewhere")), "{error}");
    assert_eq!(store.lookup(&preimage(1).key()).unwrap(), None);
    assert_eq!(fs::read_to_string(paths.out().join("x")).unwrap(), "theirs");
    assert!(paths.holder().exists());
}

#[test]
fn a_dead_process_of_this_machine_is_not_waited_for() {
    let (_folder, store) = store();
    slot(&store, 1).die();
    let holder = store.slot_paths(&preimage(1).key()).holder();
    assert!(holder.exists());
    assert_eq!(store.slots().unwrap()[0].owner, None);
    assert!(claim(&store, 1).is_ok());
}

#[test]
fn nothing_is_removed_while_another_machine_works() {
    let (_folder, store) = store();
    store.watch().set_silence(SILENCE);
    make(&store, 1, &[("x", "y")]);
    let lease = store.layout().fresh_holder();
    fs::write(&lease, foreign(0)).unwrap();
    let plan = GcPlan::compute(&store, &std::collections::BTreeSet::new()).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(SILENCE / 8);
                beat(&lease);
            }
        });
        assert!(matches!(plan.apply(&store), Err(StoreError::InUse { .. })));
        over.store(true, Ordering::Relaxed);
    });
    // The first look may see its last beat.
    std::thread::sleep(SILENCE);
    let freed = plan.apply(&store).or_else(|_| {
        std::thread::sleep(SILENCE);
        plan.apply(&store)
    });
    assert_eq!(freed.unwrap().keys, 1);
    assert!(!lease.exists());
}

#[test]
fn everything_held_is_listed() {
    let (_folder, store) = store();
    store.watch().set_silence(SILENCE);
    assert!(store.held().unwrap().is_empty());
    let lease = store.lease().unwrap();
    let ours = slot(&store, 1);
    foreign_slot(&store, 2);
    let held = store.held().unwrap();
    let told: Vec<_> =
        held.iter().map(|held| (matches!(held.what, Holding::Store), held.owner.host.as_str(), held.pulse)).collect();
    let here = crate::lock::host();
    assert_eq!(told, [(false, here, Pulse::Alive), (true, here, Pulse::Alive), (false, "elsewhere", Pulse::Dead)]);
    assert!(matches!(&held[2].what, Holding::Slot { preimage: Some(asked), .. } if *asked == preimage(2)));
    drop((lease, ours));
    assert_eq!(store.held().unwrap().len(), 1);
}
