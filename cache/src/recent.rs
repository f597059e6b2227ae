//! [`Recent`]: the manifests that the last run of a recipe used, in one file, with the stat of each of their files. A run that has
//! nothing to do reads this file and asks for one stat a file, instead of reading a manifest and a folder for each step. An
//! entry counts only while size, times and inode of every file are as they were; everything else goes the long way
//! through [`Store::lookup`]. It is a memory, not a record: it may be removed at any time.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plan::{Key, Manifest};
use serde::{Deserialize, Serialize};

use crate::store::{read_if_there, unless_read_only};
use crate::{Result, Store};

/// First bytes of the file; another layout has others.
const MAGIC: &[u8; 16] = b"workbench rec 1\n";

/// What a file of an artifact looked like: size, modification and change time in nanoseconds, inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stat(u64, i64, i64, u64);

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    manifest: Manifest,
    stats: Vec<Stat>,
    #[serde(skip)]
    used: bool,
}

/// The manifests of one recipe's last run.
#[derive(Debug)]
pub struct Recent {
    store: Store,
    path: PathBuf,
    entries: HashMap<Key, Entry>,
    changed: bool,
}

impl Store {
    /// What the last run of a recipe used; empty when that cannot be read.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn recent(&self, recipe: &str) -> Result<Recent> {
        let path = self.layout().recent(recipe);
        let entries = read_if_there(&path)?.and_then(|bytes| decode(&bytes)).unwrap_or_default();
        let entries = entries.into_iter().map(|entry| (entry.manifest.key, entry)).collect();
        Ok(Recent { store: self.clone(), path, entries, changed: false })
    }
}

impl Recent {
    /// The manifest of a key whose files are as they were when they were last looked at.
    pub fn lookup(&mut self, key: &Key) -> Option<Manifest> {
        let entry = self.entries.get_mut(key)?;
        let folder = self.store.layout().object(&entry.manifest.digest);
        let mut files = entry.manifest.files.iter().zip(&entry.stats);
        if !files.all(|(file, stat)| stat_of(&folder.join(&file.path)) == Some(*stat)) {
            self.entries.remove(key);
            self.changed = true;
            return None;
        }
        entry.used = true;
        Some(entry.manifest.clone())
    }

    /// Remembers an artifact that was found or committed just now.
    pub fn note(&mut self, manifest: &Manifest) {
        let folder = self.store.layout().object(&manifest.digest);
        let stats: Option<Vec<Stat>> = manifest.files.iter().map(|file| stat_of(&folder.join(&file.path))).collect();
        if let Some(stats) = stats {
            self.entries.insert(manifest.key, Entry { manifest: manifest.clone(), stats, used: true });
            self.changed = true;
        }
    }

    /// Writes down what was used, if that is not what the file holds already.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn save(mut self) -> Result<()> {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.used);
        if !self.changed && self.entries.len() == before {
            return Ok(());
        }
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_unstable_by_key(|entry| entry.manifest.key);
        let body = postcard::to_stdvec(&entries).map_err(std::io::Error::other)?;
        let mut bytes = Vec::with_capacity(body.len() + 48);
        bytes.extend(MAGIC);
        bytes.extend(blake3::hash(&body).as_bytes());
        bytes.extend(body);
        unless_read_only(self.store.put(&self.path, &bytes))
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (digest, body) = bytes.strip_prefix(MAGIC)?.split_at_checked(32)?;
    if blake3::hash(body).as_bytes() != digest {
        return None;
    }
    postcard::from_bytes(body).ok()
}

fn stat_of(path: &Path) -> Option<Stat> {
    let metadata = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let (modified, changed) = (ns(metadata.mtime(), metadata.mtime_nsec()), ns(metadata.ctime(), metadata.ctime_nsec()));
    Some(Stat(metadata.len(), modified, changed, metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::fixtures::{make, preimage, store};

    #[test]
    fn an_artifact_is_recent_until_one_of_its_files_changes() {
        let (_folder, store) = store();
        let made = make(&store, 1, &[("a", "x"), ("b/c", "y")]);
        let mut recent = store.recent("r").unwrap();
        assert!(recent.lookup(&preimage(1).key()).is_none());
        recent.note(&made.manifest);
        recent.save().unwrap();
        let mut recent = store.recent("r").unwrap();
        assert_eq!(recent.lookup(&preimage(1).key()), Some(made.manifest.clone()));
        recent.save().unwrap();
        let file = made.path.join("b/c");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, "z").unwrap();
        let mut recent = store.recent("r").unwrap();
        assert!(recent.lookup(&preimage(1).key()).is_none());
    }

    #[test]
    fn what_a_run_did_not_use_is_forgotten_and_a_torn_file_is_no_file() {
        let (_folder, store) = store();
        let mut recent = store.recent("r").unwrap();
        for number in 1..=2 {
            recent.note(&make(&store, number, &[("a", &number.to_string())]).manifest);
        }
        recent.save().unwrap();
        let mut recent = store.recent("r").unwrap();
        assert!(recent.lookup(&preimage(2).key()).is_some());
        let path = recent.path.clone();
        recent.save().unwrap();
        assert!(store.recent("r").unwrap().lookup(&preimage(1).key()).is_none());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(store.recent("r").unwrap().lookup(&preimage(2).key()).is_none());
    }
}
