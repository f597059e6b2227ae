//! The errors of this crate. Messages name the file, line or document and say what to do.
//! Knows nothing of the operations; they choose the variant.

use std::path::{Path, PathBuf};

/// Why an operation of this crate failed.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The observer asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Reading or writing a file failed; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line of a document file could not be read.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// A file is not in the format its name promises.
    #[error("cannot read `{}`: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A path or pattern leads to no file.
    #[error("no {what} in `{}`", path.display())]
    Nothing {
        /// What was looked for, such as "document files".
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// An archive of a crate is not in any of the registry caches.
    #[error("`{file}` is not in {searched}; run `cargo fetch` to download it")]
    MissingArchive {
        /// The archive's file name.
        file: String,
        /// The directories that were searched, for the message.
        searched: String,
    },
    /// A file is not the one that was asked for.
    #[error("`{}` has sha256 {found}, but {expected} was asked for; delete it and fetch it again, or correct the hash", path.display())]
    Checksum {
        /// The file or address.
        path: PathBuf,
        /// The hash asked for, hexadecimal.
        expected: String,
        /// The hash it has.
        found: String,
    },
    /// A download failed for good.
    #[error("cannot download {url}: {message}")]
    Download {
        /// The address.
        url: String,
        /// The last failure.
        message: String,
    },
    /// A parameter has a value that cannot be used.
    #[error("{0}")]
    Params(String),
    /// A user's function failed on a document.
    #[error("document `{id}`: {message}")]
    Document {
        /// The document's id.
        id: String,
        /// What the function said.
        message: String,
    },
    /// The tokenizer library refused.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}

impl DataError {
    /// A [`DataError::Format`] from any message.
    pub(crate) fn format(path: &Path, message: impl ToString) -> DataError {
        DataError::Format { path: path.to_path_buf(), message: message.to_string() }
    }
}
