//! [`DiskUse`]: how much of the store belongs to what. Files that several artifacts share are counted once. It does not know what the
//! groups are.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;

use fs_err as fs;
use plan::{Digest, Key};

use crate::{Result, Store};

/// What one group of artifacts occupies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Name of the group.
    pub name: String,
    /// Number of keys.
    pub artifacts: u64,
    /// Size in bytes of its files, each counted once.
    pub bytes: u64,
    /// Of these, the bytes that no other group uses: what would be freed without it.
    pub own: u64,
}

/// What all groups occupy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// The groups, largest first.
    pub shares: Vec<Share>,
    /// Size in bytes of all files of all groups, each counted once.
    pub bytes: u64,
    /// Of these, the bytes that more than one group uses.
    pub shared: u64,
}

impl Store {
    /// What groups of artifacts occupy. Keys without an artifact do not count.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn disk_use(&self, groups: &BTreeMap<String, BTreeSet<Key>>) -> Result<DiskUse> {
        let mut digests: BTreeMap<Key, Digest> = BTreeMap::new();
        for key in groups.values().flatten().collect::<BTreeSet<_>>() {
            digests.extend(self.manifest(key).ok().flatten().map(|manifest| (*key, manifest.digest)));
        }
        let distinct: BTreeSet<Digest> = digests.values().copied().collect();
        let files: BTreeMap<Digest, BTreeMap<(u64, u64), u64>> =
            distinct.iter().map(|digest| (*digest, self.files(digest))).collect();
        let mut shares = Vec::new();
        // Of each file its size and the number of groups that use it.
        let mut used: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
        let mut of_groups = Vec::new();
        for (name, keys) in groups {
            let artifacts: Vec<Digest> = keys.iter().filter_map(|key| digests.get(key)).copied().collect();
            let mine: BTreeMap<_, _> =
                artifacts.iter().collect::<BTreeSet<_>>().into_iter().filter_map(|digest| files.get(digest)).flatten().collect();
            for (file, bytes) in &mine {
                used.entry(**file).or_insert((**bytes, 0)).1 += 1;
            }
            shares.push(Share {
                name: name.clone(),
                artifacts: artifacts.len() as u64,
                bytes: mine.values().copied().sum(),
                own: 0,
            });
            of_groups.push(mine.into_keys().copied().collect::<Vec<_>>());
        }
        for (share, files) in shares.iter_mut().zip(of_groups) {
            share.own =
                files.iter().filter_map(|file| used.get(file)).filter(|(_, users)| *users == 1).map(|(bytes, _)| bytes).sum();
        }
        shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        let sum = |least: u64| used.values().filter(|(_, users)| *users >= least).map(|(bytes, _)| bytes).sum();
        Ok(DiskUse { shares, bytes: sum(1), shared: sum(2) })
    }

    /// The files of an object, by device and inode, with their sizes.
    pub(crate) fn files(&self, digest: &Digest) -> BTreeMap<(u64, u64), u64> {
        let (mut files, mut open) = (BTreeMap::new(), vec![self.artifact(digest)]);
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                    Ok(metadata) => drop(files.insert((metadata.dev(), metadata.ino()), metadata.len())),
                    Err(_) => {}
                }
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DedupPlan;
    use crate::fixtures::{make, preimage, store};

    #[test]
    fn shared_bytes_are_counted_once_and_shown() {
        let (_folder, store) = store();
        let big = "x".repeat(5000);
        make(&store, 1, &[("a", &big)]);
        make(&store, 2, &[("a", &big)]);
        make(&store, 3, &[("b", &big), ("c", "12345")]);
        let keys = |numbers: &[i64]| numbers.iter().map(|number| preimage(*number).key()).collect::<BTreeSet<_>>();
        let groups = BTreeMap::from([("one".to_owned(), keys(&[1, 2])), ("two".into(), keys(&[2, 3, 9]))]);
        let share = |name: &str, artifacts, bytes, own| Share { name: name.into(), artifacts, bytes, own };
        let before = store.disk_use(&groups).unwrap();
        assert_eq!(before.shares, [share("two", 2, 10_005, 5005), share("one", 2, 5000, 0)]);
        assert_eq!((before.bytes, before.shared), (10_005, 5000));
        DedupPlan::compute(&store).unwrap().apply(&store).unwrap();
        let after = store.disk_use(&groups).unwrap();
        assert_eq!(after.shares, [share("two", 2, 5005, 5), share("one", 2, 5000, 0)]);
        assert_eq!((after.bytes, after.shared), (5005, 5000));
    }
}
