//! Writes documents as `part-NNNNN.jsonl.zst` files whose bytes depend on nothing but the documents.
//! Does not know what the documents are for.

use super::{Document, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Uncompressed bytes after which a part is closed. A part is one zstandard frame of level [`LEVEL`] with its size and checksum
/// in the frame.
pub const MAX_PART_BYTES: usize = 64 << 20;

/// Fixed, since another level gives other bytes.
const LEVEL: i32 = 3;

/// Writes a documents artifact. A part is closed once it holds at least [`MAX_PART_BYTES`] before compression, so the cut is
/// decided by the documents alone. A corpus without documents still gets one (empty) part.
///
/// Held are the part being gathered and the one before it, which is compressed on a thread of its own meanwhile.
#[derive(Debug)]
pub struct DocumentWriter {
    dir: PathBuf,
    parts: u32,
    buffer: Vec<u8>,
    closing: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
    totals: Totals,
}

impl DocumentWriter {
    /// Starts an artifact in `dir`, which is created when it does not exist.
    pub fn create(dir: &Path) -> Result<DocumentWriter, DataError> {
        fs_err::create_dir_all(dir)?;
        Ok(DocumentWriter { dir: dir.to_path_buf(), parts: 0, buffer: Vec::new(), closing: None, totals: Totals::default() })
    }

    /// Adds documents in their order. They are serialised in parallel.
    pub fn write(&mut self, documents: &[Document]) -> Result<(), DataError> {
        let lines: Result<Vec<Vec<u8>>, serde_json::Error> = documents.par_iter().map(serde_json::to_vec).collect();
        for (document, line) in documents.iter().zip(lines.map_err(std::io::Error::from)?) {
            self.totals.add(document);
            self.buffer.extend_from_slice(&line);
            self.buffer.push(b'\n');
            if self.buffer.len() >= MAX_PART_BYTES {
                self.close_part()?;
            }
        }
        Ok(())
    }

    /// Writes what is left and returns how much was written in all.
    pub fn finish(mut self) -> Result<Totals, DataError> {
        if !self.buffer.is_empty() || self.parts == 0 {
            self.close_part()?;
        }
        self.wait()?;
        Ok(self.totals)
    }

    fn close_part(&mut self) -> Result<(), DataError> {
        let spare = self.wait()?;
        let path = self.dir.join(format!("part-{:05}.jsonl.zst", self.parts));
        self.parts += 1;
        let mut bytes = std::mem::replace(&mut self.buffer, spare);
        self.closing = Some(std::thread::Builder::new().name("part".to_owned()).spawn(move || {
            fs_err::write(path, compress(&bytes)?)?;
            bytes.clear();
            Ok(bytes)
        })?);
        Ok(())
    }

    /// Waits for the part before; its memory is used again.
    fn wait(&mut self) -> Result<Vec<u8>, DataError> {
        match self.closing.take() {
            None => Ok(Vec::new()),
            Some(thread) => match thread.join() {
                Ok(spare) => Ok(spare?),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }
}

impl Drop for DocumentWriter {
    fn drop(&mut self) {
        // No thread may write into a folder that its owner has given up.
        if let Some(thread) = self.closing.take() {
            drop(thread.join());
        }
    }
}

/// Writes the documents of all inputs, in their order, to `output`: the same bytes however documents are shared out among inputs.
pub fn merge_documents(inputs: &[&Path], output: &Path, observer: &dyn Observer) -> Result<Totals, DataError> {
    let mut writer = DocumentWriter::create(output)?;
    for input in inputs {
        for_each_batch(input, observer, |batch| writer.write(&batch.documents))?;
    }
    writer.finish()
}

/// One zstandard frame. All bytes are given in one call: the frame is then the same however they were gathered.
pub(crate) fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    compressor.compress(bytes)
}
