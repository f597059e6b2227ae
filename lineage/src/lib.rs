//! The memory: journals and manifests folded into DuckDB, and questions about them in SQL. The journals are the truth and this
//! database is derived; it may be deleted at any time. This room does not know where a store keeps its files: journals come as
//! paths, manifests and preimages as values.
//!
//! ```text
//! journal lines, manifests --sync--> tables (tables.sql) --views.sql--> views --query--> Table --write--> text, csv, json, parquet
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod database;
mod docs;
mod error;
mod journal;
mod params;
mod question;
mod rows;
mod statement;
mod sync;
mod table;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plan::{Key, Manifest, Preimage};

pub use docs::{ColumnDoc, Docs, MacroDoc, ViewDoc};
pub use error::{Error, Notice, Warning};
pub use question::{QUESTIONS, Question};
pub use sync::Report;
pub use table::{Cell, Column, Table};
pub use write::{Format, Width};

use database::Database;

/// How long [`Lineage::open`] waits for another process to let go of the file.
pub const WAIT: Duration = Duration::from_secs(3);

/// The lineage database.
///
/// No process keeps it open while a run goes on: open, [`sync`](Self::sync), ask, drop.
#[derive(Debug)]
pub struct Lineage {
    database: Database,
    notices: Vec<Notice>,
}

impl Lineage {
    /// Opens or creates the database at `path`, waiting up to [`WAIT`] for another process that has it. Afterwards, or where it
    /// cannot be written, the database is in memory; one that is damaged or of another version is set aside and begun anew.
    /// [`notices`](Self::notices) tells which.
    ///
    /// # Errors
    /// DuckDB cannot even open a database in memory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_waiting(path, WAIT)
    }

    /// [`open`](Self::open) with another time to wait, in steps of a tenth of a second.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_waiting(path: &Path, wait: Duration) -> Result<Self, Error> {
        let (database, notices) = Database::open(path, wait)?;
        Ok(Self { database, notices })
    }

    /// An empty database in memory.
    ///
    /// # Errors
    /// DuckDB fails.
    pub fn open_in_memory() -> Result<Self, Error> {
        Ok(Self { database: Database::in_memory()?, notices: Vec::new() })
    }

    /// What a user may want to know about how the database was opened.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Keys whose manifests it has; [`sync`](Self::sync) need not be given these again.
    ///
    /// # Errors
    /// DuckDB fails.
    pub fn keys(&self) -> Result<BTreeSet<Key>, Error> {
        let committed = sync::committed(&self.database.connection)?;
        Ok(committed.keys().filter_map(|key| key.parse().ok()).collect())
    }

    /// Reads what is new. `journals` are all runs there are, as name and journal; runs no longer listed are forgotten. A last
    /// line without its end is left for the next time; a line that is no record is left out and reported. `manifests` need only
    /// be those not among [`keys`](Self::keys); one whose key was executed again replaces the former. Artifacts that left the
    /// store stay until [`rebuild`](Self::rebuild).
    ///
    /// # Errors
    /// DuckDB fails; nothing of the transaction at hand is kept. Journals that cannot be read are warnings.
    pub fn sync(
        &mut self,
        journals: &[(String, PathBuf)],
        manifests: &mut dyn Iterator<Item = (Manifest, Preimage)>,
    ) -> Result<Report, Error> {
        sync::sync(&self.database.connection, journals, manifests)
    }

    /// Begins anew from all journals and all manifests.
    ///
    /// # Errors
    /// The old file cannot be deleted, or as [`sync`](Self::sync).
    pub fn rebuild(
        &mut self,
        journals: &[(String, PathBuf)],
        manifests: &mut dyn Iterator<Item = (Manifest, Preimage)>,
    ) -> Result<Report, Error> {
        let path = self.database.path().map(Path::to_owned);
        // Closes the file before it is deleted.
        self.database = Database::in_memory()?;
        if let Some(path) = path {
            database::delete(&path)?;
            let (database, notices) = Database::open(&path, WAIT)?;
            self.database = database;
            self.notices.extend(notices);
        }
        self.sync(journals, manifests)
    }

    /// Answers one or several statements separated by `;`, with the table of the last.
    ///
    /// # Errors
    /// A statement that is not a question is refused before anything is run; DuckDB's errors come in its own words, with line
    /// and caret.
    pub fn query(&self, sql: &str) -> Result<Table, Error> {
        self.query_all(sql)?.pop().ok_or(Error::Empty)
    }

    /// Answers one or several statements separated by `;`, with the table of each.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_all(&self, sql: &str) -> Result<Vec<Table>, Error> {
        statement::run(&self.database.connection, sql)
    }

    /// Answers a named question.
    ///
    /// # Errors
    /// DuckDB fails.
    pub fn ask(&self, question: &Question<'_>) -> Result<Table, Error> {
        statement::run_with(&self.database.connection, question.sql(), &question.arguments())
    }

    /// Documentation of every view, its columns, and every macro.
    ///
    /// # Errors
    /// DuckDB fails.
    pub fn describe(&self) -> Result<Docs, Error> {
        docs::describe(self)
    }

    /// Stops the query that is running, from another thread; the query then fails.
    pub fn interrupter(&self) -> impl Fn() + Send + Sync + 'static {
        let handle = self.database.connection.interrupt_handle();
        move || handle.interrupt()
    }
}
