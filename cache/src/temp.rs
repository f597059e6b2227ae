//! Temporary artifacts: their files go, their records stay, so that it is still known what was asked and what came out. It does not
//! decide which are temporary.

use std::path::PathBuf;

use fs_err as fs;
use plan::{Digest, Key, Manifest};

use crate::gc::{Extents, digests, measure};
use crate::store::{parse_manifest, read_if_there};
use crate::{Freed, Result, Store, StoreError};

impl Store {
    /// Drops the files of a temporary artifact and keeps its record, which [`Store::dropped`] gives from then on; the key is a miss.
    /// What is not temporary stays; so do files that other keys share.
    ///
    /// # Errors
    /// When somebody works with the store, a lease of this process included; when the operating system refuses.
    pub fn drop_temp(&self, key: &Key) -> Result<Freed> {
        self.drop_temps(std::slice::from_ref(key))
    }

    /// The same for many keys, for little more than the cost of one.
    ///
    /// # Errors
    /// As [`Store::drop_temp`].
    pub fn drop_temps(&self, keys: &[Key]) -> Result<Freed> {
        let mut freed = Freed::default();
        let mut dropped: Vec<Digest> = Vec::new();
        let is_temp = |key: &&Key| self.manifest(key).ok().flatten().is_some_and(|manifest| manifest.provenance.temp);
        let keys: Vec<&Key> = keys.iter().filter(is_temp).collect();
        if keys.is_empty() {
            return Ok(freed);
        }
        let _alone = self.exclusive()?;
        for key in keys {
            if let Some(manifest) = self.manifest(key)?
                && self.retire(key)?
            {
                dropped.push(manifest.digest);
                freed.keys += 1;
            }
        }
        let kept = digests(self)?;
        for digest in dropped.iter().filter(|digest| !kept.contains(digest)) {
            let mut extents = Extents::default();
            measure(self, digest, &mut extents);
            let bytes = extents.total();
            if self.remove_object(digest)? {
                freed.objects += 1;
                freed.bytes += bytes;
            }
        }
        Ok(freed)
    }

    /// The record of a temporary artifact whose files were dropped, unless it was made again.
    ///
    /// # Errors
    /// When the record cannot be understood.
    pub fn dropped(&self, key: &Key) -> Result<Option<Manifest>> {
        if self.layout().manifest(key).exists() {
            return Ok(None);
        }
        let path = self.layout().dropped(key);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let unreadable = |problem: crate::Problem| StoreError::Unreadable { path, reason: problem.to_string() };
        parse_manifest(key, &text).map(Some).map_err(unreadable)
    }

    /// Takes the record of an artifact out of use and keeps it as that of a dropped one; false if there is none.
    pub(crate) fn retire(&self, key: &Key) -> Result<bool> {
        let (from, to) = (self.layout().manifest(key), self.layout().dropped(key));
        if !from.exists() {
            return Ok(false);
        }
        let folder: PathBuf = to.parent().map(Into::into).unwrap_or_default();
        self.disk().create_dir(&folder)?;
        self.disk().rename(&from, &to)?;
        let mut changed = vec![folder];
        changed.extend(from.parent().map(PathBuf::from));
        self.disk().sync(&changed)?;
        Ok(true)
    }

    /// Removes an object, which no record names; false if there is none.
    pub(crate) fn remove_object(&self, digest: &Digest) -> Result<bool> {
        let object = self.layout().object(digest);
        if !fs::symlink_metadata(&object).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(false);
        }
        // A folder must be writable to be moved.
        self.disk().set_mode(&object, 0o755)?;
        self.remove(&object)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use plan::Provenance;

    use super::*;
    use crate::fixtures::{make, preimage, slot, store, write};
    use crate::gc::{GcPlan, Policy, Reason, Temporary};
    use crate::verify;

    fn make_temp(store: &Store, number: i64, text: &str) -> plan::Artifact {
        let slot = slot(store, number);
        write(&slot.out(), &[("x", text)]);
        slot.commit("test", Vec::new(), BTreeMap::new(), Provenance { temp: true, ..Provenance::default() }).unwrap()
    }

    #[test]
    fn files_go_and_the_record_stays_until_it_is_made_again() {
        let (_folder, store) = store();
        let temp = make_temp(&store, 1, "alone");
        make_temp(&store, 2, "shared");
        let lasting = make(&store, 3, &[("x", "shared")]);
        let keys: Vec<Key> = (1..=3).map(|number| preimage(number).key()).collect();
        assert_eq!(store.dropped(&keys[0]).unwrap(), None);
        let lease = store.lease().unwrap();
        assert!(matches!(store.drop_temp(&keys[0]), Err(StoreError::InUse { .. })));
        drop(lease);
        let freed = store.drop_temps(&keys).unwrap();
        assert_eq!(freed, Freed { keys: 2, objects: 1, slots: 0, bytes: 5 });
        assert_eq!(store.lookup(&keys[0]).unwrap(), None);
        assert_eq!(store.dropped(&keys[0]).unwrap(), Some(temp.manifest.clone()));
        assert_eq!(store.preimage(&keys[0]).unwrap(), Some(preimage(1)));
        assert_eq!(store.lookup(&keys[2]).unwrap(), Some(lasting));
        assert!(verify(&store, &()).unwrap().is_clean() && store.take_damage().is_empty());
        let roots = BTreeSet::from([keys[0], keys[2]]);
        GcPlan::compute(&store, &roots).unwrap().apply(&store).unwrap();
        assert!(store.dropped(&keys[0]).unwrap().is_some() && store.dropped(&keys[1]).unwrap().is_none());
        assert_eq!(make_temp(&store, 1, "alone").manifest.digest, temp.manifest.digest);
        assert_eq!(store.dropped(&keys[0]).unwrap(), None);
        GcPlan::compute(&store, &roots).unwrap().apply(&store).unwrap();
        assert!(!store.layout().dropped(&keys[0]).exists());
    }

    #[test]
    fn collection_drops_temporary_files_of_roots_when_asked() {
        let (_folder, store) = store();
        make_temp(&store, 1, "alone");
        let roots = BTreeSet::from([preimage(1).key()]);
        let policy = Policy { roots, temporary: Temporary::Drop, ..Policy::default() };
        let plan = GcPlan::choose(&store, policy).unwrap();
        assert_eq!((plan.keys.len(), plan.artifacts[0].1, plan.bytes()), (0, Reason::Temporary, 5));
        assert_eq!(plan.apply(&store).unwrap(), Freed { keys: 1, objects: 1, slots: 0, bytes: 5 });
        assert!(store.dropped(&preimage(1).key()).unwrap().is_some());
    }
}
