//! [`Store::drop_temp`]: the files of temporary artifacts go, their records stay, so that what was made from them is still
//! explained. It does not judge whether they are needed.

use std::collections::BTreeSet;

use plan::{Digest, Key};

use crate::{Result, Store};

impl Store {
    /// Removes the files of these artifacts if their records say that they are temporary and no other record names the same bytes.
    /// Gives the bytes freed.
    ///
    /// # Errors
    /// When somebody works with the store; when the operating system refuses.
    pub fn drop_temp(&self, keys: &[Key]) -> Result<u64> {
        let temporary: Vec<_> = keys
            .iter()
            .filter_map(|key| self.manifest(key).ok().flatten())
            .filter(|manifest| manifest.provenance.temp && self.artifact(&manifest.digest).exists())
            .collect();
        if temporary.is_empty() {
            return Ok(0);
        }
        let _alone = self.exclusive()?;
        let asked: BTreeSet<Key> = temporary.iter().map(|manifest| manifest.key).collect();
        let mut kept: BTreeSet<Digest> = BTreeSet::new();
        for manifest in self.manifests()?.flatten().filter(|manifest| !asked.contains(&manifest.key)) {
            kept.insert(manifest.digest);
        }
        let mut freed = 0;
        let mut gone = BTreeSet::new();
        for manifest in temporary.iter().filter(|manifest| !kept.contains(&manifest.digest)) {
            if gone.insert(manifest.digest) {
                let object = self.artifact(&manifest.digest);
                // A folder must be writable to be moved.
                self.disk().set_mode(&object, 0o755)?;
                self.remove(&object)?;
                freed += manifest.bytes();
            }
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests {
    use plan::Provenance;

    use crate::fixtures::{make, preimage, slot, store, write};

    #[test]
    fn only_temporary_files_that_nobody_else_names_go() {
        let (_folder, store) = store();
        for (number, text) in [(1, "mine"), (2, "shared")] {
            let slot = slot(&store, number);
            write(&slot.out(), &[("a", text)]);
            let provenance = Provenance { temp: true, ..Provenance::default() };
            slot.commit("test", Vec::new(), Default::default(), provenance).unwrap();
        }
        let other = make(&store, 3, &[("a", "shared")]);
        make(&store, 4, &[("a", "kept")]);
        let keys = [1, 2, 4].map(|number| preimage(number).key());
        assert_eq!(store.drop_temp(&keys).unwrap(), 4);
        assert!(other.path.join("a").exists());
        assert!(store.lookup(&preimage(4).key()).unwrap().is_some());
        assert!(store.manifest(&preimage(1).key()).unwrap().unwrap().provenance.temp);
        assert_eq!(store.drop_temp(&keys).unwrap(), 0);
    }
}
