//! Journals made of records, read in pieces, damaged, unfinished; and what the views then say.

mod ask;
mod ingest;
mod open;
mod story;

use std::path::{Path, PathBuf};

use plan::{Event, Manifest, Preimage, Record};

use crate::{Format, Lineage, Table};

/// A folder with journals.
struct Runs {
    folder: tempfile::TempDir,
    journals: Vec<(String, PathBuf)>,
}

impl Runs {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), journals: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the journal of a run, as bytes.
    fn write(&mut self, run: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(format!("{run}.jsonl"));
        fs_err::write(&path, bytes).unwrap();
        if !self.journals.iter().any(|(name, _)| name == run) {
            self.journals.push((run.to_owned(), path.clone()));
        }
        path
    }

    fn sync(&self, lineage: &mut Lineage) -> crate::Report {
        lineage.sync(&self.journals, &mut std::iter::empty()).unwrap()
    }
}

/// Journal lines of events, one a second from a fixed time.
fn lines(start_ms: u64, events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (seq, event) in events.iter().enumerate() {
        let record = Record { seq: seq as u64, time_ms: start_ms + 1000 * seq as u64, event: event.clone() };
        serde_json::to_writer(&mut bytes, &record).unwrap();
        bytes.push(b'\n');
    }
    bytes
}

/// All public views as text.
fn everything(lineage: &Lineage) -> String {
    let docs = lineage.describe().unwrap();
    let text = |name: &str| csv(&lineage.query(&format!("FROM {name} ORDER BY ALL")).unwrap());
    docs.views.iter().map(|view| format!("{}\n{}\n", view.name, text(&view.name))).collect()
}

fn csv(table: &Table) -> String {
    table.to_text(Format::Csv)
}

fn answer(lineage: &Lineage, sql: &str) -> String {
    csv(&lineage.query(sql).unwrap()).trim_end().replace('\n', " | ")
}

fn no_manifests() -> impl Iterator<Item = (Manifest, Preimage)> {
    std::iter::empty()
}
