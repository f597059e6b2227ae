//! Reads line-oriented files (plain, gzip, zstandard) in batches of lines, in a fixed order and in bounded memory.
//! Does not know what is on a line. What cannot be read is told line by line; whether that is fatal is the caller's affair.
//!
//! Held are at most two batches of [`BATCH_BYTES`] and, in each, one line of up to the limit: files are read and decompressed ahead
//! on a thread of their own while a batch is worked on.

use crate::error::DataError;
use rayon::prelude::*;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

/// Bytes of text after which a batch is closed; a batch holds at least one line.
const BATCH_BYTES: usize = 8 << 20;

/// Files smaller than this in all are read without a thread.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// Bytes that are kept of a line that is too long.
pub(crate) const KEPT_BYTES: usize = 64 << 10;

/// A file to read, and what it is called in ids and messages that must not depend on where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called: relative, with `/` between the parts.
    pub name: String,
}

/// Something that should have been a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) message: String,
    /// Its beginning; empty where the file itself gave out.
    pub(crate) bytes: Vec<u8>,
    /// Whether there was a line at all, as opposed to the end of a file that is cut short.
    pub(crate) is_line: bool,
}

/// Consecutive non-blank lines of one file, and what could not be read among them.
#[derive(Debug)]
pub(crate) struct LineBatch {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<str>,
    pub(crate) numbers: Vec<u64>,
    pub(crate) faults: Vec<Fault>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl LineBatch {
    /// The lines with their numbers, in parallel and in order.
    pub(crate) fn lines(&self) -> impl IndexedParallelIterator<Item = (u64, &[u8])> {
        (0..self.numbers.len()).into_par_iter().map(|i| (self.numbers[i], self.line(i)))
    }

    /// The line of an index into `numbers`.
    pub(crate) fn line(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    /// The first fault as an error.
    pub(crate) fn strict(self) -> Result<LineBatch, DataError> {
        match self.faults.first() {
            None => Ok(self),
            Some(fault) => Err(DataError::Line { path: self.path, line: fault.line, message: fault.message.clone() }),
        }
    }
}

/// Reads batches of lines from a list of files.
pub(crate) struct LineReader {
    feed: Feed,
    taken: Arc<AtomicU64>,
    total: u64,
}

enum Feed {
    Here(Lines),
    Ahead(Receiver<Result<LineBatch, DataError>>),
}

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineReader").field("total", &self.total).finish_non_exhaustive()
    }
}

impl LineReader {
    /// Opens files; lines of more than `max_line_bytes` are faults.
    pub(crate) fn open(files: Vec<InputFile>, max_line_bytes: usize) -> Result<LineReader, DataError> {
        let mut total = 0;
        for file in &files {
            total += fs_err::metadata(&file.path)?.len();
        }
        let taken: Arc<AtomicU64> = Arc::default();
        let mut lines = Lines { files: files.into_iter(), current: None, taken: taken.clone(), max_line_bytes };
        if total < READ_AHEAD_BYTES {
            return Ok(LineReader { feed: Feed::Here(lines), taken, total });
        }
        let (sender, receiver) = sync_channel(1);
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || {
            // Nobody listens any more once the reader is dropped.
            while let Some(batch) = lines.fill().transpose() {
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    break;
                }
            }
        })?;
        Ok(LineReader { feed: Feed::Ahead(receiver), taken, total })
    }

    /// Bytes of the stored (compressed) files taken in so far, and in all.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed).min(self.total), self.total)
    }
}

impl Iterator for LineReader {
    type Item = Result<LineBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.feed {
            Feed::Here(lines) => lines.fill().transpose(),
            Feed::Ahead(receiver) => receiver.recv().ok(),
        }
    }
}

/// The file being read.
struct OpenFile {
    file: InputFile,
    name: Arc<str>,
    reader: Box<dyn BufRead + Send>,
    /// Lines read so far.
    line: u64,
}

struct Lines {
    files: std::vec::IntoIter<InputFile>,
    current: Option<OpenFile>,
    taken: Arc<AtomicU64>,
    max_line_bytes: usize,
}

impl Lines {
    fn fill(&mut self) -> Result<Option<LineBatch>, DataError> {
        loop {
            if self.current.is_none() {
                let Some(file) = self.files.next() else { return Ok(None) };
                let reader = open_decoded(&file.path, &self.taken)?;
                self.current = Some(OpenFile { name: file.name.as_str().into(), file, reader, line: 0 });
            }
            let Some(open) = self.current.as_mut() else { continue };
            let mut batch = LineBatch {
                path: open.file.path.clone(),
                file: open.name.clone(),
                numbers: Vec::new(),
                faults: Vec::new(),
                bytes: Vec::new(),
                ends: Vec::new(),
            };
            if !open.batch(&mut batch, self.max_line_bytes)? {
                self.current = None;
            }
            if !batch.numbers.is_empty() || !batch.faults.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}

impl OpenFile {
    /// Fills a batch; false when the file has ended.
    fn batch(&mut self, batch: &mut LineBatch, limit: usize) -> Result<bool, DataError> {
        while batch.bytes.len() < BATCH_BYTES {
            let start = batch.bytes.len();
            let length = match read_line(&mut *self.reader, &mut batch.bytes, limit) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                // The device failed, not the format.
                Err(error) if error.raw_os_error().is_some() => return Err(error.into()),
                Err(error) => {
                    batch.bytes.truncate(start);
                    let message = format!("the file cannot be read on from here: {error}");
                    batch.faults.push(Fault { line: self.line + 1, message, bytes: Vec::new(), is_line: false });
                    return Ok(false);
                }
            };
            self.line += 1;
            if self.line == 1 && batch.bytes[start..].starts_with(b"\xef\xbb\xbf") {
                batch.bytes.drain(start..start + 3);
            }
            if length > limit as u64 {
                let bytes = batch.bytes.split_off(start);
                let message = format!(
                    "the line has {length} bytes, more than the {limit} allowed; raise max_line_bytes if that is no mistake"
                );
                batch.faults.push(Fault { line: self.line, message, bytes, is_line: true });
            } else if batch.bytes[start..].iter().all(u8::is_ascii_whitespace) {
                batch.bytes.truncate(start);
            } else {
                batch.numbers.push(self.line);
                batch.ends.push(batch.bytes.len());
            }
        }
        Ok(true)
    }
}

/// Appends a line with its end and returns its length; of a line longer than `limit` only the beginning is kept.
fn read_line(reader: &mut dyn BufRead, into: &mut Vec<u8>, limit: usize) -> std::io::Result<u64> {
    let start = into.len();
    let mut length = 0u64;
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let (taken, ended) = match memchr::memchr(b'\n', available) {
            Some(at) => (at + 1, true),
            None => (available.len(), available.is_empty()),
        };
        length += taken as u64;
        if length > limit as u64 {
            if into.len() - start < KEPT_BYTES {
                into.extend_from_slice(&available[..taken.min(KEPT_BYTES)]);
            }
            into.truncate(start + KEPT_BYTES.min(limit));
        } else {
            into.extend_from_slice(&available[..taken]);
        }
        reader.consume(taken);
        if ended {
            return Ok(length);
        }
    }
}

/// Opens a file and undoes the compression its extension names. `taken` counts stored bytes.
pub(crate) fn open_decoded(path: &Path, taken: &Arc<AtomicU64>) -> Result<Box<dyn BufRead + Send>, DataError> {
    let file = Counted { inner: fs_err::File::open(path)?.into_parts().0, taken: taken.clone() };
    if file.inner.metadata()?.len() == 0 {
        // No frame of any format, and no line either.
        return Ok(Box::new(BufReader::new(file)));
    }
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    Ok(match extension.as_str() {
        "gz" => {
            let stored = BufReader::with_capacity(1 << 16, file);
            Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(stored)))
        }
        "zst" | "zstd" => {
            Box::new(BufReader::with_capacity(1 << 18, zstd::Decoder::new(file).map_err(|error| DataError::format(path, error))?))
        }
        _ => Box::new(BufReader::with_capacity(1 << 18, file)),
    })
}

struct Counted {
    inner: std::fs::File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8], limit: usize) -> (Vec<(u64, String)>, Vec<Fault>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        let (mut lines, mut faults) = (Vec::new(), Vec::new());
        for batch in LineReader::open(vec![InputFile { path, name: name.to_owned() }], limit).unwrap() {
            let batch = batch.unwrap();
            lines.extend(
                (0..batch.numbers.len()).map(|i| (batch.numbers[i], String::from_utf8_lossy(batch.line(i)).into_owned())),
            );
            faults.extend(batch.faults);
        }
        (lines, faults)
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_no_text() {
        let (lines, faults) = read("a.jsonl", b"\xef\xbb\xbf{}\r\n\r\n \n\xef\xbb\xbf[]", 100);
        assert_eq!(lines, [(1, "{}\r\n".to_owned()), (4, "\u{feff}[]".to_owned())]);
        assert!(faults.is_empty());
    }

    #[test]
    fn long_lines_are_passed_over_in_little_memory() {
        // As many bytes as fit the limit, end of line included, are a line.
        let (lines, faults) = read("a.jsonl", b"123\n1234\n12\n", 4);
        assert_eq!(lines, [(1, "123\n".to_owned()), (3, "12\n".to_owned())]);
        assert_eq!((faults[0].line, faults[0].bytes.as_slice(), faults[0].is_line), (2, &b"1234"[..], true));
        // A gigabyte on one line, twice: what is kept of it is its beginning.
        struct Long(u64);
        impl Read for Long {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let n = buffer.len().min(self.0 as usize);
                buffer[..n].fill(b'x');
                self.0 -= n as u64;
                if self.0 == 0 && n > 0 {
                    buffer[n - 1] = b'\n';
                }
                Ok(n)
            }
        }
        let mut reader = BufReader::with_capacity(1 << 18, Long(1 << 30).chain(&b"{}\n"[..]));
        let mut line = Vec::new();
        assert_eq!(read_line(&mut reader, &mut line, 1 << 20).unwrap(), 1 << 30);
        assert!(line.len() == KEPT_BYTES && line.capacity() <= 2 << 20, "{}", line.capacity());
        line.clear();
        assert_eq!((read_line(&mut reader, &mut line, 1 << 20).unwrap(), line.as_slice()), (3, &b"{}\n"[..]));
    }

    #[test]
    fn a_file_cut_short_gives_what_was_there() {
        let text = (0..5000).map(|i| format!("{{\"n\":{}}}\n", i * 7919)).collect::<String>();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gz, text.as_bytes()).unwrap();
        for (name, whole) in
            [("a.jsonl.gz", gz.finish().unwrap()), ("a.jsonl.zst", zstd::encode_all(text.as_bytes(), 3).unwrap())]
        {
            assert_eq!(read(name, &whole, 1 << 20).0.len(), 5000);
            let (lines, faults) = read(name, &whole[..whole.len() / 2], 1 << 20);
            assert_eq!((faults.len(), faults[0].is_line), (1, false), "{name}");
            assert_eq!(faults[0].line, lines.len() as u64 + 1, "{name}");
        }
        let (lines, faults) = read("b.jsonl.gz", b"no gzip", 100);
        assert_eq!((lines.len(), faults.len(), faults[0].line), (0, 1, 1));
    }
}
