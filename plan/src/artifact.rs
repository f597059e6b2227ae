//! What is remembered about a finished step: its files, their digest, and how it came about. It does not know where files lie.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Hasher, Key};

/// Format of [`Manifest`].
pub const FORMAT: u32 = 1;

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path inside the artifact, with `/`.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Digest of the bytes.
    pub digest: Digest,
}

/// One input that a step consumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Port; for files from outside, port and path.
    pub port: String,
    /// Content digest.
    pub digest: Digest,
    /// Key of the step that made it; none for files from outside.
    pub key: Option<Key>,
}

/// How an artifact came about: recorded, never in a key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// Run that made it.
    pub run: String,
    /// Name of the step in that run.
    pub step: String,
    /// Milliseconds since the Unix epoch when it was committed.
    pub finished_ms: u64,
    /// Wall time, in seconds, of all attempts since the slot was opened.
    pub seconds: f64,
    /// Host name.
    pub host: String,
    /// Device, for steps that compute with tensors.
    pub device: String,
    /// Threads it had.
    pub threads: u32,
    /// Version of the program.
    pub program: String,
    /// Processor seconds of the last attempt, children included; 0 where that is not known.
    #[serde(default)]
    pub cpu_seconds: f64,
    /// Most memory its process had, in MiB; 0 where that is not known.
    #[serde(default)]
    pub peak_memory_mib: u64,
    /// Whether its files may go when nobody needs them any more; its record stays.
    #[serde(default)]
    pub temp: bool,
    /// The key it was made for, when a user declared it good for this one.
    #[serde(default)]
    pub accepted_from: Option<Key>,
}

/// The record of a finished step; its presence in the store is what makes the step done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What was asked.
    pub key: Key,
    /// What came out.
    pub digest: Digest,
    /// Step kind.
    pub kind: String,
    /// Files, sorted by path.
    pub files: Vec<FileEntry>,
    /// What it consumed, in port order.
    pub inputs: Vec<InputRecord>,
    /// Closing figures of the step, e.g. `eval/accuracy`, `cost/tokens`, `cost/flops`.
    pub metrics: BTreeMap<String, f64>,
    /// How it came about.
    pub provenance: Provenance,
}

impl Manifest {
    /// Total size in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl Manifest {
    /// The digest of what a consumer of `part` (a folder of the artifact; none for all of it) reads.
    pub fn digest_of(&self, part: Option<&str>) -> Digest {
        let Some(part) = part else { return self.digest };
        let prefix = format!("{part}/");
        let inside = self.files.iter().filter_map(|file| {
            let path = file.path.strip_prefix(&prefix)?.to_owned();
            Some(FileEntry { path, ..file.clone() })
        });
        content_digest(&inside.collect::<Vec<_>>())
    }
}

/// The digest of a set of files, which must be sorted by path.
pub fn content_digest(files: &[FileEntry]) -> Digest {
    let mut hasher = Hasher::new("workbench artifact");
    for file in files {
        hasher.field(file.path.as_bytes()).field(&file.bytes.to_le_bytes()).field(file.digest.as_bytes());
    }
    Digest::from_bytes(hasher.finish())
}

/// A committed artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Its record.
    pub manifest: Manifest,
    /// The folder that holds its files; read-only.
    pub path: std::path::PathBuf,
}
