//! Bringing the database up to date: what is new in the journals, and the manifests it does not have. A journal's rows and how far
//! it has been read are committed together, so an interruption at any point leaves nothing twice and nothing out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use duckdb::{Connection, params};
use plan::{Manifest, Preimage};

use crate::error::{Error, Warning, while_doing};
use crate::journal::{self, Position};
use crate::rows::{OF_ARTIFACTS, OF_RUNS, Rows, Run};

/// Journal bytes after which a transaction is committed, so that a first reading of a large store need not fit in memory.
const BATCH: u64 = 64 << 20;

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Rows added.
    pub rows: u64,
    /// Lines and files left out this time; the view `warnings` keeps those of all times.
    pub warnings: Vec<Warning>,
}

struct Known {
    path: String,
    position: Position,
    seen_ms: Option<u64>,
    run: Run,
}

/// Reads what is new; see [`Lineage::sync`](crate::Lineage::sync).
pub(crate) fn sync(
    connection: &Connection,
    journals: &[(String, PathBuf)],
    manifests: &mut dyn Iterator<Item = (Manifest, Preimage)>,
) -> Result<Report, Error> {
    let mut known = known(connection)?;
    let mut transaction = Transaction::begin(connection)?;
    let mut report = Report::default();
    let listed: BTreeSet<&str> = journals.iter().map(|(run, _)| run.as_str()).collect();
    for run in known.keys().filter(|run| !listed.contains(run.as_str())) {
        forget(connection, &OF_RUNS, "run", run)?;
    }
    known.retain(|run, _| listed.contains(run.as_str()));
    let mut rows = Rows::new(connection)?;
    let mut read = 0;
    for (run, path) in journals {
        match one_journal(connection, &mut rows, run, path, known.remove(run), &mut report.warnings) {
            Ok(bytes) => read += bytes,
            // A journal that cannot be read hides no other one.
            Err(Error::Io(error)) => {
                report.warnings.push(Warning { path: path.clone(), line: 0, text: error.to_string() });
            }
            Err(error) => return Err(error),
        }
        if read > BATCH {
            rows.flush()?;
            transaction.commit()?;
            transaction = Transaction::begin(connection)?;
            read = 0;
        }
    }
    let mut committed = committed(connection)?;
    for (manifest, preimage) in manifests {
        let (key, finished_ms) = (manifest.key.to_string(), manifest.provenance.finished_ms);
        let before = committed.insert(key.clone(), finished_ms);
        if before == Some(finished_ms) {
            continue;
        }
        if before.is_some() {
            rows.flush()?;
            forget(connection, &OF_ARTIFACTS, "key", &key)?;
        }
        rows.artifact(&manifest, &preimage)?;
    }
    rows.flush()?;
    report.rows = rows.added();
    drop(rows);
    transaction.commit()?;
    Ok(report)
}

/// Reads one journal and returns how many bytes were new.
fn one_journal(
    connection: &Connection,
    rows: &mut Rows<'_>,
    run: &str,
    path: &Path,
    known: Option<Known>,
    warnings: &mut Vec<Warning>,
) -> Result<u64, Error> {
    let shown = path.display().to_string();
    let length = fs_err::metadata(path)?.len();
    let (mut position, mut seen_ms) = (Position::default(), None);
    let mut told = Run { name: run.to_owned(), ..Run::default() };
    if let Some(known) = known {
        let same_place = known.path == shown;
        if same_place && length == known.position.bytes {
            return Ok(0);
        }
        if journal::continues(path, &known.position)? {
            (position, seen_ms, told) = (known.position, known.seen_ms, known.run);
            told.steps = steps(connection, run)?;
            forget(connection, &["journals"], "run", run)?;
        } else {
            forget(connection, &OF_RUNS, "run", run)?;
        }
    }
    let start = position.bytes;
    let outcome = journal::read(path, &mut position, |line, record| -> Result<(), Error> {
        let complaint = match record {
            Ok(record) => {
                seen_ms = seen_ms.max(Some(record.time_ms));
                rows.record(&mut told, &record)?.err()
            }
            Err(text) => Some(text),
        };
        if let Some(text) = complaint {
            rows.warning(run, &shown, line, &text)?;
            warnings.push(Warning { path: path.to_owned(), line, text });
        }
        Ok(())
    });
    // Even when reading stopped half way: the rows of the lines read are there, and so must be the position.
    rows.journal(run, &shown, &position, seen_ms)?;
    outcome?;
    Ok(position.bytes - start)
}

fn known(connection: &Connection) -> Result<BTreeMap<String, Known>, Error> {
    let failed = while_doing("reading how far the journals were read");
    let sql = "SELECT run, path, bytes, lines, head, epoch_ms(seen), run IN (SELECT run FROM raw.runs),
        run IN (SELECT run FROM raw.run_ends) FROM raw.journals";
    let mut statement = connection.prepare(sql).map_err(&failed)?;
    let rows = statement.query_map([], |row| {
        let position = Position { bytes: row.get::<_, i64>(2)? as u64, lines: row.get::<_, i64>(3)? as u64, head: row.get(4)? };
        let seen_ms = row.get::<_, Option<i64>>(5)?.map(|time| time as u64);
        let name: String = row.get(0)?;
        let run = Run { name: name.clone(), started: row.get(6)?, ended: row.get(7)?, steps: Vec::new() };
        Ok((name, Known { path: row.get(1)?, position, seen_ms, run }))
    });
    rows.and_then(Iterator::collect).map_err(&failed)
}

/// Name and kind of a run's steps, in plan order.
fn steps(connection: &Connection, run: &str) -> Result<Vec<(String, String)>, Error> {
    let failed = while_doing("reading the steps of a run");
    let sql = "SELECT name, kind FROM raw.steps WHERE run = ? ORDER BY step";
    let mut statement = connection.prepare(sql).map_err(&failed)?;
    let rows = statement.query_map(params![run], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.and_then(Iterator::collect).map_err(&failed)
}

/// Keys of the artifacts that the tables hold, with the time in milliseconds at which each was committed.
pub(crate) fn committed(connection: &Connection) -> Result<BTreeMap<String, u64>, Error> {
    let failed = while_doing("listing artifacts");
    let mut statement = connection.prepare("SELECT key, epoch_ms(finished) FROM raw.artifacts").map_err(&failed)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)));
    rows.and_then(Iterator::collect).map_err(&failed)
}

fn forget(connection: &Connection, tables: &[&str], column: &str, value: &str) -> Result<(), Error> {
    for table in tables {
        let sql = format!("DELETE FROM raw.{table} WHERE {column} = ?");
        connection.execute(&sql, params![value]).map_err(while_doing("forgetting what is gone"))?;
    }
    Ok(())
}

/// A transaction that is rolled back unless it is committed.
struct Transaction<'c> {
    connection: &'c Connection,
    open: bool,
}

impl<'c> Transaction<'c> {
    fn begin(connection: &'c Connection) -> Result<Self, Error> {
        connection.execute_batch("BEGIN TRANSACTION").map_err(while_doing("beginning a transaction"))?;
        Ok(Self { connection, open: true })
    }

    fn commit(mut self) -> Result<(), Error> {
        self.open = false;
        self.connection.execute_batch("COMMIT").map_err(while_doing("committing"))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // The error that led here is the one to tell.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}
