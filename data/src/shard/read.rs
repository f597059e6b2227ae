//! Reads token files: any stretch of ids, by position.
//! Knows nothing of sequences or batches. Files are read where they are asked for, never as a whole.

use super::{Dtype, TokensMeta};
use crate::error::DataError;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Ids read at a time while looking for ends of documents.
const SCAN_TOKENS: u64 = 1 << 18;

/// A tokens artifact opened for reading. Positions run through all files, source after source, in the order of `tokens.json`.
#[derive(Debug)]
pub struct TokenFiles {
    meta: TokensMeta,
    files: Vec<Opened>,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: File,
    positions: Range<u64>,
}

impl TokenFiles {
    /// Opens a directory. Fails when a file is missing or has not the length that `tokens.json` says.
    pub fn open(dir: &Path) -> Result<TokenFiles, DataError> {
        let path = dir.join("tokens.json");
        let meta: TokensMeta = serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| DataError::format(&path, error))?;
        let mut files = Vec::new();
        let mut start = 0;
        for source in &meta.sources {
            for listed in &source.files {
                let path = dir.join(&listed.name);
                let file = fs_err::File::open(&path)?.into_parts().0;
                let (bytes, expected) = (file.metadata()?.len(), listed.tokens * meta.dtype.size());
                if bytes != expected {
                    return Err(DataError::format(&path, format!("it has {bytes} bytes, but tokens.json promises {expected}")));
                }
                files.push(Opened { path, file, positions: start..start + listed.tokens });
                start += listed.tokens;
            }
        }
        Ok(TokenFiles { meta, files })
    }

    /// `tokens.json`.
    pub fn meta(&self) -> &TokensMeta {
        &self.meta
    }

    /// Number of ids in all files.
    pub fn len(&self) -> u64 {
        self.files.last().map_or(0, |file| file.positions.end)
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The positions of each file, in order: windows of a fixed length must not span two of them.
    pub fn files(&self) -> Vec<Range<u64>> {
        self.files.iter().map(|file| file.positions.clone()).collect()
    }

    /// The positions of a source.
    pub fn source(&self, source: &str) -> Option<Range<u64>> {
        let mut start = 0;
        for entry in &self.meta.sources {
            let end = start + entry.tokens;
            if entry.source == source {
                return Some(start..end);
            }
            start = end;
        }
        None
    }

    /// Fills `ids` from a position on, across files if need be. Fails when it would run past the end.
    pub fn read(&self, start: u64, ids: &mut [u32]) -> Result<(), DataError> {
        if start + ids.len() as u64 > self.len() {
            return Err(DataError::Params(format!(
                "positions {start}..{} are past the {} tokens there are",
                start + ids.len() as u64,
                self.len()
            )));
        }
        let mut position = start;
        let mut filled = 0;
        let mut index = self.files.partition_point(|file| file.positions.end <= start);
        let mut buffer = Vec::new();
        while filled < ids.len() {
            let opened = &self.files[index];
            let n = ((opened.positions.end - position) as usize).min(ids.len() - filled);
            let size = self.meta.dtype.size();
            buffer.resize(n * size as usize, 0);
            let offset = (position - opened.positions.start) * size;
            opened.file.read_exact_at(&mut buffer, offset).map_err(|error| DataError::format(&opened.path, error))?;
            let out = &mut ids[filled..filled + n];
            match self.meta.dtype {
                Dtype::Uint16 => {
                    out.iter_mut()
                        .zip(buffer.chunks_exact(2))
                        .for_each(|(id, b)| *id = u32::from(u16::from_le_bytes([b[0], b[1]])));
                }
                Dtype::Uint32 => {
                    out.iter_mut()
                        .zip(buffer.chunks_exact(4))
                        .for_each(|(id, b)| *id = u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                }
            }
            filled += n;
            position += n as u64;
            index += 1;
        }
        Ok(())
    }

    /// The ids at some positions.
    pub fn tokens(&self, positions: Range<u64>) -> Result<Vec<u32>, DataError> {
        let mut ids = vec![0; positions.end.saturating_sub(positions.start) as usize];
        self.read(positions.start, &mut ids)?;
        Ok(ids)
    }

    /// The positions of every document in a stretch of positions, each ending with its end-of-text id. Ids after the last end
    /// within a file are no document.
    pub fn documents(&self, positions: Range<u64>) -> Result<Vec<Range<u64>>, DataError> {
        let mut documents = Vec::new();
        for opened in &self.files {
            let end = opened.positions.end.min(positions.end);
            let mut at = opened.positions.start.max(positions.start);
            let mut start = at;
            while at < end {
                let ids = self.tokens(at..(at + SCAN_TOKENS).min(end))?;
                for (i, &id) in ids.iter().enumerate() {
                    if id == self.meta.eos {
                        let stop = at + i as u64 + 1;
                        documents.push(start..stop);
                        start = stop;
                    }
                }
                at += ids.len() as u64;
            }
        }
        Ok(documents)
    }
}
