//! [`verify`]: every byte of the store against its digest, and the repair of what is broken. It does not recompute anything.

use std::collections::{BTreeMap, BTreeSet};

use plan::artifact::content_digest;
use plan::{Digest, FileEntry, Key, Manifest};
use rayon::prelude::*;

use crate::hashing::hash_path;
use crate::store::{parse_manifest, parse_preimage, read_if_there};
use crate::tree;
use crate::{Damage, Problem, Result, Store};

/// Follows a verification; called from several threads.
pub trait Observer: Sync {
    /// Files with this many bytes have been read, out of `total` in the store.
    fn on_bytes(&self, bytes: u64, total: u64) {
        let _ = (bytes, total);
    }

    /// Whether to end early.
    fn should_stop(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of manifests looked at.
    pub keys: u64,
    /// Number of objects hashed.
    pub objects: u64,
    /// Number of bytes hashed.
    pub bytes: u64,
    /// What is broken; records first, then objects in the order of their digests.
    pub damage: Vec<Damage>,
    /// Number of objects not looked at, because the observer ended it.
    pub skipped: u64,
}

/// What a repair took out of use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Keys that are now misses.
    pub keys: BTreeSet<Key>,
    /// Objects set aside.
    pub objects: BTreeSet<Digest>,
    /// Keys that lost an unreadable preimage, but nothing else.
    pub preimages: BTreeSet<Key>,
}

/// Reads every file of the store and compares it with its digest.
///
/// # Errors
/// When the operating system refuses.
pub fn verify(store: &Store, observer: &dyn Observer) -> Result<Report> {
    let _lease = store.lease()?;
    let mut report = Report::default();
    let manifests = read_manifests(store, &mut report)?;
    let mut recorded: BTreeMap<Digest, &Manifest> = BTreeMap::new();
    for manifest in &manifests {
        recorded.entry(manifest.digest).or_insert(manifest);
    }
    let objects = store.objects()?;
    for manifest in manifests.iter().filter(|manifest| objects.binary_search(&manifest.digest).is_err()) {
        report.damage.push(Damage {
            key: Some(manifest.key),
            digest: Some(manifest.digest),
            path: store.artifact(&manifest.digest),
            problem: Problem::NoObject,
        });
    }
    let total = objects.iter().map(|digest| tree::size_on_disk(&store.artifact(digest))).sum();
    let checked: Vec<Option<(u64, Vec<Problem>)>> = objects
        .par_iter()
        .map(|digest| {
            if observer.should_stop() {
                return Ok(None);
            }
            let files = recorded.get(digest).map(|manifest| manifest.files.as_slice());
            check_bytes(store, digest, files, &|bytes| observer.on_bytes(bytes, total)).map(Some)
        })
        .collect::<Result<_>>()?;
    for (digest, checked) in objects.iter().zip(checked) {
        let Some((bytes, problems)) = checked else {
            report.skipped += 1;
            continue;
        };
        report.objects += 1;
        report.bytes += bytes;
        let key = recorded.get(digest).map(|manifest| manifest.key);
        let path = store.artifact(digest);
        report.damage.extend(problems.into_iter().map(|problem| Damage {
            key,
            digest: Some(*digest),
            path: path.clone(),
            problem,
        }));
    }
    Ok(report)
}

impl Report {
    /// Whether everything was looked at and is as it was committed.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.skipped == 0
    }

    /// Takes what is damaged out of use, so that it is made anew when next asked for; nothing is deleted until `gc`.
    ///
    /// # Errors
    /// When somebody works with the store; when the operating system refuses.
    pub fn repair(&self, store: &Store) -> Result<Repaired> {
        let _alone = store.exclusive()?;
        let mut repaired = Repaired::default();
        for damage in &self.damage {
            match (&damage.problem, damage.key, damage.digest) {
                (Problem::Preimage { .. }, Some(key), _) => {
                    repaired.preimages.insert(key);
                }
                (Problem::Unreadable { .. } | Problem::Contradiction | Problem::NoObject, Some(key), _) => {
                    repaired.keys.insert(key);
                }
                (_, _, Some(digest)) => {
                    repaired.objects.insert(digest);
                }
                _ => {}
            }
        }
        for manifest in store.manifests()?.filter_map(Result::ok) {
            if repaired.objects.contains(&manifest.digest) {
                repaired.keys.insert(manifest.key);
            }
        }
        let (layout, disk) = (store.layout(), store.disk());
        let records = repaired.keys.iter().map(|key| layout.manifest(key));
        for path in records.chain(repaired.preimages.iter().map(|key| layout.preimage(key))) {
            if path.exists() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                disk.rename(&path, &layout.fresh_aside(&name))?;
            }
        }
        for digest in &repaired.objects {
            if layout.object(digest).exists() {
                store.set_object_aside(digest)?;
            }
        }
        Ok(repaired)
    }
}

fn read_manifests(store: &Store, report: &mut Report) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for key in store.keys()? {
        let path = store.layout().manifest(&key);
        let Some(text) = read_if_there(&path)? else { continue };
        report.keys += 1;
        match parse_manifest(&key, &text) {
            Ok(manifest) => manifests.push(manifest),
            Err(problem) => report.damage.push(Damage { key: Some(key), digest: None, path, problem }),
        }
        let path = store.layout().preimage(&key);
        if let Some(text) = read_if_there(&path)?
            && let Err(reason) = parse_preimage(&key, &text)
        {
            let problem = Problem::Preimage { reason: format!("cannot be read: {reason}") };
            report.damage.push(Damage { key: Some(key), digest: None, path, problem });
        }
    }
    Ok(manifests)
}

/// Hashes an object and compares it with the files recorded or, where no manifest names it, with its own name.
fn check_bytes(
    store: &Store,
    digest: &Digest,
    recorded: Option<&[FileEntry]>,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<(u64, Vec<Problem>)> {
    let tree = match store.read_object(digest)? {
        Ok(tree) => tree,
        Err(problem) => return Ok((0, vec![problem])),
    };
    let folder = store.artifact(digest);
    let hashed: Vec<std::result::Result<FileEntry, Problem>> = tree
        .files
        .par_iter()
        .map(|file| {
            // What cannot be read is as bad as what reads wrong, and no reason to stop looking.
            let hash = hash_path(&folder.join(&file.path)).map_err(|error| Problem::Odd { reason: error.to_string() })?;
            on_bytes(hash.bytes);
            Ok(FileEntry { path: file.path.clone(), bytes: hash.bytes, digest: hash.digest })
        })
        .collect();
    let mut problems = Vec::new();
    let mut found = BTreeMap::new();
    for hash in hashed {
        match hash {
            Ok(file) => drop(found.insert(file.path.clone(), file)),
            Err(problem) => problems.push(problem),
        }
    }
    let Some(recorded) = recorded else {
        let files: Vec<FileEntry> = found.into_values().collect();
        if problems.is_empty() && content_digest(&files) != *digest {
            problems.push(Problem::WrongDigest);
        }
        return Ok((tree.bytes(), problems));
    };
    problems.extend(tree::compare(&tree.files, recorded));
    for wanted in recorded {
        let there = found.get(&wanted.path).filter(|there| there.bytes == wanted.bytes);
        if there.is_some_and(|there| there.digest != wanted.digest) {
            problems.push(Problem::Changed { file: wanted.path.clone() });
        }
    }
    Ok((tree.bytes(), problems))
}

#[cfg(test)]
mod tests;
