//! [`GcPlan`]: what nobody needs any more, then its removal. Which keys are needed is for the caller to say.

use std::collections::BTreeSet;

use fs_err as fs;
use plan::{Digest, Key};

use crate::tree::size_on_disk;
use crate::{Result, Store, names};

/// What would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// Keys that would become misses, sorted.
    pub keys: Vec<Key>,
    /// Objects that no remaining key names, with their size in bytes.
    pub objects: Vec<(Digest, u64)>,
    /// Interrupted work, with its size in bytes.
    pub slots: Vec<(Key, u64)>,
    /// Size in bytes of damaged things set aside and of leftovers of killed processes.
    pub leftover_bytes: u64,
    roots: BTreeSet<Key>,
}

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Number of keys.
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
        let committed = store.keys()?;
        let mut plan = Self {
            keys: committed.iter().filter(|key| !roots.contains(key)).copied().collect(),
            roots: roots.clone(),
            ..Self::default()
        };
        let kept = digests(store, |key| roots.contains(key))?;
        plan.objects = store
            .objects()?
            .into_iter()
            .filter(|digest| !kept.contains(digest))
            .map(|digest| (digest, size_on_disk(&store.artifact(&digest))))
            .collect();
        plan.slots = store
            .slots()?
            .into_iter()
            .filter(|slot| slot.owner.is_none())
            .filter(|slot| !roots.contains(&slot.key) || committed.binary_search(&slot.key).is_ok())
            .map(|slot| (slot.key, slot.bytes))
            .collect();
        plan.leftover_bytes = ["aside", "tmp"].map(|bucket| size_on_disk(&store.layout().bucket(bucket))).iter().sum();
        Ok(plan)
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
        self.keys.is_empty() && self.objects.is_empty() && self.slots.is_empty() && self.leftover_bytes == 0
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
        // Something may have been committed since the plan was made.
        let kept = digests(store, |_| true)?;
        for (digest, bytes) in self.objects.iter().filter(|(digest, _)| !kept.contains(digest)) {
            let object = layout.object(digest);
            if object.exists() {
                // A folder must be writable to be moved.
                disk.set_mode(&object, 0o755)?;
                store.remove(&object)?;
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
        self.remove_preimages(store)?;
        for bucket in ["aside", "tmp", "recent"] {
            for entry in fs::read_dir(layout.bucket(bucket))? {
                disk.remove_tree(&entry?.path())?;
            }
        }
        Ok(freed)
    }

    fn remove_preimages(&self, store: &Store) -> Result<()> {
        let mut needed: BTreeSet<Key> = store.keys()?.into_iter().collect();
        needed.extend(&self.roots);
        for entry in fs::read_dir(store.layout().bucket("names"))? {
            needed.extend(names::keys(&entry?.path())?);
        }
        for key in store.preimage_keys()?.iter().filter(|key| !needed.contains(key)) {
            store.disk().remove_file(&store.layout().preimage(key))?;
        }
        Ok(())
    }
}

/// Digests of the readable manifests whose key passes.
fn digests(store: &Store, passes: impl Fn(&Key) -> bool) -> Result<BTreeSet<Digest>> {
    let keys = store.keys()?.into_iter().filter(passes);
    Ok(keys.filter_map(|key| store.manifest(&key).ok().flatten()).map(|manifest| manifest.digest).collect())
}

#[cfg(test)]
mod tests;
