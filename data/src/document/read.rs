//! Reads the documents of an artifact, in a fixed order and in bounded memory.
//! Does not know what becomes of the documents; parsing of a batch is parallel, its order is the file's.

use super::Document;
use super::lines::{InputFile, LineBatch, LineReader};
use crate::error::DataError;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Some consecutive documents of one file.
#[derive(Debug)]
pub struct Batch {
    /// The file, relative to the directory that is read, with `/` between the parts.
    pub file: Arc<str>,
    /// Line number (from 1) of each document.
    pub lines: Vec<u64>,
    /// The documents.
    pub documents: Vec<Document>,
}

/// Iterates over the documents of a directory, batch by batch, in the order of sorted file names and of lines.
#[derive(Debug)]
pub struct DocumentReader {
    lines: LineReader,
}

/// Opens all document files of a directory (or a single file).
///
/// Fails with [`DataError::Nothing`] when there are none.
pub fn read_documents(dir: &Path) -> Result<DocumentReader, DataError> {
    read_document_files(named(dir, document_files(dir)?))
}

/// Opens files of documents, in the order given.
pub(crate) fn read_document_files(files: Vec<InputFile>) -> Result<DocumentReader, DataError> {
    Ok(DocumentReader { lines: LineReader::open(files, usize::MAX)? })
}

impl DocumentReader {
    /// Bytes of the stored (compressed) files taken in so far, and in all.
    pub fn position(&self) -> (u64, u64) {
        self.lines.position()
    }
}

impl Iterator for DocumentReader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.lines.next()?.and_then(LineBatch::strict) {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let parsed: Vec<Result<Document, DataError>> = batch
            .lines()
            .map(|(number, line)| {
                serde_json::from_slice::<Document>(line).map_err(|error| DataError::Line {
                    path: batch.path.clone(),
                    line: number,
                    message: format!("not a document: {}", without_line(&error)),
                })
            })
            .collect();
        // Gathered one after another, so that the error is that of the first bad line whatever thread met it first.
        let documents = match parsed.into_iter().collect() {
            Ok(documents) => documents,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Batch { file: batch.file, lines: batch.numbers, documents }))
    }
}

/// The message of a JSON error without its own line number, which is always 1 here.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// All document files under `dir` (`.jsonl` or `.json`, plain or with `.gz`, `.zst`, `.zstd`), sorted by path; or `dir` itself when
/// it is such a file.
pub fn document_files(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    if dir.is_file() {
        files.push(dir.to_path_buf());
    } else {
        collect(dir, &mut files)?;
        files.sort();
    }
    if files.is_empty() {
        return Err(DataError::Nothing {
            what: "document files (`*.jsonl`, `*.jsonl.gz`, `*.jsonl.zst`)",
            path: dir.to_path_buf(),
        });
    }
    Ok(files)
}

/// The lines of all document files of a directory, or of a file. Lines that cannot be read come as faults; [`LineBatch::strict`]
/// makes errors of them.
pub(crate) fn open_lines(dir: &Path) -> Result<LineReader, DataError> {
    LineReader::open(named(dir, document_files(dir)?), usize::MAX)
}

/// Files with their names below a directory.
pub(crate) fn named(base: &Path, files: Vec<PathBuf>) -> Vec<InputFile> {
    files.into_iter().map(|path| InputFile { name: relative_name(base, &path), path }).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if is_jsonl(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether a name is that of a JSON-lines file, possibly compressed.
fn is_jsonl(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let stem = [".gz", ".zst", ".zstd"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    stem.ends_with(".jsonl") || stem.ends_with(".json")
}

/// `path` below `base`, with `/` between the parts, so that an artifact never names a place of this machine.
pub(crate) fn relative_name(base: &Path, path: &Path) -> String {
    let relative = match path.strip_prefix(base) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest,
        _ => path.file_name().map(Path::new).unwrap_or(path),
    };
    let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}
