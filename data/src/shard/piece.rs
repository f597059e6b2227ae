//! What one document file becomes while a corpus is tokenised: ids and a list of documents, in two files that are kept until all are
//! there. A piece that is complete is not made again by the next attempt.
//! Knows neither the order in which documents go on nor the names of token files.

use super::{Dtype, Encoded};
use crate::error::DataError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A document of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) source: String,
    pub(super) tokens: u64,
    pub(super) id: String,
    pub(super) src: String,
    pub(super) loc: u64,
    pub(super) bytes: u64,
    /// Whether a label mask follows the ids.
    pub(super) masked: bool,
}

/// Where an entry and its ids are in the files of a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) list: u64,
    pub(super) ids: u64,
}

fn paths(dir: &Path, index: usize) -> [PathBuf; 2] {
    ["ids", "list"].map(|kind| dir.join(format!("piece-{index:05}.{kind}")))
}

/// Writes a piece.
pub(super) struct PieceWriter {
    draft: PathBuf,
    list_path: PathBuf,
    ids: BufWriter<fs_err::File>,
    list: BufWriter<fs_err::File>,
    dtype: Dtype,
    buffer: Vec<u8>,
}

impl PieceWriter {
    /// Starts over on a piece.
    pub(super) fn create(dir: &Path, index: usize, dtype: Dtype) -> Result<PieceWriter, DataError> {
        let [ids, list_path] = paths(dir, index);
        let draft = list_path.with_extension("draft");
        let [ids, list] = [&ids, &draft].map(fs_err::File::create);
        Ok(PieceWriter { list: BufWriter::new(list?), ids: BufWriter::new(ids?), draft, list_path, dtype, buffer: Vec::new() })
    }

    /// Appends a document; `tokens` is filled in from the ids.
    pub(super) fn write(&mut self, encoded: &Encoded, mut entry: Entry) -> Result<(), DataError> {
        entry.tokens = encoded.ids.len() as u64;
        entry.masked = encoded.mask.is_some();
        self.buffer.clear();
        self.dtype.encode(&encoded.ids, &mut self.buffer);
        self.buffer.extend(encoded.mask.iter().flatten().map(|&trained| u8::from(trained)));
        self.ids.write_all(&self.buffer)?;
        serde_json::to_writer(&mut self.list, &entry).map_err(std::io::Error::from)?;
        self.list.write_all(b"\n")?;
        Ok(())
    }

    /// The piece is complete once this has returned.
    pub(super) fn finish(self) -> Result<(), DataError> {
        self.ids.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
        self.list.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
        fs_err::rename(self.draft, self.list_path)?;
        Ok(())
    }
}

/// A complete piece.
pub(super) struct Piece {
    list: BufReader<File>,
    ids: File,
    ids_path: PathBuf,
    dtype: Dtype,
}

impl Piece {
    /// Whether a piece is complete.
    pub(super) fn is_complete(dir: &Path, index: usize) -> bool {
        paths(dir, index)[1].is_file()
    }

    pub(super) fn open(dir: &Path, index: usize, dtype: Dtype) -> Result<Piece, DataError> {
        let [ids_path, list] = paths(dir, index);
        let list = BufReader::new(fs_err::File::open(list)?.into_parts().0);
        Ok(Piece { list, ids: fs_err::File::open(&ids_path)?.into_parts().0, ids_path, dtype })
    }

    /// Calls `each` with every entry and where it is, in order.
    pub(super) fn entries(&mut self, mut each: impl FnMut(Entry, At) -> Result<(), DataError>) -> Result<(), DataError> {
        let (mut at, mut line) = (At { list: 0, ids: 0 }, Vec::new());
        self.list.seek(SeekFrom::Start(0))?;
        loop {
            line.clear();
            let n = self.list.read_until(b'\n', &mut line)?;
            if n == 0 {
                return Ok(());
            }
            let entry = self.parse(&line)?;
            let size = self.size(&entry);
            each(entry, at)?;
            at = At { list: at.list + n as u64, ids: at.ids + size };
        }
    }

    /// The entry of a place.
    pub(super) fn entry(&mut self, at: At) -> Result<Entry, DataError> {
        let mut line = Vec::new();
        self.list.seek(SeekFrom::Start(at.list))?;
        self.list.read_until(b'\n', &mut line)?;
        self.parse(&line)
    }

    /// What an entry became.
    pub(super) fn encoded(&self, entry: &Entry, at: At) -> Result<Encoded, DataError> {
        let mut buffer = vec![0; usize::try_from(self.size(entry)).map_err(|error| self.damaged(error))?];
        self.ids.read_exact_at(&mut buffer, at.ids).map_err(|error| self.damaged(error))?;
        let (ids, mask) = buffer.split_at((entry.tokens * self.dtype.size()) as usize);
        let mask = entry.masked.then(|| mask.iter().map(|&byte| byte != 0).collect());
        Ok(Encoded { ids: self.dtype.decode(ids), mask })
    }

    fn size(&self, entry: &Entry) -> u64 {
        entry.tokens * (self.dtype.size() + u64::from(entry.masked))
    }

    fn parse(&self, line: &[u8]) -> Result<Entry, DataError> {
        serde_json::from_slice(line).map_err(|error| self.damaged(error))
    }

    fn damaged(&self, error: impl std::fmt::Display) -> DataError {
        DataError::format(&self.ids_path, format!("the progress of an earlier attempt is damaged ({error}); remove it"))
    }
}

/// Start, end, id, src and loc of a document of a token file.
pub(super) type SidecarRow = (u64, u64, String, String, u64);

/// Reads the whole of a sidecar.
pub(super) fn read_sidecar(path: &Path) -> Result<Vec<SidecarRow>, DataError> {
    let mut text = String::new();
    let file = BufReader::new(fs_err::File::open(path)?);
    flate2::bufread::MultiGzDecoder::new(file).read_to_string(&mut text).map_err(|error| DataError::format(path, error))?;
    let mut rows = Vec::new();
    let mut fields: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    let (mut field, mut quoted) = (String::new(), false);
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                let row = rows.len() + 1;
                let wrong = || DataError::format(path, format!("row {row} is not start,end,id,src,loc"));
                let [start, end, id, src, loc] = std::mem::take(&mut fields).try_into().map_err(|_| wrong())?;
                let number = |text: String| text.parse::<u64>().map_err(|_| wrong());
                rows.push((number(start)?, number(end)?, id, src, number(loc)?));
            }
            c => field.push(c),
        }
    }
    Ok(rows)
}
