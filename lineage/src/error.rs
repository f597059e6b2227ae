//! What can go wrong in this crate, and what is merely worth telling. It does not know who shows it.

use std::fmt;
use std::path::PathBuf;

/// An operation on the lineage database failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// DuckDB refused the user's SQL; the text is its own, with the line and a caret.
    #[error("{0}")]
    Sql(String),
    /// The user's SQL is not a question.
    #[error(
        "line {line}: `{keyword}` is not a question; the database is derived from journals and manifests, so sql only reads: \
         start with select, with, from, values, table, pivot, unpivot, describe, show, summarize or explain"
    )]
    Refused {
        /// First word of the statement.
        keyword: String,
        /// Line of the text, from 1.
        line: usize,
    },
    /// The user's SQL holds no statement.
    #[error("there is no SQL to run; try `select * from runs`")]
    Empty,
    /// DuckDB failed in something that this crate asked of it.
    #[error("the lineage database failed while {doing}: {text}; it is derived, so deleting it loses nothing")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// DuckDB's message.
        text: String,
    },
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A result could not be written as parquet.
    #[error("cannot write `{path}` as parquet: {text}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
}

/// DuckDB's own message, without the wrapping of its binding.
pub(crate) fn message(error: duckdb::Error) -> String {
    match error {
        duckdb::Error::DuckDBFailure(_, Some(text)) => text,
        other => other.to_string(),
    }
}

/// Turns a failure of DuckDB into an [`Error::Database`].
pub(crate) fn while_doing(doing: &'static str) -> impl Fn(duckdb::Error) -> Error {
    move |error| Error::Database { doing, text: message(error) }
}

/// Something about the database that a user may want to know; answers are right all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Another process has the file; everything is read anew, into memory.
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The file cannot be created or written; everything is read anew, into memory.
    Unwritable {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// The file could not be read; it was set aside and a new one begun.
    Damaged {
        /// Where the old one is now.
        aside: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// The file was written by another version of the program; it was set aside and a new one begun.
    OtherSchema {
        /// Where the old one is now.
        aside: PathBuf,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => {
                write!(f, "`{}` is in use by another process; reading all journals into memory instead", path.display())
            }
            Self::Unwritable { path, text } => {
                write!(f, "cannot write `{}` ({text}); reading all journals into memory instead", path.display())
            }
            Self::Damaged { aside, text } => {
                let first = text.lines().next().unwrap_or_default();
                write!(f, "the lineage database was damaged ({first}); it is now `{}` and a new one is built", aside.display())
            }
            Self::OtherSchema { aside } => {
                write!(f, "the lineage database was of another version; it is now `{}` and a new one is built", aside.display())
            }
        }
    }
}

/// A part of the evidence that was left out because it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The journal.
    pub path: PathBuf,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u64,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.text),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.text),
        }
    }
}
