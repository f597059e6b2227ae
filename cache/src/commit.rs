//! [`Slot::commit`]: the files of a slot become an artifact. Three barriers (synced files, synced folders, renamed manifest) order
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

impl Slot {
    /// Makes what lies in [`Slot::out`] the artifact of this key and removes the slot. Files are hashed, made read-only and moved
    /// to a place that their content alone decides; empty folders are dropped; figures in `metrics` that are not finite are left
    /// out, since JSON cannot hold them. `provenance` is recorded as given.
    ///
    /// # Errors
    /// When nothing was written; when a symbolic link, a special file or an odd file name was; when a file is still being written;
    /// when the operating system refuses. The slot is then abandoned, with its files in place until the next claim.
    pub fn commit(
        self,
        kind: impl Into<String>,
        inputs: Vec<InputRecord>,
        metrics: BTreeMap<String, f64>,
        mut provenance: Provenance,
    ) -> Result<Artifact> {
        self.check_held()?;
        let (files, folders) = freeze(&self, &self.out())?;
        let digest = content_digest(&files);
        if !provenance.seconds.is_finite() {
            provenance.seconds = 0.0;
        }
        let metrics = metrics.into_iter().filter(|(_, figure)| figure.is_finite()).collect();
        let manifest = Manifest { format: FORMAT, key: self.key, digest, kind: kind.into(), files, inputs, metrics, provenance };
        self.seal(manifest, folders)
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
        self.seal(manifest, folders)
    }

    /// Brings frozen files and their record into place.
    fn seal(self, manifest: Manifest, folders: Vec<PathBuf>) -> Result<Artifact> {
        let store = self.store.clone();
        let (disk, layout) = (store.disk(), store.layout());
        let (out, digest) = (self.out(), manifest.digest);
        let text = to_line(&manifest)?;
        let (manifest_path, preimage_path) = (layout.manifest(&self.key), layout.preimage(&self.key));
        if let Err(problem) = parse_manifest(&self.key, &text) {
            return Err(StoreError::Unreadable { path: manifest_path, reason: problem.to_string() });
        }

        // First barrier: every byte that the later names will stand for.
        let (manifest_draft, preimage_draft) = (self.draft("manifest"), self.draft("preimage"));
        self.free_reserve();
        disk.write(&manifest_draft, &text)?;
        disk.write(&preimage_draft, &to_line(&self.preimage)?)?;
        let present = store.check_object(&digest, &manifest.files)?.is_empty();
        let mut changed = vec![manifest_draft.clone(), preimage_draft.clone()];
        if !present {
            changed.extend(manifest.files.iter().map(|file| out.join(&file.path)));
            changed.extend(folders);
        }
        disk.sync(&changed)?;

        // Second barrier: the object and the preimage are in place.
        let object = layout.object(&digest);
        let shards = [&object, &preimage_path, &manifest_path].map(|path| parent(path));
        for shard in &shards {
            disk.create_dir(shard)?;
        }
        if !present {
            place(&store, &out, &digest, &manifest.files)?;
        }
        disk.rename(&preimage_draft, &preimage_path)?;
        let mut changed: Vec<PathBuf> = shards.iter().map(|shard| parent(shard)).collect();
        changed.extend(shards[..2].iter().cloned());
        disk.sync(&changed)?;

        // Third barrier: the commit point.
        self.check_held()?;
        disk.rename(&manifest_draft, &manifest_path)?;
        disk.sync(&shards[2..])?;
        store.discard(self.folder());
        Ok(Artifact { manifest, path: object })
    }
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
    let files = tree.files.par_iter().map(freeze_file).collect::<Result<Vec<_>>>()?;
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
