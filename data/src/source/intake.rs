//! What happens to rows that are no documents, and to ids that come twice, in every source of documents.
//! Knows rows that were read or could not be; not the format they were read from.

use crate::document::{Document, DocumentWriter, Fault, InputFile, Totals};
use crate::error::DataError;
use crate::hash::{Prehashed, content};
use crate::observe::Observer;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The file of an artifact that holds rows set aside: one JSON object a line with `file`, `line`, `reason`, and the row as `text`, or as
/// `hex` where it is not UTF-8. Its name is not that of a document file.
pub const QUARANTINE: &str = "quarantine.ndjson";

/// Faults that are told one by one; all are counted.
const SHOWN: u64 = 5;

/// Bytes of a row that go to the quarantine.
const QUARANTINED_BYTES: usize = 64 << 10;

/// What is done with a row that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBad {
    /// The import fails and names file and line.
    #[default]
    Stop,
    /// It is left out and counted.
    Skip,
    /// It is left out, counted, and kept in [`QUARANTINE`].
    Quarantine,
}

/// What is done with a row whose id came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// It stays; ids are not looked at, and take no memory.
    #[default]
    Keep,
    /// It stays and is counted.
    Count,
    /// It gets `#2`, `#3` ... appended to its id.
    Rename,
    /// It is left out.
    Drop,
    /// The import fails and names file and line.
    Stop,
}

/// How carefully rows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Care {
    /// Rows that cannot be read.
    pub on_bad: OnBad,
    /// Ids that came before. Other than [`Duplicates::Keep`], it takes some 40 bytes of memory an id.
    pub duplicate_ids: Duplicates,
    /// Longer lines are bad rows, and never held in memory.
    pub max_line_bytes: usize,
}

impl Default for Care {
    fn default() -> Care {
        Care { on_bad: OnBad::default(), duplicate_ids: Duplicates::default(), max_line_bytes: 256 << 20 }
    }
}

/// What came of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Documents written.
    pub kept: Totals,
    /// Rows that could not be read.
    pub bad: u64,
    /// Rows whose id came before; 0 when ids are not looked at.
    pub duplicate_ids: u64,
}

/// Takes rows in their order and writes the documents among them.
pub(crate) struct Intake<'a> {
    dir: PathBuf,
    care: Care,
    observer: &'a dyn Observer,
    writer: DocumentWriter,
    /// By hash of an id, the number that the next of its kind gets.
    seen: HashMap<u128, u32, BuildHasherDefault<Prehashed>>,
    quarantine: Option<BufWriter<fs_err::File>>,
    bad: u64,
    duplicate_ids: u64,
}

#[derive(Serialize)]
struct SetAside<'a> {
    file: &'a str,
    line: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl<'a> Intake<'a> {
    pub(crate) fn create(output: &Path, care: Care, observer: &'a dyn Observer) -> Result<Intake<'a>, DataError> {
        let writer = DocumentWriter::create(output)?;
        let (dir, seen) = (output.to_path_buf(), HashMap::default());
        Ok(Intake { dir, care, observer, writer, seen, quarantine: None, bad: 0, duplicate_ids: 0 })
    }

    /// Takes rows of one file, each with its line or row number, documents and faults merged in the order of their numbers.
    pub(crate) fn take(&mut self, file: &InputFile, rows: Vec<(u64, Document)>, mut faults: Vec<Fault>) -> Result<(), DataError> {
        faults.sort_by_key(|fault| fault.line);
        let mut faults = faults.into_iter().peekable();
        let mut documents = Vec::with_capacity(rows.len());
        for (line, document) in rows {
            while let Some(fault) = faults.next_if(|fault| fault.line <= line) {
                self.bad(file, fault)?;
            }
            if let Some(document) = self.admit(file, line, document)? {
                documents.push(document);
            }
        }
        for fault in faults {
            self.bad(file, fault)?;
        }
        self.writer.write(&documents)
    }

    fn admit(&mut self, file: &InputFile, line: u64, mut document: Document) -> Result<Option<Document>, DataError> {
        if self.care.duplicate_ids == Duplicates::Keep {
            return Ok(Some(document));
        }
        let Some(next) = self.seen.insert(content(document.id.as_bytes()), 2) else { return Ok(Some(document)) };
        self.seen.insert(content(document.id.as_bytes()), next);
        self.duplicate_ids += 1;
        if self.duplicate_ids <= SHOWN {
            self.observer.note(&format!("{}:{line}: the id `{}` came before", file.name, document.id));
        }
        match self.care.duplicate_ids {
            Duplicates::Keep | Duplicates::Count => Ok(Some(document)),
            Duplicates::Drop => Ok(None),
            Duplicates::Stop => {
                let message = format!("the id `{}` came before; duplicate_ids can keep, rename or drop such rows", document.id);
                Err(DataError::Line { path: file.path.clone(), line, message })
            }
            Duplicates::Rename => {
                let mut number = next;
                let renamed = loop {
                    let candidate = format!("{}#{number}", document.id);
                    number += 1;
                    if let std::collections::hash_map::Entry::Vacant(free) = self.seen.entry(content(candidate.as_bytes())) {
                        free.insert(2);
                        break candidate;
                    }
                };
                self.seen.insert(content(document.id.as_bytes()), number);
                document.id = renamed;
                Ok(Some(document))
            }
        }
    }

    fn bad(&mut self, file: &InputFile, fault: Fault) -> Result<(), DataError> {
        if self.care.on_bad == OnBad::Stop {
            return Err(DataError::Line { path: file.path.clone(), line: fault.line, message: fault.message });
        }
        self.bad += 1;
        match self.bad {
            ..=SHOWN => self.observer.note(&format!("{}:{}: {}", file.name, fault.line, fault.message)),
            n if n == SHOWN + 1 => self.observer.note("more rows cannot be read; they are counted"),
            _ => {}
        }
        if self.care.on_bad == OnBad::Quarantine {
            let file_out = match &mut self.quarantine {
                Some(file_out) => file_out,
                None => self.quarantine.insert(BufWriter::new(fs_err::File::create(self.dir.join(QUARANTINE))?)),
            };
            let bytes = &fault.bytes[..fault.bytes.len().min(QUARANTINED_BYTES)];
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes).ok();
            let hex = text.is_none().then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
            let row = SetAside { file: &file.name, line: fault.line, reason: &fault.message, text, hex };
            serde_json::to_writer(&mut *file_out, &row).map_err(std::io::Error::from)?;
            file_out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Closes the artifact.
    pub(crate) fn finish(self) -> Result<Imported, DataError> {
        if let Some(mut file) = self.quarantine {
            file.flush()?;
        }
        let imported = Imported { kept: self.writer.finish()?, bad: self.bad, duplicate_ids: self.duplicate_ids };
        if imported.bad > 0 {
            self.observer.note(&format!("{} rows could not be read and are left out", imported.bad));
        }
        if imported.duplicate_ids > SHOWN {
            self.observer.note(&format!("{} rows have an id that came before", imported.duplicate_ids));
        }
        if imported.kept.documents == 0 {
            self.observer.note("there is no document in these files");
        }
        self.observer.metric("documents", imported.kept.documents as f64);
        Ok(imported)
    }
}
