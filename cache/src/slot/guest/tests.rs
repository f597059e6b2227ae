//! Tests of slots that are filled elsewhere.

use fs_err as fs;

use super::*;
use crate::fixtures::{commit, preimage, slot, store, write};

fn claim(store: &Store, number: i64) -> Slot {
    match store.claim_in_flight(&preimage(number), &|_| false).unwrap() {
        Claim::Slot(slot) => slot,
        other => panic!("expected a slot, got {other:?}"),
    }
}

fn enter(paths: &SlotPaths) -> Guest {
    match Guest::enter(paths).unwrap() {
        Entry::Entered(guest) => guest,
        other => panic!("expected to enter, got {other:?}"),
    }
}

#[test]
fn what_a_guest_made_outlives_the_claim() {
    let (_folder, store) = store();
    let first = claim(&store, 1);
    assert!(!first.in_flight());
    first.leave_request(b"do").unwrap();
    first.leave_ticket(b"who").unwrap();
    let paths = first.paths().clone();
    let guest = enter(&paths);
    write(&paths.out(), &[("whole", "z")]);
    first.abandon();
    guest.answer(b"done").unwrap();
    drop(guest);
    let second = claim(&store, 1);
    assert!(second.in_flight());
    let read = |path: &Path| paths.read_fresh(path).unwrap().unwrap();
    assert_eq!(
        (read(&paths.ticket()), read(&paths.request()), read(&paths.answer())),
        (b"who".into(), b"do".into(), b"done".into())
    );
    assert_eq!(commit(second).unwrap().manifest.files.len(), 1);
    assert!(matches!(Guest::enter(&paths).unwrap(), Entry::Gone));
}

#[test]
fn without_a_ticket_everything_is_cleared() {
    let (_folder, store) = store();
    let first = claim(&store, 1);
    first.leave_request(b"do").unwrap();
    write(&first.out(), &[("half", "x")]);
    fs::write(first.paths().events(), "said").unwrap();
    let paths = first.paths().clone();
    first.abandon();
    let second = claim(&store, 1);
    assert!(!second.in_flight());
    assert!(!paths.request().exists() && !paths.events().exists());
    assert_eq!(fs::read_dir(paths.out()).unwrap().count(), 0);
}

#[test]
fn only_one_guest_is_in_a_slot_and_an_ordinary_claim_turns_it_out() {
    let (_folder, store) = store();
    let first = claim(&store, 1);
    first.leave_ticket(b"who").unwrap();
    let paths = first.paths().clone();
    let guest = enter(&paths);
    let Entry::Busy(owner) = Guest::enter(&paths).unwrap() else { panic!("two guests in one slot") };
    assert_eq!(owner.pid, std::process::id());
    assert!(store.exclusive().is_err(), "gc would remove what the guest works on");
    assert_eq!(first.evict().unwrap().map(|owner| owner.pid), Some(std::process::id()));
    first.leave_ticket(b"who").unwrap();
    first.abandon();
    assert_eq!(store.slots().unwrap()[0].owner, Some(owner.clone()));
    assert!(paths.ticket().exists());
    // One that wants to run the step itself.
    let Claim::Busy(busy) = store.claim(&preimage(1)).unwrap() else { panic!("claimed under a guest") };
    assert_eq!(busy, owner);
    assert!(!paths.ticket().exists(), "the guest is not told to leave");
    write(&paths.out(), &[("half", "x")]);
    drop(guest);
    let taken = slot(&store, 1);
    assert_eq!(fs::read_dir(taken.out()).unwrap().count(), 0);
    assert_eq!(taken.evict().unwrap(), None);
}

#[test]
fn a_guest_can_start_anew() {
    let (_folder, store) = store();
    let first = claim(&store, 1);
    first.leave_ticket(b"who").unwrap();
    let guest = enter(first.paths());
    write(&first.out(), &[("deep/half", "x")]);
    guest.answer(b"stopped").unwrap();
    guest.start_anew().unwrap();
    assert!(!first.answer_path().exists());
    assert_eq!(fs::read_dir(first.out()).unwrap().count(), 0);
}
