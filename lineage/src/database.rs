//! Opening the database file: waiting for other processes, setting damaged or outdated files aside, falling back to memory, and
//! creating the schema. It does not know what the rows mean.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use duckdb::{Config, Connection};

use crate::error::{Error, Notice, message, while_doing};

const TABLES: &str = include_str!("tables.sql");
pub(crate) const VIEWS: &str = include_str!("views.sql");

/// Raised when rows are made in another way from the same journals; a change of the SQL is noticed by itself.
const ROWS_VERSION: u32 = 1;

/// How long to wait between two attempts to open a file that another process has.
const PAUSE: Duration = Duration::from_millis(100);

// File locks are per process, so DuckDB would let one process open a file twice and damage it.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The right of this process to have a database file open.
#[derive(Debug)]
struct Held(PathBuf);

impl Held {
    fn take(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut open = OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.insert(path.clone()).then(|| Self(path))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        OPEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.0);
    }
}

/// An open database with its schema in place; the connection closes before the hold on the file ends.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) connection: Connection,
    held: Option<Held>,
}

impl Database {
    /// An empty database in memory.
    pub(crate) fn in_memory() -> Result<Self, Error> {
        let failed = while_doing("opening it in memory");
        let connection = config().and_then(Connection::open_in_memory_with_flags).map_err(failed)?;
        create(&connection)?;
        Ok(Self { connection, held: None })
    }

    /// The database at `path`, or one in its place; `wait` is how long another process may keep it.
    pub(crate) fn open(path: &Path, wait: Duration) -> Result<(Self, Vec<Notice>), Error> {
        let mut attempts = 1 + wait.as_millis() / PAUSE.as_millis();
        if let Some(folder) = path.parent() {
            // A folder that cannot be made shows below as a database that cannot be opened.
            let _ = fs_err::create_dir_all(folder);
        }
        let mut notices = Vec::new();
        loop {
            match attempt(path) {
                Attempt::Opened(database) => return Ok((database, notices)),
                Attempt::Locked if attempts > 1 => {
                    attempts -= 1;
                    std::thread::sleep(PAUSE);
                }
                Attempt::Locked => notices.push(Notice::Locked { path: path.to_owned() }),
                Attempt::Unwritable(text) => notices.push(Notice::Unwritable { path: path.to_owned(), text }),
                // A fresh file that does not open either is not a matter of what was in it.
                Attempt::Damaged(text) if !notices.is_empty() => {
                    notices.push(Notice::Unwritable { path: path.to_owned(), text });
                }
                Attempt::Damaged(text) => match set_aside(path) {
                    Ok(aside) => notices.push(Notice::Damaged { aside, text }),
                    Err(error) => {
                        notices.push(Notice::Unwritable { path: path.to_owned(), text: format!("{text}; {error}") });
                    }
                },
                Attempt::OtherSchema => match set_aside(path) {
                    Ok(aside) => notices.push(Notice::OtherSchema { aside }),
                    Err(error) => notices.push(Notice::Unwritable { path: path.to_owned(), text: error.to_string() }),
                },
            }
            if matches!(notices.last(), Some(Notice::Locked { .. } | Notice::Unwritable { .. })) {
                return Ok((Self::in_memory()?, notices));
            }
        }
    }

    /// The file, unless it is in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.held.as_ref().map(|held| held.0.as_path())
    }
}

/// Deletes a database file and its log; nothing is lost, for it is derived.
pub(crate) fn delete(path: &Path) -> std::io::Result<()> {
    for file in [path.to_owned(), with_suffix(path, ".wal")] {
        match fs_err::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

enum Attempt {
    Opened(Database),
    Locked,
    Unwritable(String),
    Damaged(String),
    OtherSchema,
}

fn attempt(path: &Path) -> Attempt {
    let Some(held) = Held::take(path) else { return Attempt::Locked };
    let connection = match config().and_then(|config| Connection::open_with_flags(path, config)) {
        Ok(connection) => connection,
        Err(error) => {
            let text = message(error);
            return if text.contains("Could not set lock on file") {
                Attempt::Locked
            } else if ["Permission denied", "Read-only file system", "No such file or directory", "Is a directory"]
                .iter()
                .any(|cause| text.contains(cause))
            {
                Attempt::Unwritable(text)
            } else {
                Attempt::Damaged(text)
            };
        }
    };
    let tables = "SELECT count(*) FROM duckdb_tables() WHERE NOT internal";
    match connection.query_row(tables, [], |row| row.get::<_, i64>(0)) {
        Ok(0) => match create(&connection) {
            Ok(()) => {}
            Err(error) => return Attempt::Damaged(error.to_string()),
        },
        Ok(_) => match connection.query_row("SELECT version FROM raw.meta", [], |row| row.get::<_, String>(0)) {
            Ok(found) if found == version() => {}
            _ => return Attempt::OtherSchema,
        },
        Err(error) => return Attempt::Damaged(message(error)),
    }
    Attempt::Opened(Database { connection, held: Some(held) })
}

/// No extension is fetched behind the user's back, so answers do not depend on a network. One thread, so that `last(value)` is
/// the last value and a sum of floating-point numbers the same each time.
fn config() -> duckdb::Result<Config> {
    Config::default().enable_autoload_extension(false)?.with("autoinstall_known_extensions", "false")?.threads(1)
}

fn create(connection: &Connection) -> Result<(), Error> {
    let sql = format!("BEGIN TRANSACTION; {TABLES}\n{VIEWS}\nINSERT INTO raw.meta VALUES ('{}'); COMMIT;", version());
    connection.execute_batch(&sql).map_err(while_doing("creating its schema"))
}

/// Names everything that decides the rows of a database, given the journals.
fn version() -> String {
    let mut hasher = plan::Hasher::new("workbench lineage");
    hasher.field(TABLES.as_bytes()).field(VIEWS.as_bytes()).field(&ROWS_VERSION.to_le_bytes());
    plan::Digest::from_bytes(hasher.finish()).to_string()
}

fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = with_suffix(path, ".aside");
    delete(&aside)?;
    match fs_err::rename(with_suffix(path, ".wal"), with_suffix(&aside, ".wal")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs_err::rename(path, &aside)?;
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
