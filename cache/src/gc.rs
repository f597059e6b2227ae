//! [`GcPlan`]: what nobody needs any more, then its removal. Which keys are needed is for the caller to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use fs_err as fs;
use plan::{Digest, Key, Manifest};

use crate::store::{Name, read_if_there};
use crate::tree::size_on_disk;
use crate::{Result, Store};

mod policy;

pub(crate) use policy::Extents;
pub use policy::{Candidate, Policy, Reason, Temporary};

/// What would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// Keys that would become misses, sorted.
    pub keys: Vec<Key>,
    /// The same with what there is to say about each, the reason it goes and the bytes that its going frees; temporary artifacts
    /// that keep their record too.
    pub artifacts: Vec<(Candidate, Reason, u64)>,
    /// Objects that no remaining key names, with their size in bytes.
    pub objects: Vec<(Digest, u64)>,
    /// Interrupted work, with its size in bytes.
    pub slots: Vec<(Key, u64)>,
    /// Size in bytes of damaged things set aside and of leftovers of killed processes.
    pub leftover_bytes: u64,
    /// Size in bytes of all artifacts now, files that several share counted once.
    pub total_bytes: u64,
    roots: BTreeSet<Key>,
}

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Number of keys, temporary artifacts included.
    pub keys: u64,
    /// Number of objects.
    pub objects: u64,
    /// Number of slots.
    pub slots: u64,
    /// Bytes, without the small records.
    pub bytes: u64,
}

impl GcPlan {
    /// Plans to keep the artifacts and the interrupted work of `roots`, what is being worked on, and what was asked under every
    /// remembered name; the rest goes.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn compute(store: &Store, roots: &BTreeSet<Key>) -> Result<Self> {
        Self::choose(store, Policy { roots: roots.clone(), ..Policy::default() })
    }

    /// Plans by a policy. What is being worked on, and what was asked under every remembered name, stays.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn choose(store: &Store, policy: Policy) -> Result<Self> {
        let committed = store.keys()?;
        let objects = store.objects()?;
        let mut extents = Extents::default();
        for digest in &objects {
            measure(store, digest, &mut extents);
        }
        let total_bytes = extents.total();
        let manifests: Vec<Manifest> = committed.iter().filter_map(|key| store.manifest(key).ok().flatten()).collect();
        let now = SystemTime::now();
        let candidates: Vec<Candidate> = manifests.iter().map(|manifest| candidate(store, manifest, now)).collect();
        let artifacts = policy::choose(&candidates, &policy, &mut extents);
        let gone: BTreeSet<Key> = artifacts.iter().map(|(candidate, _, _)| candidate.key).collect();
        // What cannot be read is of no use to anybody.
        let readable: BTreeSet<Key> = manifests.iter().map(|manifest| manifest.key).collect();
        let lost = committed.iter().filter(|key| !readable.contains(key) && !policy.roots.contains(key)).copied();
        let mut keys: Vec<Key> =
            artifacts.iter().filter(|(_, reason, _)| *reason != Reason::Temporary).map(|(c, _, _)| c.key).collect();
        keys.extend(lost);
        keys.sort_unstable();
        let kept: BTreeSet<Digest> = candidates.iter().filter(|c| !gone.contains(&c.key)).map(|c| c.digest).collect();
        let mut freed: BTreeMap<Digest, u64> = BTreeMap::new();
        artifacts.iter().for_each(|(candidate, _, bytes)| *freed.entry(candidate.digest).or_default() += bytes);
        // Those that no key named before are freed here; the others were freed by their last key.
        let objects: Vec<(Digest, u64)> = objects
            .into_iter()
            .filter(|digest| !kept.contains(digest))
            .map(|digest| (digest, freed.get(&digest).unwrap_or(&0) + extents.remove(&digest)))
            .collect();
        let slots = store
            .slots()?
            .into_iter()
            .filter(|slot| slot.owner.is_none())
            .filter(|slot| !policy.roots.contains(&slot.key) || committed.binary_search(&slot.key).is_ok())
            .map(|slot| (slot.key, slot.bytes))
            .collect();
        let leftover_bytes = ["aside", "tmp"].map(|bucket| size_on_disk(&store.layout().bucket(bucket))).iter().sum();
        Ok(Self { keys, artifacts, objects, slots, leftover_bytes, total_bytes, roots: policy.roots })
    }

    /// Bytes that would be freed, without the small records.
    pub fn bytes(&self) -> u64 {
        let sum = |parts: &mut dyn Iterator<Item = u64>| parts.sum::<u64>();
        sum(&mut self.objects.iter().map(|(_, bytes)| *bytes))
            + sum(&mut self.slots.iter().map(|(_, bytes)| *bytes))
            + self.leftover_bytes
    }

    /// Whether nothing would go.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.artifacts.is_empty()
            && self.objects.is_empty()
            && self.slots.is_empty()
            && self.leftover_bytes == 0
    }

    /// Removes what was planned and is still not needed. Records go before what they name, so that a process that dies here
    /// leaves nothing that looks whole and is not.
    ///
    /// # Errors
    /// When somebody works with the store; when the operating system refuses.
    pub fn apply(&self, store: &Store) -> Result<Freed> {
        let _alone = store.exclusive()?;
        let (layout, disk) = (store.layout(), store.disk());
        let mut freed = Freed { bytes: self.leftover_bytes, ..Freed::default() };
        for key in &self.keys {
            disk.remove_file(&layout.manifest(key))?;
            freed.keys += 1;
        }
        for (candidate, _, _) in self.artifacts.iter().filter(|(_, reason, _)| *reason == Reason::Temporary) {
            freed.keys += u64::from(store.retire(&candidate.key)?);
        }
        // Something may have been committed since the plan was made.
        let kept = digests(store)?;
        for (digest, bytes) in self.objects.iter().filter(|(digest, _)| !kept.contains(digest)) {
            if store.remove_object(digest)? {
                freed.objects += 1;
                freed.bytes += bytes;
            }
        }
        for (key, bytes) in &self.slots {
            if layout.slot(key).exists() {
                store.remove(&layout.slot(key))?;
                freed.slots += 1;
                freed.bytes += bytes;
            }
        }
        self.remove_records(store)?;
        for bucket in ["aside", "tmp"] {
            for entry in fs::read_dir(layout.bucket(bucket))? {
                disk.remove_tree(&entry?.path())?;
            }
        }
        Ok(freed)
    }

    /// Removes what was asked and what was dropped, where neither an artifact nor a root nor a name is left.
    fn remove_records(&self, store: &Store) -> Result<()> {
        let (layout, disk) = (store.layout(), store.disk());
        let committed: BTreeSet<Key> = store.keys()?.into_iter().collect();
        for key in store.dropped_keys()? {
            if committed.contains(&key) || !self.roots.contains(&key) {
                disk.remove_file(&layout.dropped(&key))?;
            }
        }
        let mut needed = committed;
        needed.extend(&self.roots);
        for entry in fs::read_dir(layout.bucket("names"))? {
            let text = read_if_there(&entry?.path())?.unwrap_or_default();
            needed.extend(serde_json::from_slice::<Name>(&text).map(|name| name.key));
        }
        for key in store.preimage_keys()?.iter().filter(|key| !needed.contains(key)) {
            disk.remove_file(&layout.preimage(key))?;
        }
        Ok(())
    }
}

fn candidate(store: &Store, manifest: &Manifest, now: SystemTime) -> Candidate {
    // A clock that was set back makes everything look used just now, which keeps it.
    let used = fs::metadata(store.layout().manifest(&manifest.key)).and_then(|metadata| metadata.modified()).unwrap_or(now);
    let made = &manifest.provenance;
    Candidate {
        key: manifest.key,
        digest: manifest.digest,
        step: made.step.clone(),
        kind: manifest.kind.clone(),
        run: made.run.clone(),
        took_ms: (made.seconds.max(0.0) * 1e3) as u64,
        unused: now.duration_since(used).unwrap_or_default(),
        bytes: manifest.bytes(),
        temp: made.temp,
    }
}

/// Notes the files of an object; what cannot be read has no size.
pub(crate) fn measure(store: &Store, digest: &Digest, extents: &mut Extents) {
    store.files(digest).into_iter().for_each(|(file, bytes)| extents.add(*digest, file, bytes));
}

/// Digests of the readable manifests.
pub(crate) fn digests(store: &Store) -> Result<BTreeSet<Digest>> {
    let manifests = store.keys()?.into_iter().filter_map(|key| store.manifest(&key).ok().flatten());
    Ok(manifests.map(|manifest| manifest.digest).collect())
}

#[cfg(test)]
mod tests;
