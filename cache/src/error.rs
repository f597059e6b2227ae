//! [`StoreError`]: what can go wrong with a store, and what to do about it.

use std::io;
use std::path::PathBuf;

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What went wrong; every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused; its message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The store has a layout that this program does not know.
    #[error(
        "the store `{path}` has layout version `{found}`, this program reads version {supported}; use the program that wrote it, or another store"
    )]
    UnknownFormat {
        /// The store.
        path: PathBuf,
        /// Text of its FORMAT file.
        found: String,
        /// The version read here.
        supported: u32,
    },
    /// The folder holds other things.
    #[error("`{path}` is not a store: it has no FORMAT file but holds `{holds}`; name an empty or a new folder")]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// One thing it holds.
        holds: String,
    },
    /// A record cannot be understood.
    #[error("`{path}` cannot be read: {reason}; run `verify` with repair to take it out of use")]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The step wrote nothing.
    #[error("nothing was written to `{path}`: an artifact needs at least one file")]
    EmptyOutput {
        /// The output folder.
        path: PathBuf,
    },
    /// Something other than a file or folder.
    #[error("`{path}` is {what}: an artifact holds files and folders only; write a copy in its place")]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// A file name that would not survive elsewhere.
    #[error("the file name `{}` {why}; rename it", path.display())]
    OddName {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file changed while it was read.
    #[error("`{path}` changes while it is being read; wait until its writer is done")]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// Somebody works with the store.
    #[error("the store `{path}` is in use by a run; try again when it has ended")]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The slot could not be locked because it kept appearing and vanishing.
    #[error("the slot `{path}` could not be locked: other processes keep removing it; try again")]
    Unsteady {
        /// The slot.
        path: PathBuf,
    },
}
