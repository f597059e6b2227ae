//! [`Store`]: opening, looking up, and the records beside the artifacts. It does not fill slots.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use plan::artifact::{FORMAT as MANIFEST_FORMAT, content_digest};
use plan::{Artifact, Digest, FileEntry, Key, Manifest, Preimage};
use serde::Serialize;

use crate::disk::Disk;
use crate::layout::{BUCKETS, FORMAT, Layout};
use crate::lock::Lease;
use crate::tree::{self, Tree};
use crate::watch::Watch;
use crate::{Damage, Problem, Result, StoreError};

/// How often the use of an artifact is recorded.
const TOUCH_EVERY: Duration = Duration::from_secs(3600);

/// A store of artifacts. Clones share one; any number of threads and processes may work with it at the same time.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    disk: Disk,
    damage: Mutex<Vec<Damage>>,
    // That of this process, while somebody in it holds one.
    lease: Mutex<Weak<Lease>>,
    watch: Watch,
}

impl Store {
    /// Opens the store in the folder `root`, making it if there is none. One that is there and cannot be written to can still be
    /// read: its artifacts are hits.
    ///
    /// # Errors
    /// When the folder holds something else, or a store of another layout version.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(Disk::default(), root.as_ref())
    }

    pub(crate) fn open_on(disk: Disk, root: &Path) -> Result<Self> {
        let layout = Layout::new(std::path::absolute(root)?);
        fs::create_dir_all(layout.root())?;
        match fs::read_to_string(layout.format()) {
            Ok(text) if text.trim() == FORMAT.to_string() => {}
            Ok(text) => {
                let found = text.trim().chars().take(40).collect();
                return Err(StoreError::UnknownFormat { path: layout.root().to_path_buf(), found, supported: FORMAT });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                for entry in fs::read_dir(layout.root())? {
                    let holds = entry?.file_name().to_string_lossy().into_owned();
                    // Another process may be making the store at this moment.
                    if !holds.starts_with("FORMAT") && !BUCKETS.contains(&holds.as_str()) {
                        return Err(StoreError::NotAStore { path: layout.root().to_path_buf(), holds });
                    }
                }
                let draft = layout.fresh_format();
                disk.write(&draft, format!("{FORMAT}\n").as_bytes())?;
                disk.rename(&draft, &layout.format())?;
            }
            Err(error) => return Err(error.into()),
        }
        for bucket in BUCKETS {
            match disk.create_dir(&layout.bucket(bucket)).map_err(StoreError::from) {
                // An older store may lack some, and can be read without.
                Err(StoreError::ReadOnly(_) | StoreError::Denied(_)) => {}
                other => other?,
            }
        }
        let inner = Inner { layout, disk, damage: Mutex::default(), lease: Mutex::default(), watch: Watch::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        self.layout().root()
    }

    /// The artifact of a key, if it was committed and its files are all there in the size they had. A record that is not whole
    /// counts as a miss, is set aside, and is reported by [`Store::take_damage`]. Reads no bytes of the artifact.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn lookup(&self, key: &Key) -> Result<Option<Artifact>> {
        let path = self.layout().manifest(key);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let (digest, problem) = match parse_manifest(key, &text) {
            Ok(manifest) => match self.check_object(&manifest.digest, &manifest.files)?.into_iter().next() {
                None => {
                    self.touch(key);
                    return Ok(Some(Artifact { path: self.layout().object(&manifest.digest), manifest }));
                }
                Some(problem) => (Some(manifest.digest), problem),
            },
            Err(problem) => (None, problem),
        };
        match self.set_record_aside(&path, &text) {
            Ok(false) => {}
            // Where it must stay it is a miss all the same.
            Ok(true) | Err(StoreError::ReadOnly(_) | StoreError::Denied(_)) => {
                self.damage().push(Damage { key: Some(*key), digest, path, problem });
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Records that an artifact was used, at most once an hour: the time of its record decides what `gc` evicts first. Lookups and
    /// claims do this. Where it cannot be recorded, it is not.
    pub fn touch(&self, key: &Key) {
        let path = self.layout().manifest(key);
        let is_fresh = |used: SystemTime| used.elapsed().is_ok_and(|unused| unused < TOUCH_EVERY);
        if std::fs::metadata(&path).and_then(|metadata| metadata.modified()).is_ok_and(|used| !is_fresh(used)) {
            let _ = std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
    }

    /// What lookups and claims found damaged since this was last called.
    pub fn take_damage(&self) -> Vec<Damage> {
        std::mem::take(&mut *self.damage())
    }

    /// The folder of an artifact; it need not exist.
    pub fn artifact(&self, digest: &Digest) -> PathBuf {
        self.layout().object(digest)
    }

    /// The record of a key, whether or not the files are still there.
    ///
    /// # Errors
    /// When the record cannot be understood.
    pub fn manifest(&self, key: &Key) -> Result<Option<Manifest>> {
        let path = self.layout().manifest(key);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        match parse_manifest(key, &text) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(problem) => Err(StoreError::Unreadable { path, reason: problem.to_string() }),
        }
    }

    /// Keys of all committed artifacts, sorted.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn keys(&self) -> Result<Vec<Key>> {
        self.sharded("keys", ".json")
    }

    /// All records, sorted by key; those removed meanwhile are left out.
    ///
    /// # Errors
    /// When the operating system refuses; each record for itself when it cannot be understood.
    pub fn manifests(&self) -> Result<Manifests> {
        Ok(Manifests { store: self.clone(), keys: self.keys()?.into_iter() })
    }

    /// What was asked under a key, if it was ever committed or is being worked on.
    ///
    /// # Errors
    /// When the record cannot be understood or belongs to another key.
    pub fn preimage(&self, key: &Key) -> Result<Option<Preimage>> {
        let path = self.layout().preimage(key);
        if let Some(text) = read_if_there(&path)? {
            return parse_preimage(key, &text).map(Some).map_err(|reason| StoreError::Unreadable { path, reason });
        }
        // That of a slot may be half written.
        let text = read_if_there(&crate::SlotPaths::at(self.layout().slot(key)).preimage())?;
        Ok(text.and_then(|text| parse_preimage(key, &text).ok()))
    }

    /// Takes a hold on the store: nothing is removed by `gc` or `repair` while it lives. A run takes one for its whole length,
    /// so that the artifacts it was given stay. Waits while something is being removed.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn lease(&self) -> Result<Arc<Lease>> {
        let lease = Arc::new(Lease::shared(&self.layout().lease())?.recorded(&self.layout().fresh_holder())?);
        *self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&lease);
        Ok(lease)
    }

    /// Removes the store and all it holds. Removing the folder by other means fails for ordinary users, whom read-only folders stop.
    ///
    /// # Errors
    /// When somebody works with the store; when the operating system refuses.
    pub fn destroy(self) -> Result<()> {
        let _alone = self.exclusive()?;
        Ok(self.disk().remove_tree(self.root())?)
    }

    /// A hold for moments, which other machines do not see; the longer one of this process, if there is one.
    pub(crate) fn hold(&self) -> Result<Arc<Lease>> {
        let mut held = self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = held.upgrade() {
            return Ok(lease);
        }
        let lease = Arc::new(Lease::shared(&self.layout().lease())?);
        *held = Arc::downgrade(&lease);
        Ok(lease)
    }

    /// A hold that nobody else has, on this machine or another. Where others work, or worked until they died, on other machines,
    /// this takes as long as it takes to be sure.
    pub(crate) fn exclusive(&self) -> Result<Lease> {
        let alone = Lease::exclusive(&self.layout().lease())?;
        if self.is_shared(alone.locks())? {
            return Err(StoreError::InUse { path: self.root().to_path_buf() });
        }
        Ok(alone)
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.inner.watch
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    /// Digests of all objects, sorted.
    pub(crate) fn objects(&self) -> Result<Vec<Digest>> {
        self.sharded("objects", "")
    }

    /// Keys of all preimages, sorted.
    pub(crate) fn preimage_keys(&self) -> Result<Vec<Key>> {
        self.sharded("preimages", ".json")
    }

    /// Keys of all dropped artifacts, sorted.
    pub(crate) fn dropped_keys(&self) -> Result<Vec<Key>> {
        self.sharded("dropped", ".json")
    }

    /// How the object of a digest differs, by names and sizes, from the files recorded.
    pub(crate) fn check_object(&self, digest: &Digest, files: &[FileEntry]) -> Result<Vec<Problem>> {
        Ok(match self.read_object(digest)? {
            Ok(tree) => tree::compare(&tree.files, files),
            Err(problem) => vec![problem],
        })
    }

    /// The files of an object, or what is wrong with it as a whole.
    pub(crate) fn read_object(&self, digest: &Digest) -> Result<std::result::Result<Tree, Problem>> {
        match Tree::read(&self.layout().object(digest)) {
            Ok(tree) => Ok(Ok(tree)),
            Err(StoreError::Io(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Err(Problem::NoObject))
            }
            Err(error @ (StoreError::NotAFile { .. } | StoreError::OddName { .. })) => {
                Ok(Err(Problem::Odd { reason: error.to_string() }))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a record out of use if it still is the one that was judged; says whether it did.
    pub(crate) fn set_record_aside(&self, path: &Path, judged: &[u8]) -> Result<bool> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.layout().fresh_aside(&name);
        match self.disk().rename(path, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            other => other?,
        }
        if fs::read(&aside)? == judged {
            return Ok(true);
        }
        // Somebody has just committed anew.
        self.disk().rename(&aside, path)?;
        Ok(false)
    }

    /// Takes an object out of use.
    pub(crate) fn set_object_aside(&self, digest: &Digest) -> Result<()> {
        let object = self.layout().object(digest);
        // A folder must be writable to be moved.
        self.disk().set_mode(&object, 0o755)?;
        Ok(self.disk().rename(&object, &self.layout().fresh_aside(&digest.to_string()))?)
    }

    /// Removes a file or folder of the store: first out of its place, then piece by piece.
    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        let tmp = self.layout().fresh_tmp();
        self.disk().rename(path, &tmp)?;
        Ok(self.disk().remove_tree(&tmp)?)
    }

    /// Removes what is no longer needed and does no harm; what fails is left to `gc`.
    pub(crate) fn discard(&self, path: &Path) {
        let _ = self.remove(path);
    }

    /// Removes the slot of a committed key: its few files by name, and whatever else there is the long way.
    pub(crate) fn clear(&self, paths: &crate::SlotPaths) {
        let disk = self.disk();
        let brief = disk
            .remove_file(&paths.holder())
            .and_then(|()| disk.remove_file(&paths.lock()))
            .and_then(|()| disk.remove_empty_dir(paths.folder()));
        if brief.is_err() {
            self.discard(paths.folder());
        }
    }

    /// Replaces a small record as a whole.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        // So that `gc` does not take the draft away.
        let _lease = self.hold()?;
        let tmp = self.layout().fresh_tmp();
        let put = self.disk().write(&tmp, bytes).and_then(|()| self.disk().rename(&tmp, path));
        if put.is_err() {
            // On a full disk every byte counts.
            let _ = self.disk().remove_file(&tmp);
        }
        Ok(put?)
    }

    fn damage(&self) -> MutexGuard<'_, Vec<Damage>> {
        self.inner.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sharded<Name: std::str::FromStr + Ord>(&self, bucket: &str, suffix: &str) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        let shards = match fs::read_dir(self.layout().bucket(bucket)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
            other => other?,
        };
        for shard in shards {
            let shard = shard?;
            if !shard.file_type()?.is_dir() {
                continue;
            }
            for entry in fs::read_dir(shard.path())? {
                let name = entry?.file_name();
                names.extend(name.to_str().and_then(|name| name.strip_suffix(suffix)).and_then(|name| name.parse().ok()));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// All records of a store, sorted by key.
#[derive(Debug)]
pub struct Manifests {
    store: Store,
    keys: std::vec::IntoIter<Key>,
}

impl Iterator for Manifests {
    type Item = Result<Manifest>;

    fn next(&mut self) -> Option<Self::Item> {
        self.keys.by_ref().find_map(|key| self.store.manifest(&key).transpose())
    }
}

/// The manifest of `key` in `text`, if it is one.
pub(crate) fn parse_manifest(key: &Key, text: &[u8]) -> std::result::Result<Manifest, Problem> {
    let unreadable = |reason: String| Problem::Unreadable { reason };
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| unreadable(error.to_string()))?;
    if manifest.format != MANIFEST_FORMAT {
        return Err(unreadable(format!("its format is {}, not {MANIFEST_FORMAT}", manifest.format)));
    }
    if manifest.key != *key {
        return Err(unreadable(format!("it belongs to key {}", manifest.key.short())));
    }
    if content_digest(&manifest.files) != manifest.digest || !manifest.files.is_sorted_by(|a, b| a.path < b.path) {
        return Err(Problem::Contradiction);
    }
    Ok(manifest)
}

/// The preimage of `key` in `text`, or why it is none.
pub(crate) fn parse_preimage(key: &Key, text: &[u8]) -> std::result::Result<Preimage, String> {
    let preimage: Preimage = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if preimage.key() == *key { Ok(preimage) } else { Err(format!("it is that of key {}", preimage.key().short())) }
}

/// A record as JSON, ending in a newline.
pub(crate) fn to_line(record: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(record).map_err(std::io::Error::from)?;
    text.push(b'\n');
    Ok(text)
}

/// What is worth nothing in a store that cannot be written to is no reason to fail there.
pub(crate) fn unless_read_only(result: Result<()>) -> Result<()> {
    match result {
        Err(StoreError::ReadOnly(_) | StoreError::Denied(_)) => Ok(()),
        other => other,
    }
}

pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
