//! The files of a source in the order they are used, and the units that batches are made of.
//!
//! A *unit* is a stretch of a fixed number of tokens, put together by one of the sibling files. Knows no order and no
//! batch.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{ReadError, TokenSource};
use crate::shuffle::python::PythonRandom;

/// Makes units.
pub(super) trait Units: fmt::Debug + Send + Sync {
    /// Number of units.
    fn n(&self) -> u64;

    /// Reads a piece of a unit, from its token `offset` on. `labels` is true throughout and is to become false where a
    /// token is not to be predicted.
    fn read(&self, unit: u64, offset: u64, ids: &mut [u32], labels: &mut [bool]) -> Result<(), ReadError>;
}

/// Files in the order they are used.
#[derive(Clone)]
pub(super) struct Files {
    source: Arc<dyn TokenSource>,
    /// Number of each file in the source, and its tokens.
    files: Vec<(usize, u64)>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Files {
    /// The files of `source`, in CPython's permutation by `seed` if there is one.
    pub(super) fn new(source: Arc<dyn TokenSource>, seed: Option<u64>) -> Self {
        let mut files: Vec<(usize, u64)> = source.file_lengths().into_iter().enumerate().collect();
        if let Some(seed) = seed {
            PythonRandom::new(seed).shuffle(&mut files);
        }
        Self { source, files }
    }

    /// Number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Tokens of each file.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u64> + '_ {
        self.files.iter().map(|(_, tokens)| *tokens)
    }

    /// Reads tokens and what of them is to be predicted.
    pub(super) fn read(&self, file: usize, start: u64, ids: &mut [u32], labels: &mut [bool]) -> Result<(), ReadError> {
        let (file, _) = self.files[file];
        self.source.read(file, start, ids)?;
        self.source.read_labels(file, start, labels)
    }

    /// The documents of a file, each ending with `eos`.
    pub(super) fn documents(&self, file: usize, eos: u32) -> Result<Vec<Range<u64>>, ReadError> {
        self.source.documents(self.files[file].0, self.source.eos().unwrap_or(eos))
    }
}

/// Tokens read at once while looking for the ends of documents.
const SCAN_TOKENS: u64 = 1 << 20;

/// The documents of a file by their ends; tokens after the last end are no document.
pub(super) fn documents_by_end<S: TokenSource + ?Sized>(source: &S, file: usize, eos: u32) -> Result<Vec<Range<u64>>, ReadError> {
    let length = source.file_lengths().get(file).copied().ok_or("there is no such file")?;
    let (mut documents, mut start, mut at) = (Vec::new(), 0, 0);
    while at < length {
        let mut ids = vec![0; SCAN_TOKENS.min(length - at) as usize];
        source.read(file, at, &mut ids)?;
        for (i, _) in ids.iter().enumerate().filter(|(_, id)| **id == eos) {
            let end = at + i as u64 + 1;
            documents.push(start..end);
            start = end;
        }
        at += ids.len() as u64;
    }
    Ok(documents)
}
