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
    Io(io::Error),
    /// No room.
    #[error(
        "{0}: the disk is full; free some space (`workbench cache gc` tells what can go) and run again: what was finished is kept"
    )]
    Full(#[source] io::Error),
    /// The store lies on something that cannot be written to.
    #[error(
        "{0}: the store is read-only; what is in it can be used, but a step that has to run needs a store that can be written to"
    )]
    ReadOnly(#[source] io::Error),
    /// Somebody else's files.
    #[error("{0}: permission denied; give this user the right to write there, or use a store of your own with `--home`")]
    Denied(#[source] io::Error),
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
    #[error("the store `{path}` is in use by a run (`workbench cache locks` says which); try again when it has ended")]
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
    /// Another process thought this one dead and took the slot.
    #[error(
        "the slot `{path}` was taken over by {by}, which heard nothing of this process for too long; its result will be used"
    )]
    Lost {
        /// The slot.
        path: PathBuf,
        /// Who has it now.
        by: String,
    },
    /// A remote store is in the way.
    #[error("remote store, `{place}`: {reason}; {advice}")]
    Remote {
        /// Address of the object, or of the store.
        place: String,
        /// What it answered.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A file is not what its record says.
    #[error("`{place}` does not hold the file it is named for: {found} instead of {wanted}; nothing of it was kept")]
    WrongBytes {
        /// Where the file came from.
        place: String,
        /// Digest and size it should have.
        wanted: String,
        /// What was found.
        found: String,
    },
    /// A record from elsewhere must not be believed.
    #[error("{place} is refused: {reason}")]
    Refused {
        /// Where it came from.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(error),
            io::ErrorKind::PermissionDenied => Self::Denied(error),
            _ => Self::Io(error),
        }
    }
}
