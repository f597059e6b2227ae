//! [`DedupPlan`]: files of several artifacts that are the same to the byte, then one file with several names in their place. It
//! changes no byte that can be read, and links only to what it has just read and found whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use plan::Digest;

use crate::hashing::hash_path;
use crate::{Damage, Problem, Result, Store, StoreError};

/// Smaller files are not worth a link, in bytes: a file system gives each at least as much.
const LEAST_BYTES: u64 = 4096;

/// What would be linked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DedupPlan {
    /// Number of files that would become names of another.
    pub files: u64,
    /// Bytes that would be freed.
    pub bytes: u64,
    twins: Vec<Twins>,
}

/// What was linked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deduped {
    /// Number of files that are now names of another.
    pub files: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// Files that are not what was committed; nothing was linked to them.
    pub damage: Vec<Damage>,
}

/// Files that should have the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Twins {
    digest: Digest,
    bytes: u64,
    /// Artifact and path of each.
    files: Vec<(Digest, PathBuf)>,
}

impl DedupPlan {
    /// Looks at names, sizes and recorded digests; reads no artifact.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn compute(store: &Store) -> Result<Self> {
        let mut seen = BTreeSet::new();
        let mut by_digest: BTreeMap<Digest, Twins> = BTreeMap::new();
        for manifest in store.manifests()?.filter_map(Result::ok) {
            if !seen.insert(manifest.digest) {
                continue;
            }
            let folder = store.artifact(&manifest.digest);
            for file in manifest.files.iter().filter(|file| file.bytes >= LEAST_BYTES) {
                let twins = Twins { digest: file.digest, bytes: file.bytes, files: Vec::new() };
                by_digest.entry(file.digest).or_insert(twins).files.push((manifest.digest, folder.join(&file.path)));
            }
        }
        let mut plan = Self::default();
        for twins in by_digest.into_values().filter(|twins| twins.files.len() > 1) {
            let files: BTreeSet<(u64, u64)> = twins.files.iter().filter_map(|(_, path)| identity(path).ok()).collect();
            if files.len() > 1 {
                plan.files += files.len() as u64 - 1;
                plan.bytes += (files.len() as u64 - 1) * twins.bytes;
                plan.twins.push(twins);
            }
        }
        Ok(plan)
    }

    /// Makes one file of each set. Readers are not disturbed; artifacts stay read-only.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn apply(&self, store: &Store) -> Result<Deduped> {
        let _lease = store.hold()?;
        let mut done = Deduped::default();
        for twins in &self.twins {
            link_all(store, twins, &mut done)?;
        }
        Ok(done)
    }
}

fn link_all(store: &Store, twins: &Twins, done: &mut Deduped) -> Result<()> {
    let mut source: Option<&Path> = None;
    for (artifact, path) in &twins.files {
        if let Some(from) = source {
            match link(store, from, path, twins.bytes) {
                Ok(Linked::Now) => {
                    done.files += 1;
                    done.bytes += twins.bytes;
                    continue;
                }
                Ok(Linked::Before) => continue,
                // A file can have so many names only; or gc took one of them away.
                Ok(Linked::No) => {}
                Err(error) => return Err(error),
            }
        }
        match hash_path(path) {
            Ok(found) if found.digest == twins.digest => source = Some(path),
            Ok(_) => {
                let file = path.strip_prefix(store.artifact(artifact)).unwrap_or(path).display().to_string();
                let problem = Problem::Changed { file };
                done.damage.push(Damage { key: None, digest: Some(*artifact), path: path.clone(), problem });
            }
            Err(StoreError::Io(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

enum Linked {
    Now,
    Before,
    No,
}

/// Puts another name of `from` in the place of `to`.
fn link(store: &Store, from: &Path, to: &Path, bytes: u64) -> Result<Linked> {
    let (Ok(ours), Ok(theirs)) = (identity(from), identity(to)) else { return Ok(Linked::No) };
    if ours == theirs {
        return Ok(Linked::Before);
    }
    // Damage that lookups see is left for them to set aside.
    if fs::metadata(to)?.len() != bytes {
        return Ok(Linked::No);
    }
    let (disk, draft) = (store.disk(), store.layout().fresh_tmp());
    if let Err(error) = disk.link(from, &draft) {
        return if error.raw_os_error() == Some(libc::EMLINK) || error.kind() == ErrorKind::TooManyLinks {
            Ok(Linked::No)
        } else {
            Err(error.into())
        };
    }
    let Some(folder) = to.parent() else { return Ok(Linked::No) };
    disk.set_mode(folder, 0o755)?;
    let renamed = disk.rename(&draft, to);
    disk.set_mode(folder, 0o555)?;
    renamed?;
    disk.sync(&[folder.to_path_buf()])?;
    Ok(Linked::Now)
}

/// Device and inode.
fn identity(path: &Path) -> Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{make, preimage, spoil, store};
    use crate::{GcPlan, verify};

    #[test]
    fn equal_files_become_one_and_everything_else_stays_right() {
        let (_folder, store) = store();
        let (big, small) = ("x".repeat(10_000), "small");
        let made: Vec<_> = [
            vec![("a", big.as_str()), ("s", small)],
            vec![("b/c", big.as_str()), ("s", small), ("d", "other")],
            vec![("a", big.as_str()), ("b", big.as_str())],
        ]
        .into_iter()
        .enumerate()
        .map(|(at, files)| make(&store, at as i64, &files))
        .collect();
        let plan = DedupPlan::compute(&store).unwrap();
        assert_eq!((plan.files, plan.bytes), (3, 30_000));
        let done = plan.apply(&store).unwrap();
        assert_eq!(done, Deduped { files: 3, bytes: 30_000, damage: Vec::new() });
        assert_eq!(plan.apply(&store).unwrap().files, 0);
        assert!(DedupPlan::compute(&store).unwrap().twins.is_empty());
        let inode = |at: usize, path: &str| identity(&made[at].path.join(path)).unwrap();
        assert!(inode(0, "a") == inode(1, "b/c") && inode(1, "b/c") == inode(2, "b") && inode(0, "s") != inode(1, "s"));
        for artifact in &made {
            assert_eq!(store.lookup(&artifact.manifest.key).unwrap().as_ref(), Some(artifact));
        }
        let modes = ["", "b", "b/c"].map(|path| fs::metadata(made[1].path.join(path)).unwrap().mode() & 0o777);
        assert_eq!(modes, [0o555, 0o555, 0o444]);
        assert!(verify(&store, &()).unwrap().is_clean());
        assert_eq!(store.usage().unwrap().leftover_bytes, 0);
        // What goes alone frees only what is its own.
        let plan = GcPlan::compute(&store, &[preimage(0).key(), preimage(2).key()].into()).unwrap();
        assert_eq!((plan.bytes(), plan.total_bytes), (10, 10_015));
        plan.apply(&store).unwrap();
        assert!(verify(&store, &()).unwrap().is_clean());
    }

    #[test]
    fn nothing_is_linked_to_a_damaged_file() {
        let (_folder, store) = store();
        let big = "x".repeat(10_000);
        let made: Vec<_> = (0..3).map(|at| make(&store, at, &[("a", &big), ("n", &at.to_string())])).collect();
        let plan = DedupPlan::compute(&store).unwrap();
        let spoilt = &plan.twins[0].files[0];
        spoil(&spoilt.1, &"y".repeat(10_000));
        let done = plan.apply(&store).unwrap();
        assert_eq!((done.files, done.damage.len(), done.damage[0].digest), (1, 1, Some(spoilt.0)));
        let whole = made.iter().filter(|artifact| fs::read_to_string(artifact.path.join("a")).unwrap() == big).count();
        assert_eq!(whole, 2);
    }
}
