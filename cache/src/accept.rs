//! [`Store::accept`]: an artifact is declared good for another key. It does not judge whether it is.

use plan::{Artifact, Manifest, Preimage, Provenance};

use crate::store::{parse_manifest, to_line};
use crate::{Result, Store, StoreError};

impl Store {
    /// Records that the artifact of `manifest` also answers `preimage`; `provenance` says who said so, and its `accepted_from` which key
    /// it was made for.
    ///
    /// # Errors
    /// When the artifact is not whole; when the operating system refuses.
    pub fn accept(&self, preimage: &Preimage, manifest: &Manifest, provenance: Provenance) -> Result<Artifact> {
        let key = preimage.key();
        let _hold = self.hold()?;
        if let Some(problem) = self.check_object(&manifest.digest, &manifest.files)?.into_iter().next() {
            return Err(StoreError::Unreadable { path: self.artifact(&manifest.digest), reason: problem.to_string() });
        }
        let manifest = Manifest { key, kind: preimage.kind.clone(), provenance, ..manifest.clone() };
        let text = to_line(&manifest)?;
        let (manifest_path, preimage_path) = (self.layout().manifest(&key), self.layout().preimage(&key));
        if let Err(problem) = parse_manifest(&key, &text) {
            return Err(StoreError::Unreadable { path: manifest_path, reason: problem.to_string() });
        }
        for (path, text) in [(preimage_path, to_line(preimage)?), (manifest_path, text)] {
            let shard = path.parent().expect("a path inside the store has a parent").to_path_buf();
            self.disk().create_dir(&shard)?;
            let draft = self.layout().fresh_tmp();
            self.disk().write(&draft, &text)?;
            self.disk().sync(std::slice::from_ref(&draft))?;
            self.disk().rename(&draft, &path)?;
            self.disk().sync(&[shard])?;
        }
        Ok(Artifact { path: self.artifact(&manifest.digest), manifest })
    }
}

#[cfg(test)]
mod tests {
    use plan::Provenance;

    use crate::fixtures::{make, preimage, store};

    #[test]
    fn an_accepted_artifact_is_a_hit_for_the_other_key() {
        let (_folder, store) = store();
        let made = make(&store, 1, &[("a", "x")]);
        let provenance = Provenance { accepted_from: Some(preimage(1).key()), ..made.manifest.provenance.clone() };
        store.accept(&preimage(2), &made.manifest, provenance).unwrap();
        let hit = store.lookup(&preimage(2).key()).unwrap().unwrap();
        assert_eq!((hit.manifest.digest, hit.manifest.provenance.accepted_from), (made.manifest.digest, Some(preimage(1).key())));
        assert_eq!(store.preimage(&preimage(2).key()).unwrap(), Some(preimage(2)));
    }
}
