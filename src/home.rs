//! The folder a project keeps its store, runs and lineage in, and how runs are found there. It does not know what a run holds.

use std::path::{Path, PathBuf};

use fs_err as fs;

/// A project's folder: `.workbench` unless the user says otherwise.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// The home at a path; nothing is created yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where artifacts are kept.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The derived database.
    pub fn database(&self) -> PathBuf {
        self.0.join("lineage.duckdb")
    }

    /// Opens the store, creating it if needed.
    ///
    /// # Errors
    /// If the folder cannot be made or is of another format.
    pub fn open_store(&self) -> Result<cache::Store, cache::StoreError> {
        cache::Store::open(self.store())
    }

    /// The journal of a run.
    pub fn journal(&self, run: &str) -> PathBuf {
        self.run_folder(run).join("journal.jsonl")
    }

    /// The folder of a run.
    pub fn run_folder(&self, run: &str) -> PathBuf {
        self.runs_dir().join(run)
    }

    fn runs_dir(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// Takes the next free name `stem-1`, `stem-2`, ... and makes its folder.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new_run(&self, stem: &str) -> std::io::Result<String> {
        fs::create_dir_all(self.runs_dir())?;
        let taken = self.runs()?.iter().filter_map(|run| run.strip_prefix(stem)?.strip_prefix('-')?.parse::<u64>().ok()).max();
        let mut number = taken.unwrap_or(0) + 1;
        loop {
            let run = format!("{stem}-{number}");
            match std::fs::create_dir(self.runs_dir().join(&run)) {
                Ok(()) => return Ok(run),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Names of all runs, oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn runs(&self) -> std::io::Result<Vec<String>> {
        let Ok(entries) = std::fs::read_dir(self.runs_dir()) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A journal's first line is written at once: its folder's age is the run's.
            if entry.file_type()?.is_dir() {
                let age = entry.metadata()?.created().or_else(|_| entry.metadata().and_then(|meta| meta.modified()))?;
                found.push((age, entry.file_name().to_string_lossy().into_owned()));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }
}
