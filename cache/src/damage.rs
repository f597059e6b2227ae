//! What is wrong with a committed artifact, in words. It does not look for it.

use std::path::PathBuf;

use plan::{Digest, Key};

/// One thing found broken in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Key whose record is concerned; none for an object that no key names.
    pub key: Option<Key>,
    /// Artifact concerned, if its digest is known.
    pub digest: Option<Digest>,
    /// The record or folder.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.key, &self.digest) {
            (Some(key), _) => write!(f, "artifact of key {}", key.short())?,
            (None, Some(digest)) => write!(f, "artifact {}", digest.short())?,
            (None, None) => write!(f, "record")?,
        }
        write!(f, " (`{}`): {}", self.path.display(), self.problem)
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The manifest cannot be understood.
    #[error("the manifest cannot be read: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// The manifest's file list does not have the digest that it states.
    #[error("the manifest contradicts itself: its files do not have its digest")]
    Contradiction,
    /// The preimage is missing or is another one's.
    #[error("the preimage {reason}")]
    Preimage {
        /// How.
        reason: String,
    },
    /// The folder is gone.
    #[error("its folder is missing")]
    NoObject,
    /// The folder holds what no artifact may hold.
    #[error("{reason}")]
    Odd {
        /// What.
        reason: String,
    },
    /// A file is gone.
    #[error("file `{file}` is missing")]
    Missing {
        /// Path inside the artifact.
        file: String,
    },
    /// A file was truncated or appended to.
    #[error("file `{file}` has {found} bytes instead of {recorded}")]
    Size {
        /// Path inside the artifact.
        file: String,
        /// Size in the manifest.
        recorded: u64,
        /// Size on the disk.
        found: u64,
    },
    /// A file has other bytes.
    #[error("file `{file}` has other bytes than were committed")]
    Changed {
        /// Path inside the artifact.
        file: String,
    },
    /// A file was added.
    #[error("file `{file}` does not belong to it")]
    Extra {
        /// Path inside the artifact.
        file: String,
    },
    /// The files do not have the digest that names the folder, and no manifest says which are wrong.
    #[error("its files do not have the digest that names it")]
    WrongDigest,
}
