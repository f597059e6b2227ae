//! Tests of tickets, tails and the way a process enters its slot.

use std::collections::BTreeMap;

use cache::{Claim, Store};
use plan::{Preimage, Value};

use super::*;

fn slot(store: &Store) -> Slot {
    let preimage = Preimage {
        format: plan::key::FORMAT,
        kind: "test".into(),
        version: 1,
        params: Value::map([("a", Value::Int(1))]),
        inputs: Vec::new(),
    };
    match store.claim_in_flight(&preimage, &|_| false).unwrap() {
        Claim::Slot(slot) => slot,
        other => panic!("expected a slot, got {other:?}"),
    }
}

fn request(slot: &Slot) -> Request {
    Request {
        kind: "test".into(),
        version: 1,
        params: Value::map([("a", Value::Int(1))]),
        inputs: Vec::new(),
        out: slot.out(),
        progress: slot.progress(),
        threads: 1,
        device: "cpu".into(),
        gpus: Vec::new(),
    }
}

fn come(slot: &Slot, token: &str) -> &'static str {
    match arrive(slot.paths(), token, &AtomicBool::new(false)).unwrap() {
        Arrival::Enter(_) => "enters",
        Arrival::Leave(why) => why,
    }
}

#[test]
fn only_the_process_that_the_ticket_names_enters_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let slot = slot(&store);
    assert_eq!(come(&slot, "t"), "nobody waits for this step any more");
    let ours = ticket("slurm", "t".into(), "run-1", "step", &request(&slot), slot.paths());
    ours.leave(&slot).unwrap();
    assert_eq!(Ticket::read(slot.paths()).unwrap(), Some(ours));
    assert_eq!(come(&slot, "other"), "nobody waits for this step any more");
    assert_eq!(come(&slot, "t"), "enters");
    let answer = |token: &str, answer: Answer| {
        let sealed = Sealed { token: token.into(), host: "h".into(), seconds: 1.0, answer };
        fs::write(slot.answer_path(), serde_json::to_vec(&sealed).unwrap()).unwrap();
    };
    answer("another", Answer::Done(BTreeMap::new()));
    assert_eq!(Sealed::read(slot.paths(), "t").unwrap(), None);
    assert_eq!(come(&slot, "t"), "enters");
    answer("t", Answer::Done(BTreeMap::from([("x".into(), 1.0)])));
    assert_eq!(come(&slot, "t"), "this step has been answered before");
    answer("t", Answer::Failed("no".into()));
    assert_eq!(come(&slot, "t"), "this step has been answered before");
    answer("t", Answer::Interrupted);
    assert_eq!(come(&slot, "t"), "enters", "a job that gave way starts again");
    fs::write(slot.answer_path(), "{\"tok").unwrap();
    assert_eq!(Sealed::read(slot.paths(), "t").unwrap(), None);
}

#[test]
fn a_request_is_the_same_whatever_its_threads() {
    let dir = tempfile::tempdir().unwrap();
    let slot = slot(&Store::open(dir.path().join("store")).unwrap());
    let one = request(&slot);
    assert_eq!(request_digest(&one), request_digest(&Request { threads: 8, ..one.clone() }));
    assert_ne!(request_digest(&one), request_digest(&Request { version: 2, ..one.clone() }));
    assert_ne!(new_token("r"), new_token("r"));
    assert_eq!(new_token("r").len(), 16);
}

#[test]
fn a_tail_gives_whole_lines_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let mut tail = Tail::new(path.clone(), 4);
    assert!(tail.lines().is_empty());
    fs::write(&path, "old\none\nhal").unwrap();
    assert_eq!(tail.lines(), ["one"]);
    assert!(tail.lines().is_empty());
    fs::write(&path, "old\none\nhalf\nlast").unwrap();
    assert_eq!(tail.lines(), ["half"]);
    assert_eq!(tail.rest().as_deref(), Some("last"));
    assert_eq!(tail.rest(), None);
}
