//! Tests of garbage collection.

use super::*;
use crate::fixtures::{make, preimage, slot, store, write};
use crate::{Claim, verify};

fn roots(numbers: &[i64]) -> BTreeSet<Key> {
    numbers.iter().map(|number| preimage(*number).key()).collect()
}

#[test]
fn what_no_root_needs_goes_and_shared_objects_stay() {
    let (_folder, store) = store();
    make(&store, 1, &[("a", "shared")]);
    make(&store, 2, &[("a", "shared")]);
    make(&store, 3, &[("a", "alone"), ("b/c", "with more")]);
    let interrupted = slot(&store, 4);
    write(&interrupted.progress(), &[("state", "12345")]);
    interrupted.abandon();
    store.names("r").unwrap().remember("s", preimage(3).key(), None).unwrap();

    let plan = GcPlan::compute(&store, &roots(&[1, 4])).unwrap();
    let mut gone = vec![preimage(2).key(), preimage(3).key()];
    gone.sort();
    assert_eq!((&plan.keys, plan.objects.len(), plan.slots.len()), (&gone, 1, 0));
    assert_eq!(plan.bytes(), 14);

    let freed = plan.apply(&store).unwrap();
    assert_eq!(freed, Freed { keys: 2, objects: 1, slots: 0, bytes: 14 });
    assert!(store.lookup(&preimage(1).key()).unwrap().is_some());
    assert!(store.lookup(&preimage(2).key()).unwrap().is_none());
    assert_eq!(store.preimage(&preimage(2).key()).unwrap(), None);
    assert_eq!(store.recall("r", "s").unwrap(), Some(preimage(3)), "`why` can still compare");
    assert!(store.take_damage().is_empty());
    assert!(verify(&store, &()).unwrap().is_clean());
    assert!(GcPlan::compute(&store, &roots(&[1, 4])).unwrap().is_empty());

    let plan = GcPlan::compute(&store, &BTreeSet::new()).unwrap();
    assert_eq!(plan.apply(&store).unwrap().slots, 1);
    let usage = store.usage().unwrap();
    assert_eq!((usage.keys, usage.objects, usage.slots, usage.leftover_bytes), (0, 0, 0, 0));
}

#[test]
fn nothing_is_removed_while_somebody_works() {
    let (_folder, store) = store();
    make(&store, 1, &[("a", "x")]);
    let busy = slot(&store, 2);
    let plan = GcPlan::compute(&store, &BTreeSet::new()).unwrap();
    assert_eq!(plan.slots, [], "a busy slot is not planned to go");
    assert!(plan.apply(&store).unwrap_err().to_string().contains("in use"));
    busy.abandon();
    let lease = store.lease().unwrap();
    assert!(plan.apply(&store).is_err());
    drop(lease);
    assert_eq!(plan.apply(&store).unwrap().keys, 1);
    assert!(matches!(store.claim(&preimage(1)).unwrap(), Claim::Slot(_)));
}

#[test]
fn what_was_committed_after_the_plan_stays() {
    let (_folder, store) = store();
    make(&store, 1, &[("a", "shared")]);
    let plan = GcPlan::compute(&store, &BTreeSet::new()).unwrap();
    let late = make(&store, 2, &[("a", "shared")]);
    let freed = plan.apply(&store).unwrap();
    assert_eq!((freed.keys, freed.objects, freed.bytes), (1, 0, 0));
    assert_eq!(store.lookup(&preimage(2).key()).unwrap(), Some(late));
}

#[test]
fn damage_set_aside_and_leftovers_go() {
    let (_folder, store) = store();
    let made = make(&store, 1, &[("a", "x")]);
    fs::write(store.layout().manifest(&made.manifest.key), "{").unwrap();
    assert!(store.lookup(&made.manifest.key).unwrap().is_none());
    write(&store.layout().fresh_tmp(), &[("left/over", "123")]);
    let all = BTreeSet::from([made.manifest.key]);
    let plan = GcPlan::compute(&store, &all).unwrap();
    assert_eq!((plan.leftover_bytes, plan.objects.len()), (4, 1));
    assert_eq!(plan.apply(&store).unwrap().bytes, 5);
    assert!(GcPlan::compute(&store, &all).unwrap().is_empty());
}

#[test]
fn a_use_is_recorded_and_decides_what_a_budget_evicts() {
    let (_folder, store) = store();
    let day = std::time::Duration::from_secs(24 * 3600);
    for number in 1..=3 {
        let made = make(&store, number, &[("a", &number.to_string().repeat(1000))]);
        let record = std::fs::File::open(store.layout().manifest(&made.manifest.key)).unwrap();
        record.set_modified(SystemTime::now() - day * (4 - number as u32)).unwrap();
    }
    let policy = Policy { max_bytes: Some(2000), ..Policy::default() };
    assert_eq!(GcPlan::choose(&store, policy.clone()).unwrap().keys, [preimage(1).key()]);
    assert!(store.lookup(&preimage(1).key()).unwrap().is_some());
    let plan = GcPlan::choose(&store, policy).unwrap();
    assert_eq!((plan.keys.as_slice(), plan.total_bytes), ([preimage(2).key()].as_slice(), 3000));
    assert_eq!(plan.artifacts[0].1, Reason::OverBudget);
    let old = Policy { older_than: Some(day + day / 2), ..Policy::default() };
    assert_eq!(GcPlan::choose(&store, old).unwrap().keys, [preimage(2).key()]);
}
