//! Documents as the lines they are stored in, for operations that look at the text and pass most lines on unread.
//! Knows the format of a line; does not know what is asked of it.
//!
//! A line that stays as it is keeps its bytes, and no field but those asked for is decoded.

use super::{LineBatch, Totals, compress, open_lines};
use crate::error::DataError;
use crate::observe::{Observer, check};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Uncompressed bytes after which a part is closed. Parts are compressed beside each other, so they are smaller than those of
/// [`DocumentWriter`](super::DocumentWriter), which compresses one after another.
const PART_BYTES: usize = 16 << 20;

/// Parts that may wait to be compressed; each holds up to [`PART_BYTES`].
const MOST_WAITING: usize = 8;

/// What most operations read of a line.
#[derive(Debug, Deserialize)]
pub(crate) struct Row<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) text: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) source: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) added: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) created: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) metadata: Option<&'a RawValue>,
}

impl Row<'_> {
    /// A field beside id, text and metadata.
    pub(crate) fn other(&self, name: &str) -> Option<&str> {
        let found = match name {
            "source" => &self.source,
            "added" => &self.added,
            "created" => &self.created,
            _ => return None,
        };
        found.as_deref().filter(|value| !value.is_empty())
    }
}

/// Decodes a line as `T`; what is wrong names file and line.
pub(crate) fn decode<'a, T: Deserialize<'a>>(batch: &'a LineBatch, number: u64, line: &'a [u8]) -> Result<T, DataError> {
    serde_json::from_slice(line).map_err(|error| DataError::Line {
        path: batch.path.clone(),
        line: number,
        message: format!("not a document: {}", error.to_string().replace(" at line 1 column ", " at column ")),
    })
}

/// Decodes all lines of a batch in parallel; the error is that of the first bad line.
pub(crate) fn decode_all<'a, T: Deserialize<'a> + Send>(batch: &'a LineBatch) -> Result<Vec<T>, DataError> {
    let decoded: Vec<Result<T, DataError>> = batch.lines().map(|(number, line)| decode(batch, number, line)).collect();
    decoded.into_iter().collect()
}

/// Calls `each` with batches of lines of all files of a directory, in order; a line that cannot be read is an error.
pub(crate) fn for_each_lines(
    input: &Path,
    observer: &dyn Observer,
    mut each: impl FnMut(&LineBatch) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut reader = open_lines(input)?;
    while let Some(batch) = reader.next() {
        check(observer)?;
        each(&batch?.strict()?)?;
        let (done, total) = reader.position();
        observer.progress(done, Some(total));
    }
    check(observer)
}

/// Writes lines as `part-NNNNN.jsonl.zst`, each one zstandard frame; the cut is decided by the lines alone.
#[derive(Debug)]
pub(crate) struct LineWriter {
    dir: PathBuf,
    parts: u32,
    buffer: Vec<u8>,
    totals: Totals,
    waiting: std::collections::VecDeque<JoinHandle<std::io::Result<()>>>,
}

impl LineWriter {
    /// Starts an artifact in `dir`, which is created when it does not exist.
    pub(crate) fn create(dir: &Path) -> Result<LineWriter, DataError> {
        fs_err::create_dir_all(dir)?;
        let waiting = std::collections::VecDeque::new();
        Ok(LineWriter { dir: dir.to_path_buf(), parts: 0, buffer: Vec::new(), totals: Totals::default(), waiting })
    }

    /// Adds one document: its line, with or without its newline, and the bytes of its text.
    pub(crate) fn push(&mut self, line: &[u8], text_bytes: usize) -> Result<(), DataError> {
        self.totals += Totals { documents: 1, bytes: text_bytes as u64 };
        self.buffer.extend_from_slice(line.trim_ascii_end());
        self.buffer.push(b'\n');
        if self.buffer.len() >= PART_BYTES { self.close_part() } else { Ok(()) }
    }

    /// Writes what is left and returns how much was written in all.
    pub(crate) fn finish(mut self) -> Result<Totals, DataError> {
        if !self.buffer.is_empty() || self.parts == 0 {
            self.close_part()?;
        }
        self.wait(0)?;
        Ok(self.totals)
    }

    fn close_part(&mut self) -> Result<(), DataError> {
        let path = self.dir.join(format!("part-{:05}.jsonl.zst", self.parts));
        self.parts += 1;
        let lines = std::mem::take(&mut self.buffer);
        let write = move || fs_err::write(path, compress(&lines)?);
        let threads = rayon::current_num_threads();
        if threads == 1 {
            write()?;
        } else {
            self.buffer.reserve(PART_BYTES);
            self.waiting.push_back(std::thread::spawn(write));
            self.wait(threads.min(MOST_WAITING))?;
        }
        Ok(())
    }

    /// Waits until at most `most` parts are being compressed.
    fn wait(&mut self, most: usize) -> Result<(), DataError> {
        while self.waiting.len() > most {
            if let Some(part) = self.waiting.pop_front() {
                part.join().map_err(|_| std::io::Error::other("compressing a part failed"))??;
            }
        }
        Ok(())
    }
}

/// What becomes of a line.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Goes on as it is.
    Keep,
    /// Is left out.
    Drop,
    /// Is replaced: the new line, and the bytes of its text.
    Change(Vec<u8>, usize),
}

/// Decides about every line of a batch in parallel and writes what stays; `text_bytes` of a line that is kept comes from `row`.
pub(crate) fn write_lines<T: Sync>(
    writer: &mut LineWriter,
    batch: &LineBatch,
    rows: &[T],
    text_bytes: impl Fn(&T) -> usize,
    decide: impl Fn(usize, &T, u64, &[u8]) -> Result<Fate, DataError> + Sync,
) -> Result<(), DataError> {
    let fates: Vec<Result<Fate, DataError>> =
        batch.lines().enumerate().map(|(index, (number, line))| decide(index, &rows[index], number, line)).collect();
    for (index, fate) in fates.into_iter().enumerate() {
        match fate? {
            Fate::Keep => writer.push(batch.line(index), text_bytes(&rows[index]))?,
            Fate::Drop => {}
            Fate::Change(line, bytes) => writer.push(&line, bytes)?,
        }
    }
    Ok(())
}
