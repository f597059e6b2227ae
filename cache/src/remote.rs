//! [`Remote`]: a store elsewhere, in a bucket, a folder or on a web server, that artifacts are pushed to and brought from. Files lie
//! there once each, under the digest of their bytes; the record of a key goes up after all of its files and so decides. Whatever is
//! brought goes through a slot and the barriers of a commit, and no byte is believed before it has the digest it should have.
//!
//! ```text
//! <address>/
//! ├── workbench-remote.json        version of this layout
//! ├── blobs/ab/<file digest>       the bytes of a file
//! ├── keys/ab/<key>.json           manifest and preimage
//! └── runs/<run>.jsonl             the journal of a run
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plan::{Artifact, Digest, Key};
use serde::{Deserialize, Serialize};

use crate::hashing::FileHash;
use crate::intake::Blobs;
use crate::parallel::in_parallel;
use crate::record::{self, Record};
use crate::store::to_line;
use crate::{Claim, Result, Slot, Store, StoreError};

mod client;

use client::Client;

/// Version of the layout.
const FORMAT: u32 = 1;
/// The object that says so.
const MARKER: &str = "workbench-remote.json";
/// Threads that wait for transfers.
const THREADS: usize = 16;
/// Threads that bring artifacts, each of which waits for transfers of its own.
const KEYS_AT_ONCE: usize = 6;
/// Largest journal, in bytes.
const MOST_JOURNAL: u64 = 4 << 30;

/// A remote store, and the local one that it is for.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    store: Store,
    /// Whether the marker was found.
    known: OnceLock<bool>,
    /// Set when it could not be reached.
    down: AtomicBool,
    moved: AtomicU64,
}

/// What came of filling a slot from a remote store.
#[derive(Debug)]
pub enum Filled {
    /// It had the artifact, which is committed now.
    Hit(Box<Artifact>),
    /// It does not have it; the step has to run.
    Absent(Box<Slot>),
}

/// What a push did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Artifacts that went up.
    pub keys: u64,
    /// Artifacts that were there.
    pub present: u64,
    /// Keys that this store has no whole artifact for.
    pub missing: Vec<Key>,
    /// Files that went up.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Files of artifacts that were not there, whose bytes were.
    pub shared: u64,
}

/// What a pull did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Artifacts that came.
    pub keys: u64,
    /// Artifacts that were here.
    pub present: u64,
    /// Keys that the remote store does not have.
    pub missing: Vec<Key>,
    /// Size in bytes of the files that came.
    pub bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
}

impl Remote {
    /// The remote store at `url` (`s3://bucket/prefix`, `gs://`, `az://`, `http(s)://`, `file://` or a folder) for `store`. Nothing is
    /// asked of it yet.
    ///
    /// # Errors
    /// When the address or the settings in the environment are wrong.
    pub fn open(url: &str, store: &Store) -> Result<Self> {
        let client = Client::open(url)?;
        Ok(Self { client, store: store.clone(), known: OnceLock::new(), down: AtomicBool::new(false), moved: AtomicU64::new(0) })
    }

    /// Bytes moved so far, for whoever watches.
    pub fn moved_bytes(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Copies artifacts to the remote store; what is there is skipped. After an interruption the next push goes on from what arrived.
    ///
    /// # Errors
    /// When the remote store or the operating system refuses; when a file is not what was committed.
    pub fn push(&self, keys: &[Key]) -> Result<Pushed> {
        let _lease = self.store.lease()?;
        if !self.is_known()? {
            self.client.write(MARKER, to_line(&Marker { format: FORMAT })?)?;
        }
        let there = in_parallel(keys, THREADS, |key| Ok(self.client.size(&record_name(key))?.is_some()))?;
        let (mut pushed, mut records) = (Pushed::default(), Vec::new());
        let mut files: BTreeMap<Digest, (u64, PathBuf)> = BTreeMap::new();
        for (key, there) in keys.iter().zip(there) {
            if there {
                pushed.present += 1;
                continue;
            }
            let (Some(artifact), Some(preimage)) = (self.store.lookup(key)?, self.store.preimage(key)?) else {
                pushed.missing.push(*key);
                continue;
            };
            for file in artifact.manifest.files.iter().filter(|file| file.bytes > 0) {
                files.entry(file.digest).or_insert_with(|| (file.bytes, artifact.path.join(&file.path)));
            }
            records.push(Record { manifest: artifact.manifest, preimage });
        }
        let files: Vec<_> = files.into_iter().collect();
        let went = in_parallel(&files, THREADS, |(digest, (bytes, path))| {
            let name = blob_name(digest);
            if self.client.size(&name)? == Some(*bytes) {
                return Ok(None);
            }
            self.client.upload(&name, path, FileHash { digest: *digest, bytes: *bytes })?;
            self.moved.fetch_add(*bytes, Ordering::Relaxed);
            Ok(Some(*bytes))
        })?;
        in_parallel(&records, THREADS, |record| self.client.write(&record_name(&record.manifest.key), to_line(record)?))?;
        pushed.keys = records.len() as u64;
        pushed.files = went.iter().flatten().count() as u64;
        pushed.shared = went.len() as u64 - pushed.files;
        pushed.bytes = went.iter().flatten().sum();
        Ok(pushed)
    }

    /// Brings artifacts from the remote store; what is here is skipped.
    ///
    /// # Errors
    /// As [`Remote::fetch`]; what was brought before stays.
    pub fn pull(&self, keys: &[Key]) -> Result<Pulled> {
        if !self.is_known()? {
            return Err(StoreError::Remote {
                place: self.client.place(MARKER),
                reason: "there is no such object".into(),
                advice: "check the address; `workbench cache push` makes a remote store",
            });
        }
        let before = self.moved_bytes();
        let came = in_parallel(keys, KEYS_AT_ONCE, |key| {
            if self.store.lookup(key)?.is_some() { Ok(None) } else { self.fetch(key).map(Some) }
        })?;
        let missing = keys.iter().zip(&came).filter(|(_, came)| **came == Some(false)).map(|(key, _)| *key).collect();
        let count = |outcome| came.iter().filter(|came| **came == outcome).count() as u64;
        Ok(Pulled { keys: count(Some(true)), present: count(None), missing, bytes: self.moved_bytes() - before })
    }

    /// Brings the artifact of a key into the store, unless it is there; false when the remote store does not have it. Waits while
    /// somebody else makes or brings it.
    ///
    /// # Errors
    /// When a record or a file is not what it should be: the error names it and nothing is committed. When the remote store or the
    /// operating system refuses.
    pub fn fetch(&self, key: &Key) -> Result<bool> {
        if self.store.lookup(key)?.is_some() {
            return Ok(true);
        }
        let Some(record) = self.record(key)? else { return Ok(false) };
        match self.store.claim_wait(&record.preimage, &|_| true)? {
            Claim::Hit(_) => Ok(true),
            Claim::Slot(slot) => self.bring(slot, record).map(|_| true),
            Claim::Busy(_) => Ok(false),
        }
    }

    /// Fills a slot that this process holds from the remote store, for a step that is about to run. Once the remote store could not
    /// be reached, this says so in an error, and afterwards that it has nothing, so that a run does not wait for it at every step.
    ///
    /// # Errors
    /// As [`Remote::fetch`]; the slot is then abandoned, and the key can be claimed again.
    pub fn fill(&self, slot: Slot) -> Result<Filled> {
        if self.down.load(Ordering::Relaxed) {
            return Ok(Filled::Absent(Box::new(slot)));
        }
        let filled = match self.record(&slot.key()) {
            Ok(None) => return Ok(Filled::Absent(Box::new(slot))),
            Ok(Some(record)) => self.bring(slot, record).map(|artifact| Filled::Hit(Box::new(artifact))),
            Err(error) => Err(error),
        };
        if let Err(StoreError::Remote { .. }) = &filled {
            self.down.store(true, Ordering::Relaxed);
        }
        filled
    }

    /// Copies the journal of a run to the remote store, where the name must be free or belong to the beginning of the same journal.
    ///
    /// # Errors
    /// When another run has the name; when the remote store refuses.
    pub fn push_run(&self, run: &str, ours: &[u8]) -> Result<()> {
        let name = run_name(run);
        match self.client.read(&name, MOST_JOURNAL)? {
            Some(theirs) if theirs.starts_with(ours) => return Ok(()),
            Some(theirs) if !ours.starts_with(&theirs) => {
                return Err(StoreError::Remote {
                    place: self.client.place(&name),
                    reason: format!("another run is called `{run}` there"),
                    advice: "give this one another name with `--as`",
                });
            }
            _ => {}
        }
        self.client.write(&name, ours.to_vec())
    }

    /// The journal of a run, if the remote store has it.
    ///
    /// # Errors
    /// When the remote store refuses.
    pub fn journal(&self, run: &str) -> Result<Option<Vec<u8>>> {
        self.client.read(&run_name(run), MOST_JOURNAL)
    }

    fn is_known(&self) -> Result<bool> {
        if let Some(known) = self.known.get().filter(|known| **known) {
            return Ok(*known);
        }
        let Some(text) = self.client.read(MARKER, 4096)? else { return Ok(false) };
        match serde_json::from_slice::<Marker>(&text) {
            Ok(Marker { format: FORMAT }) => Ok(*self.known.get_or_init(|| true)),
            other => {
                let found =
                    other.map_or_else(|error| error.to_string(), |marker| format!("its layout has version {}", marker.format));
                Err(StoreError::Remote {
                    place: self.client.place(MARKER),
                    reason: format!("{found}, this program reads version {FORMAT}"),
                    advice: "use the program that wrote it, or another address",
                })
            }
        }
    }

    fn record(&self, key: &Key) -> Result<Option<Record>> {
        let name = record_name(key);
        let Some(text) = self.client.read(&name, record::MOST_BYTES)? else { return Ok(None) };
        if !self.is_known()? {
            return Ok(None);
        }
        let refused = |reason| StoreError::Refused { place: self.client.place(&name), reason };
        Record::parse(key, &text).map(Some).map_err(refused)
    }

    fn bring(&self, slot: Slot, record: Record) -> Result<Artifact> {
        let folder = slot.paths.fetched();
        self.store.disk().create_dir(&folder)?;
        let mut blobs = Blobs::new(folder);
        blobs.expect(&record.manifest.files);
        let wanted: Vec<FileHash> = blobs.wanted().collect();
        in_parallel(&wanted, THREADS, |wanted| {
            let (name, path) = (blob_name(&wanted.digest), blobs.path(&wanted.digest));
            if !self.client.download(&name, &path, *wanted)? {
                return Err(StoreError::Remote {
                    place: self.client.place(&name),
                    reason: format!("the file is missing that the record of key {} names", record.manifest.key.short()),
                    advice: "push the artifact again from a store that has it, after removing its record there",
                });
            }
            self.moved.fetch_add(wanted.bytes, Ordering::Relaxed);
            Ok(())
        })?;
        blobs.place(&self.store, &record.manifest.files, &slot.out())?;
        slot.adopt(record.manifest)
    }
}

fn record_name(key: &Key) -> String {
    let key = key.to_string();
    format!("keys/{}/{key}.json", &key[..2])
}

fn blob_name(digest: &Digest) -> String {
    let digest = digest.to_string();
    format!("blobs/{}/{digest}", &digest[..2])
}

fn run_name(run: &str) -> String {
    format!("runs/{run}.jsonl")
}

#[cfg(test)]
mod tests;
