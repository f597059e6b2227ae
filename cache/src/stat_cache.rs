//! [`hash_file`]: digests of files outside the store, remembered by path, size, times, device and inode, so that a file is read
//! once and not at every run. It does not know what the files are for.
//!
//! A digest is remembered only if the file had been at rest for two seconds before it was read: a change within the same tick of
//! the file system's clock would leave no trace in the times. "Now" is the time of a file written for the purpose, since only the
//! file system's own clock can be compared with its times.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err as fs;
use fs_err::File;
use plan::Digest;

use crate::hashing::{FileHash, hash};
use crate::store::{read_if_there, unless_read_only};
use crate::{Result, Store, StoreError};

/// First line of the file.
const HEADER: &str = "workbench stat cache 1";
/// A file must have been at rest this long to be remembered.
const REST_NS: i64 = 2_000_000_000;
/// With more entries than this, those not asked for are forgotten when the cache is saved.
const MOST_ENTRIES: usize = 200_000;
/// How often a file is read again that changed meanwhile.
const MOST_READS: u32 = 3;

/// Digests remembered by the stat of their file.
#[derive(Debug)]
pub struct StatCache {
    store: Store,
    entries: Mutex<BTreeMap<PathBuf, Entry>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    bytes: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    device: u64,
    inode: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    stat: Stat,
    digest: Digest,
    asked: bool,
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            mtime_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            ctime_ns: metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl StatCache {
    /// That of a store; lines that cannot be understood are forgotten.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn open(store: &Store) -> Result<Self> {
        let entries = Mutex::new(read(&store.layout().stat_cache())?);
        Ok(Self { store: store.clone(), entries })
    }

    /// Writes what was learnt, together with what others have written meanwhile. A store that cannot be written to learns nothing.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn save(&self) -> Result<()> {
        let path = self.store.layout().stat_cache();
        let mut entries = self.entries();
        for (file, entry) in read(&path)? {
            entries.entry(file).or_insert(entry);
        }
        if entries.len() > MOST_ENTRIES {
            entries.retain(|_, entry| entry.asked);
        }
        let mut text = format!("{HEADER}\n");
        for (file, Entry { stat, digest, .. }) in entries.iter() {
            if let Some(file) = file.to_str().filter(|file| !file.contains('\n')) {
                let Stat { bytes, mtime_ns, ctime_ns, device, inode } = stat;
                let _ = writeln!(text, "{digest} {bytes} {mtime_ns} {ctime_ns} {device} {inode} {file}");
            }
        }
        unless_read_only(self.store.put(&path, text.as_bytes()))
    }

    fn get(&self, path: &Path, stat: Stat) -> Option<Digest> {
        let mut entries = self.entries();
        let entry = entries.get_mut(path).filter(|entry| entry.stat == stat)?;
        entry.asked = true;
        Some(entry.digest)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file system's clock, in nanoseconds since the Unix epoch; none where it cannot be asked.
    fn now_ns(&self) -> Result<Option<i64>> {
        let _lease = self.store.hold()?;
        let probe = self.store.layout().fresh_tmp();
        match fs::write(&probe, "").map_err(StoreError::from) {
            Err(StoreError::ReadOnly(_) | StoreError::Denied(_) | StoreError::Full(_)) => return Ok(None),
            other => other?,
        }
        let now = Stat::of(&fs::metadata(&probe)?).mtime_ns;
        fs::remove_file(&probe)?;
        Ok(Some(now))
    }
}

/// The BLAKE3 digest and the size of a file outside the store; from the cache if the file is as it was when it was last read.
///
/// # Errors
/// When it is not a file, when it keeps changing, when the operating system refuses.
pub fn hash_file(path: &Path, cache: &StatCache) -> Result<FileHash> {
    let name = std::path::absolute(path)?;
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(StoreError::NotAFile { path: path.to_path_buf(), what });
    }
    if let Some(digest) = cache.get(&name, Stat::of(&metadata)) {
        return Ok(FileHash { digest, bytes: metadata.len() });
    }
    for _ in 0..MOST_READS {
        let mut file = File::open(path)?;
        let now = cache.now_ns()?;
        let before = Stat::of(&file.metadata()?);
        let found = hash(&mut file)?;
        let after = Stat::of(&file.metadata()?);
        if before == after && found.bytes == after.bytes {
            if now.is_some_and(|now| after.mtime_ns.max(after.ctime_ns).saturating_add(REST_NS) < now) {
                cache.entries().insert(name, Entry { stat: after, digest: found.digest, asked: true });
            }
            return Ok(found);
        }
    }
    Err(StoreError::Changing { path: path.to_path_buf() })
}

fn read(path: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let text = read_if_there(path)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Ok(BTreeMap::new());
    }
    Ok(lines.filter_map(parse).collect())
}

fn parse(line: &str) -> Option<(PathBuf, Entry)> {
    let mut parts = line.splitn(7, ' ');
    let digest = parts.next()?.parse().ok()?;
    let stat = Stat {
        bytes: parts.next()?.parse().ok()?,
        mtime_ns: parts.next()?.parse().ok()?,
        ctime_ns: parts.next()?.parse().ok()?,
        device: parts.next()?.parse().ok()?,
        inode: parts.next()?.parse().ok()?,
    };
    Some((PathBuf::from(parts.next()?), Entry { stat, digest, asked: false }))
}

#[cfg(test)]
mod tests;
