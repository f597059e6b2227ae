//! [`Policy`]: which artifacts are to stay, and which of the others go first. Pure; it does not know where anything lies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::{Digest, Key};

/// What is to stay, and how much of the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Keys that stay whatever happens, such as those of runs and tags. Their unfinished work stays too.
    pub roots: BTreeSet<Key>,
    /// Of the rest, only what was not used for so long goes.
    pub older_than: Option<Duration>,
    /// Of the rest, only as much goes as brings all artifacts together under so many bytes; first what costs the least time a byte to
    /// make again and was not used for the longest time.
    pub max_bytes: Option<u64>,
    /// What becomes of the files of temporary artifacts among the roots.
    pub temporary: Temporary,
}

/// What becomes of the files of temporary artifacts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Temporary {
    /// They stay.
    #[default]
    Keep,
    /// They go, their records stay.
    Drop,
}

/// Why an artifact goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No root needs it, and it has not been used for long enough.
    Unneeded,
    /// No root needs it, and the rest has to fit into the budget.
    OverBudget,
    /// It is temporary.
    Temporary,
}

/// An artifact as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Key.
    pub key: Key,
    /// What came out; keys share it.
    pub digest: Digest,
    /// Name of the step that made it.
    pub step: String,
    /// Its kind.
    pub kind: String,
    /// Run that made it.
    pub run: String,
    /// Milliseconds that it took to make.
    pub took_ms: u64,
    /// How long it has not been used.
    pub unused: Duration,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether its maker called it temporary.
    pub temp: bool,
}

/// How large things are on disk where files are shared by hard links: each file counts when its last user goes.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    /// Users and size of each file.
    files: BTreeMap<(u64, u64), (u64, u64)>,
    /// Files of each object.
    objects: BTreeMap<Digest, Vec<(u64, u64)>>,
}

impl Extents {
    /// Notes a file of an object by device and inode.
    pub(crate) fn add(&mut self, object: Digest, file: (u64, u64), bytes: u64) {
        self.files.entry(file).or_insert((0, bytes)).0 += 1;
        self.objects.entry(object).or_default().push(file);
    }

    /// Size of everything that is left.
    pub(crate) fn total(&self) -> u64 {
        self.files.values().filter(|(users, _)| *users > 0).map(|(_, bytes)| bytes).sum()
    }

    /// Takes an object away; how much that frees.
    pub(crate) fn remove(&mut self, object: &Digest) -> u64 {
        let mut freed = 0;
        for file in self.objects.remove(object).unwrap_or_default() {
            if let Some((users, bytes)) = self.files.get_mut(&file) {
                *users -= 1;
                freed += if *users == 0 { *bytes } else { 0 };
            }
        }
        freed
    }
}

/// The artifacts that go, each with its reason and the bytes its going frees: of several that share files the last one frees them.
pub(crate) fn choose(candidates: &[Candidate], policy: &Policy, extents: &mut Extents) -> Vec<(Candidate, Reason, u64)> {
    let mut users: BTreeMap<Digest, u64> = BTreeMap::new();
    for candidate in candidates {
        *users.entry(candidate.digest).or_default() += 1;
    }
    let mut gone = Vec::new();
    let mut go = |candidate: &Candidate, reason, extents: &mut Extents| {
        let left = users.get_mut(&candidate.digest).map_or(0, |users| {
            *users -= 1;
            *users
        });
        let freed = if left == 0 { extents.remove(&candidate.digest) } else { 0 };
        gone.push((candidate.clone(), reason, freed));
    };
    for candidate in candidates.iter().filter(|candidate| policy.roots.contains(&candidate.key)) {
        if candidate.temp && policy.temporary == Temporary::Drop {
            go(candidate, Reason::Temporary, extents);
        }
    }
    let spared = |candidate: &&Candidate| {
        !policy.roots.contains(&candidate.key) && policy.older_than.is_none_or(|least| candidate.unused >= least)
    };
    let rest: Vec<&Candidate> = candidates.iter().filter(spared).collect();
    let Some(budget) = policy.max_bytes else {
        rest.into_iter().for_each(|candidate| go(candidate, Reason::Unneeded, extents));
        return gone;
    };
    // Keys that share their bytes go together or not at all: only the last of them frees anything.
    let mut groups: BTreeMap<Digest, Vec<&Candidate>> = BTreeMap::new();
    rest.into_iter().for_each(|candidate| groups.entry(candidate.digest).or_default().push(candidate));
    let mut groups: Vec<Vec<&Candidate>> = groups.into_values().collect();
    groups.sort_by(|a, b| worth(a).total_cmp(&worth(b)));
    for group in groups {
        if extents.total() <= budget {
            break;
        }
        group.into_iter().for_each(|candidate| go(candidate, Reason::OverBudget, extents));
    }
    gone
}

/// How much keys that share their bytes are worth keeping: time to make them again for each byte, the less the longer ago their last
/// use.
fn worth(group: &[&Candidate]) -> f64 {
    let took: u64 = group.iter().map(|candidate| candidate.took_ms).sum();
    let unused = group.iter().map(|candidate| candidate.unused).min().unwrap_or_default();
    let bytes = group.first().map_or(0, |candidate| candidate.bytes);
    // An hour more or less says nothing.
    (took as f64 + 1.0) / (bytes as f64 + 4096.0) / (1.0 + unused.as_secs_f64() / 3600.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8, bytes: u64, took_ms: u64, unused_hours: u64) -> Candidate {
        Candidate {
            key: Key::from_bytes([number; 32]),
            digest: Digest::from_bytes([number; 32]),
            step: String::new(),
            kind: String::new(),
            run: String::new(),
            took_ms,
            unused: Duration::from_secs(unused_hours * 3600),
            bytes,
            temp: false,
        }
    }

    fn extents(candidates: &[Candidate]) -> Extents {
        let mut extents = Extents::default();
        for candidate in candidates {
            if !extents.objects.contains_key(&candidate.digest) {
                extents.add(candidate.digest, (0, u64::from(candidate.digest.as_bytes()[0])), candidate.bytes);
            }
        }
        extents
    }

    fn gone(candidates: &[Candidate], policy: &Policy) -> Vec<u8> {
        let gone = choose(candidates, policy, &mut extents(candidates));
        gone.iter().map(|(candidate, _, _)| candidate.key.as_bytes()[0]).collect()
    }

    #[test]
    fn roots_and_the_young_stay() {
        let all = [candidate(1, 10, 1, 100), candidate(2, 10, 1, 100), candidate(3, 10, 1, 1)];
        let roots = BTreeSet::from([all[0].key]);
        let mut policy = Policy { roots, ..Policy::default() };
        assert_eq!(gone(&all, &policy), [2, 3]);
        policy.older_than = Some(Duration::from_secs(24 * 3600));
        assert_eq!(gone(&all, &policy), [2]);
    }

    #[test]
    fn a_budget_takes_the_cheapest_bytes_first_and_no_more_than_it_must() {
        // 1 is large and quick to make, 2 the same but used lately, 3 is large and took a day, 4 is small.
        let (big, day) = (1 << 30, 24 * 3_600_000);
        let all = [
            candidate(1, big, 1000, 500),
            candidate(2, big, 1000, 1),
            candidate(3, big, day, 500),
            candidate(4, 1000, 1000, 500),
        ];
        let policy = |max_bytes| Policy { max_bytes: Some(max_bytes), ..Policy::default() };
        assert!(gone(&all, &policy(4 * big)).is_empty());
        assert_eq!(gone(&all, &policy(3 * big)), [1]);
        assert_eq!(gone(&all, &policy(big + 1000)), [1, 2]);
        assert_eq!(gone(&all, &policy(2000)), [1, 2, 3]);
        assert_eq!(gone(&all, &policy(0)), [1, 2, 3, 4]);
    }

    #[test]
    fn files_of_temporary_roots_go_only_when_asked() {
        let all = [Candidate { temp: true, ..candidate(1, 10, 1, 0) }, candidate(2, 10, 1, 0)];
        let roots = all.iter().map(|candidate| candidate.key).collect();
        let mut policy = Policy { roots, ..Policy::default() };
        assert!(gone(&all, &policy).is_empty());
        policy.temporary = Temporary::Drop;
        let freed = choose(&all, &policy, &mut extents(&all));
        assert_eq!((freed.len(), freed[0].1, freed[0].2), (1, Reason::Temporary, 10));
    }

    #[test]
    fn shared_files_are_freed_by_the_last_to_go() {
        let mut all = [candidate(1, 10, 1, 9), candidate(2, 10, 1, 9), candidate(3, 5, 1, 9)];
        all[1].digest = all[0].digest;
        let mut extents = extents(&all);
        // 3 has a file of its own and one that it shares with 1.
        extents.add(all[2].digest, (0, 1), 10);
        let freed: Vec<u64> = choose(&all, &Policy::default(), &mut extents).iter().map(|(_, _, freed)| *freed).collect();
        assert_eq!((freed, extents.total()), (vec![0, 0, 15], 0));
    }

    proptest! {
        #[test]
        fn what_goes_is_no_root_and_a_budget_is_met_if_it_can_be(
            parts in prop::collection::vec((0..6_u8, 0..1000_u64, 0..1000_u64, 0..100_u64, any::<bool>()), 0..12),
            budget in 0..5000_u64,
        ) {
            let candidates: Vec<Candidate> = parts.iter().enumerate().map(|(at, (digest, bytes, took, unused, _))| Candidate {
                key: Key::from_bytes([at as u8; 32]),
                // One digest has one size.
                bytes: parts.iter().find(|part| part.0 == *digest).map_or(*bytes, |part| part.1),
                ..candidate(*digest, *bytes, *took, *unused)
            }).collect();
            let roots: BTreeSet<Key> = candidates.iter().zip(&parts).filter(|(_, part)| part.4).map(|(candidate, _)| candidate.key).collect();
            let policy = Policy { roots: roots.clone(), max_bytes: Some(budget), ..Policy::default() };
            let mut extents = extents(&candidates);
            let before = extents.total();
            let gone = choose(&candidates, &policy, &mut extents);
            prop_assert!(gone.iter().all(|(candidate, _, _)| !roots.contains(&candidate.key)));
            prop_assert_eq!(before - extents.total(), gone.iter().map(|(_, _, freed)| *freed).sum::<u64>());
            prop_assert!(extents.total() <= budget || gone.len() + roots.len() == candidates.len());
        }
    }
}
