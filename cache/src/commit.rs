//! [`Slot::seal`] and [`Store::commit`]: the files of slots become artifacts. Three barriers (synced files, synced folders, renamed manifest) order
//! what reaches the disk; the rename of the manifest decides. It does not know what the files mean.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use plan::artifact::{FORMAT, content_digest};
use plan::{Artifact, Digest, FileEntry, InputRecord, Manifest, Provenance};
use rayon::prelude::*;

use crate::hashing::hash_path;
use crate::store::{parse_manifest, to_line};
use crate::tree::{Found, Tree};
use crate::{Result, Slot, Store, StoreError};

/// How often an object of the same digest may appear and be found damaged.
const MOST_COLLISIONS: u32 = 3;

/// An artifact that is whole in its slot, read-only and hashed, and has only to be moved into place.
#[derive(Debug)]
#[must_use = "nothing is in the store before `Store::commit`"]
pub struct Sealed {
    slot: Slot,
    manifest: Manifest,
    // Folders that hold files.
    folders: Vec<PathBuf>,
    present: bool,
}

impl Slot {
    /// Makes what lies in [`Slot::out`] the artifact of this key and removes the slot: [`Slot::seal`] and [`Store::commit`] in one.
    ///
    /// # Errors
    /// As these.
    pub fn commit(
        self,
        kind: impl Into<String>,
        inputs: Vec<InputRecord>,
        metrics: BTreeMap<String, f64>,
        provenance: Provenance,
    ) -> Result<Artifact> {
        let store = self.store.clone();
        let sealed = self.seal(kind, inputs, metrics, provenance)?;
        store.commit(vec![sealed]).pop().expect("one for one")
    }

    /// Hashes what lies in [`Slot::out`] and makes it read-only; empty folders are dropped; figures in `metrics` that are not finite
    /// are left out, since JSON cannot hold them. `provenance` is recorded as given.
    ///
    /// # Errors
    /// When nothing was written; when a symbolic link, a special file or an odd file name was; when a file is still being written;
    /// when the operating system refuses. The slot is then abandoned, with its files in place until the next claim.
    pub fn seal(
        self,
        kind: impl Into<String>,
        inputs: Vec<InputRecord>,
        metrics: BTreeMap<String, f64>,
        mut provenance: Provenance,
    ) -> Result<Sealed> {
        self.check_held()?;
        let (files, folders) = freeze(&self, &self.out())?;
        let digest = content_digest(&files);
        if !provenance.seconds.is_finite() {
            provenance.seconds = 0.0;
        }
        let metrics = metrics.into_iter().filter(|(_, figure)| figure.is_finite()).collect();
        let manifest = Manifest { format: FORMAT, key: self.key, digest, kind: kind.into(), files, inputs, metrics, provenance };
        self.seal_as(manifest, folders)
    }

    /// Commits an artifact that was made elsewhere, under its own record. What lies in [`Slot::out`] must be its files.
    ///
    /// # Errors
    /// As [`Slot::commit`]; when the files are not those of the record.
    pub(crate) fn adopt(self, manifest: Manifest) -> Result<Artifact> {
        self.check_held()?;
        let (files, folders) = freeze(&self, &self.out())?;
        let differing = files.iter().zip(&manifest.files).find(|(found, wanted)| found != wanted);
        if let Some((found, wanted)) = differing {
            return Err(StoreError::WrongBytes {
                place: self.out().join(&found.path).display().to_string(),
                wanted: format!("{} bytes with digest {}", wanted.bytes, wanted.digest.short()),
                found: format!("{} bytes with digest {}", found.bytes, found.digest.short()),
            });
        }
        if files.len() != manifest.files.len() {
            let reason = format!("it has {} files instead of {}", files.len(), manifest.files.len());
            return Err(StoreError::Refused { place: self.out().display().to_string(), reason });
        }
        let store = self.store.clone();
        let sealed = self.seal_as(manifest, folders)?;
        store.commit(vec![sealed]).pop().expect("one for one")
    }

    /// Frozen files and their record.
    fn seal_as(self, manifest: Manifest, folders: Vec<PathBuf>) -> Result<Sealed> {
        let text = to_line(&manifest)?;
        if let Err(problem) = parse_manifest(&self.key, &text) {
            return Err(StoreError::Unreadable { path: self.store.layout().manifest(&self.key), reason: problem.to_string() });
        }
        self.free_reserve();
        self.store.disk().write(&self.draft("manifest"), &text)?;
        let present = self.store.check_object(&manifest.digest, &manifest.files)?.is_empty();
        Ok(Sealed { slot: self, manifest, folders, present })
    }
}

impl Sealed {
    /// The key it answers.
    pub fn key(&self) -> plan::Key {
        self.manifest.key
    }

    /// What must be on the disk before any name stands for it.
    fn changed(&self) -> Vec<PathBuf> {
        let mut changed = vec![self.slot.draft("manifest"), self.slot.paths.preimage()];
        if !self.present {
            changed.extend(self.manifest.files.iter().map(|file| self.slot.out().join(&file.path)));
            changed.extend(self.folders.iter().cloned());
        }
        changed
    }

    /// Folders whose entries its commit changes: of object, preimage and manifest.
    fn shards(&self) -> [PathBuf; 3] {
        let layout = self.slot.store.layout();
        let key = &self.manifest.key;
        [layout.object(&self.manifest.digest), layout.preimage(key), layout.manifest(key)].map(|path| parent(&path))
    }

    fn settle(&self) -> Result<()> {
        let store = &self.slot.store;
        for shard in self.shards() {
            store.disk().create_dir(&shard)?;
        }
        if !self.present {
            place(store, &self.slot.out(), &self.manifest.digest, &self.manifest.files)?;
        }
        Ok(store.disk().rename(&self.slot.paths.preimage(), &store.layout().preimage(&self.manifest.key))?)
    }
}

impl Store {
    /// Moves sealed artifacts into place, with the same three waits for the disk for all of them. What fails fails alone, and its
    /// slot is abandoned; the results are in the order given.
    pub fn commit(&self, sealed: Vec<Sealed>) -> Vec<Result<Artifact>> {
        let (disk, layout) = (self.disk(), self.layout());
        // First barrier: every byte that the later names will stand for.
        let changed: Vec<PathBuf> = sealed.iter().flat_map(Sealed::changed).collect();
        let mut outcomes: Vec<Result<()>> = both(sealed.iter().map(|_| Ok(())).collect(), disk.sync(&changed));

        // Second barrier: objects and preimages are in place.
        for (sealed, outcome) in sealed.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            *outcome = sealed.settle();
        }
        let shards: BTreeSet<PathBuf> = sealed.iter().flat_map(|sealed| sealed.shards()).collect();
        let buckets: BTreeSet<PathBuf> = shards.iter().map(|shard| parent(shard)).collect();
        let changed: Vec<PathBuf> = buckets.iter().chain(&shards).filter(|folder| folder.is_dir()).cloned().collect();
        outcomes = both(outcomes, disk.sync(&changed));

        // Third barrier: the commit points.
        for (sealed, outcome) in sealed.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            let renamed = || Ok(disk.rename(&sealed.slot.draft("manifest"), &layout.manifest(&sealed.manifest.key))?);
            *outcome = sealed.slot.check_held().and_then(|()| renamed());
        }
        let changed: BTreeSet<PathBuf> = sealed.iter().map(|sealed| parent(&layout.manifest(&sealed.manifest.key))).collect();
        let changed: Vec<PathBuf> = changed.into_iter().filter(|folder| folder.is_dir()).collect();
        outcomes = both(outcomes, disk.sync(&changed));

        let conclude = |(sealed, outcome): (Sealed, Result<()>)| match outcome {
            Ok(()) => {
                self.clear(&sealed.slot.paths);
                let path = layout.object(&sealed.manifest.digest);
                Ok(Artifact { manifest: sealed.manifest, path })
            }
            Err(error) => {
                sealed.slot.abandon();
                Err(error)
            }
        };
        sealed.into_iter().zip(outcomes).map(conclude).collect()
    }
}

/// The outcomes, unless a wait for the disk failed, which then failed for all.
fn both(outcomes: Vec<Result<()>>, synced: std::io::Result<()>) -> Vec<Result<()>> {
    let Err(error) = synced else { return outcomes };
    let again = || StoreError::from(std::io::Error::new(error.kind(), error.to_string()));
    outcomes.into_iter().map(|outcome| outcome.and_then(|()| Err(again()))).collect()
}

/// Hashes what lies in `out` and makes it read-only, but for `out` itself, which has yet to be moved. Gives the files, sorted by
/// path, and the folders.
fn freeze(slot: &Slot, out: &Path) -> Result<(Vec<FileEntry>, Vec<PathBuf>)> {
    let disk = slot.store.disk();
    let tree = Tree::read(out)?;
    if tree.files.is_empty() {
        return Err(StoreError::EmptyOutput { path: out.to_path_buf() });
    }
    let mut used = BTreeSet::from([out.to_path_buf()]);
    for file in &tree.files {
        for ancestor in Path::new(&file.path).ancestors().skip(1) {
            if !used.insert(out.join(ancestor)) {
                break;
            }
        }
    }
    // Backwards, so that a folder of empty folders is empty when its turn comes.
    for folder in tree.folders.iter().rev() {
        disk.set_mode(folder, 0o755)?;
        if !used.contains(folder) {
            disk.remove_dir(folder)?;
        }
    }
    for file in tree.files.iter().filter(|file| file.links > 1) {
        // Whoever else links to it could change it later.
        let copy = slot.draft("copy");
        disk.copy(&out.join(&file.path), &copy)?;
        disk.rename(&copy, &out.join(&file.path))?;
    }
    let freeze_file = |file: &Found| {
        let path = out.join(&file.path);
        disk.set_mode(&path, 0o444)?;
        let hash = hash_path(&path)?;
        if hash.bytes != file.bytes {
            return Err(StoreError::Changing { path });
        }
        Ok(FileEntry { path: file.path.clone(), bytes: hash.bytes, digest: hash.digest })
    };
    let files = match tree.files.as_slice() {
        few if few.len() <= 4 => few.iter().map(freeze_file).collect::<Result<Vec<_>>>()?,
        many => many.par_iter().map(freeze_file).collect::<Result<Vec<_>>>()?,
    };
    for folder in used.iter().filter(|folder| *folder != out) {
        disk.set_mode(folder, 0o555)?;
    }
    Ok((files, used.into_iter().collect()))
}

/// Moves `out` to where its digest says, unless the same bytes have arrived there meanwhile.
fn place(store: &Store, out: &Path, digest: &Digest, files: &[FileEntry]) -> Result<()> {
    let object = store.layout().object(digest);
    for _ in 0..MOST_COLLISIONS {
        match store.disk().rename(out, &object) {
            Ok(()) => return Ok(store.disk().set_mode(&object, 0o555)?),
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error.into()),
        }
        if store.check_object(digest, files)?.is_empty() {
            return Ok(());
        }
        store.set_object_aside(digest)?;
    }
    Err(StoreError::Changing { path: object })
}

fn parent(path: &Path) -> PathBuf {
    path.parent().expect("a path inside the store has a parent").to_path_buf()
}
