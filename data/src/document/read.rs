//! Reads line-oriented files (plain, gzip, zstandard) and documents from them, in a fixed order and in bounded memory.
//! Does not know what becomes of the documents; parsing of a batch is parallel, its order is the file's.

use super::Document;
use crate::error::DataError;
use rayon::prelude::*;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of text after which a batch is closed; a batch holds at least one line.
const BATCH_BYTES: usize = 8 << 20;

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
    Ok(DocumentReader { lines: LineReader::open(dir, document_files(dir)?)? })
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
        let batch = match self.lines.next()? {
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

/// Opens a file and undoes the compression its extension names. `taken` counts stored bytes.
fn open_decoded(path: &Path, taken: &Arc<AtomicU64>) -> Result<Box<dyn BufRead + Send>, DataError> {
    let file = Counted { inner: fs_err::File::open(path)?, taken: taken.clone() };
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    Ok(match extension.as_str() {
        "gz" => Box::new(BufReader::with_capacity(1 << 16, flate2::read::MultiGzDecoder::new(BufReader::new(file)))),
        "zst" | "zstd" => {
            Box::new(BufReader::with_capacity(1 << 17, zstd::Decoder::new(file).map_err(|error| DataError::format(path, error))?))
        }
        _ => Box::new(BufReader::with_capacity(1 << 16, file)),
    })
}

struct Counted {
    inner: fs_err::File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Consecutive non-blank lines of one file.
#[derive(Debug)]
pub(crate) struct LineBatch {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<str>,
    pub(crate) numbers: Vec<u64>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl LineBatch {
    /// Line `index` of the batch.
    pub(crate) fn line(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// The lines with their numbers, in parallel and in order.
    pub(crate) fn lines(&self) -> impl IndexedParallelIterator<Item = (u64, &[u8])> {
        (0..self.numbers.len()).into_par_iter().map(|index| (self.numbers[index], self.line(index)))
    }
}

/// The file being read.
struct OpenFile {
    path: PathBuf,
    name: Arc<str>,
    reader: Box<dyn BufRead + Send>,
    /// Lines read so far.
    line: u64,
}

/// Reads batches of lines from a list of files.
pub(crate) struct LineReader {
    base: PathBuf,
    files: std::vec::IntoIter<PathBuf>,
    current: Option<OpenFile>,
    taken: Arc<AtomicU64>,
    total: u64,
}

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineReader").field("base", &self.base).field("total", &self.total).finish_non_exhaustive()
    }
}

impl LineReader {
    pub(crate) fn open(base: &Path, files: Vec<PathBuf>) -> Result<LineReader, DataError> {
        let mut total = 0;
        for file in &files {
            total += fs_err::metadata(file)?.len();
        }
        Ok(LineReader { base: base.to_path_buf(), files: files.into_iter(), current: None, taken: Arc::default(), total })
    }

    pub(crate) fn position(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed).min(self.total), self.total)
    }

    fn fill(&mut self) -> Result<Option<LineBatch>, DataError> {
        loop {
            if self.current.is_none() {
                let Some(path) = self.files.next() else { return Ok(None) };
                let name: Arc<str> = relative_name(&self.base, &path).into();
                let reader = open_decoded(&path, &self.taken)?;
                self.current = Some(OpenFile { path, name, reader, line: 0 });
            }
            let Some(open) = self.current.as_mut() else { continue };
            let mut batch = LineBatch {
                path: open.path.clone(),
                file: open.name.clone(),
                numbers: Vec::new(),
                bytes: Vec::new(),
                ends: Vec::new(),
            };
            let mut ended = false;
            while batch.bytes.len() < BATCH_BYTES {
                let start = batch.bytes.len();
                let n = open.reader.read_until(b'\n', &mut batch.bytes).map_err(|error| DataError::Line {
                    path: open.path.clone(),
                    line: open.line + 1,
                    message: error.to_string(),
                })?;
                if n == 0 {
                    ended = true;
                    break;
                }
                open.line += 1;
                if batch.bytes[start..].iter().all(u8::is_ascii_whitespace) {
                    batch.bytes.truncate(start);
                } else {
                    batch.numbers.push(open.line);
                    batch.ends.push(batch.bytes.len());
                }
            }
            if ended {
                self.current = None;
            }
            if !batch.numbers.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}

impl Iterator for LineReader {
    type Item = Result<LineBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fill().transpose()
    }
}
