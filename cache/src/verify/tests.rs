//! Tests of verification and repair.

use std::sync::atomic::{AtomicU64, Ordering};

use fs_err as fs;

use super::*;
use crate::fixtures::{make, preimage, spoil, store};

#[test]
fn a_sound_store_is_clean_and_every_byte_is_read() {
    #[derive(Default)]
    struct Count(AtomicU64, AtomicU64);
    impl Observer for Count {
        fn on_bytes(&self, bytes: u64, total: u64) {
            self.0.fetch_add(bytes, Ordering::SeqCst);
            self.1.store(total, Ordering::SeqCst);
        }
    }
    let (_folder, store) = store();
    make(&store, 1, &[("a", "one"), ("b/c", "two2")]);
    make(&store, 2, &[("a", "three")]);
    make(&store, 3, &[("a", "three")]);
    let count = Count::default();
    let report = verify(&store, &count).unwrap();
    assert!(report.is_clean());
    assert_eq!((report.keys, report.objects, report.bytes), (3, 2, 12));
    assert_eq!((count.0.into_inner(), count.1.into_inner()), (12, 12));
}

#[test]
fn a_flipped_byte_is_found_and_repair_makes_all_its_keys_misses() {
    let (_folder, store) = store();
    let made = make(&store, 1, &[("a", "same"), ("b", "keep")]);
    make(&store, 2, &[("a", "same"), ("b", "keep")]);
    let sound = make(&store, 3, &[("a", "other")]);
    spoil(&made.path.join("a"), "sane");
    assert!(store.lookup(&preimage(1).key()).unwrap().is_some(), "names and sizes are as they were");
    let report = verify(&store, &()).unwrap();
    assert_eq!(report.damage.len(), 1);
    assert_eq!(report.damage[0].problem, Problem::Changed { file: "a".into() });
    let held = store.lease().unwrap();
    assert!(report.repair(&store).unwrap_err().to_string().contains("in use"));
    drop(held);
    let repaired = report.repair(&store).unwrap();
    assert_eq!(repaired.keys, BTreeSet::from([preimage(1).key(), preimage(2).key()]));
    assert_eq!(repaired.objects, BTreeSet::from([made.manifest.digest]));
    assert!(store.lookup(&preimage(1).key()).unwrap().is_none());
    assert_eq!(store.lookup(&preimage(3).key()).unwrap(), Some(sound));
    assert!(verify(&store, &()).unwrap().is_clean());
    make(&store, 1, &[("a", "same"), ("b", "keep")]);
    assert!(verify(&store, &()).unwrap().is_clean());
}

#[test]
fn missing_extra_orphaned_and_unreadable_are_told_apart() {
    let (_folder, store) = store();
    let gone = make(&store, 1, &[("a", "gone")]);
    store.disk().remove_tree(&gone.path).unwrap();
    let extra = make(&store, 2, &[("a", "extra")]);
    spoil(&extra.path.join("new"), "");
    let orphan = make(&store, 3, &[("a", "orphan")]);
    fs::remove_file(store.layout().manifest(&orphan.manifest.key)).unwrap();
    assert_eq!(verify(&store, &()).unwrap().damage.len(), 2, "an orphan in order is no damage");
    spoil(&orphan.path.join("a"), "0rphan");
    let broken = make(&store, 4, &[("a", "broken")]);
    fs::write(store.layout().manifest(&broken.manifest.key), "{").unwrap();
    fs::write(store.layout().preimage(&extra.manifest.key), "{}").unwrap();
    let report = verify(&store, &()).unwrap();
    let about = |key: &plan::Key| -> Vec<&Problem> {
        report.damage.iter().filter(|damage| damage.key == Some(*key)).map(|damage| &damage.problem).collect()
    };
    assert_eq!(about(&gone.manifest.key), [&Problem::NoObject]);
    assert!(matches!(about(&extra.manifest.key)[..], [Problem::Preimage { .. }, Problem::Extra { .. }]));
    assert!(matches!(about(&broken.manifest.key)[..], [Problem::Unreadable { .. }]));
    let nameless: Vec<_> = report.damage.iter().filter(|damage| damage.key.is_none()).collect();
    assert_eq!(nameless.len(), 1);
    assert_eq!(nameless[0].problem, Problem::WrongDigest);
    let repaired = report.repair(&store).unwrap();
    assert_eq!((repaired.keys.len(), repaired.objects.len(), repaired.preimages.len()), (3, 2, 1));
    assert!(verify(&store, &()).unwrap().is_clean());
}

#[test]
fn an_observer_ends_it_early() {
    struct Stop;
    impl Observer for Stop {
        fn should_stop(&self) -> bool {
            true
        }
    }
    let (_folder, store) = store();
    make(&store, 1, &[("a", "x")]);
    let report = verify(&store, &Stop).unwrap();
    assert_eq!((report.objects, report.skipped, report.is_clean()), (0, 1, false));
}
