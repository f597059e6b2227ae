//! Units as one document each, cut off at the unit's length and filled up with padding that is not predicted (OLMo-core's
//! `NumpyPaddedFSLDataset`, on which perplexity is measured).

use super::files::{Files, Units};
use super::{ReadError, TokenSource};

/// See the module.
#[derive(Debug)]
pub(super) struct Padded {
    files: Files,
    /// File, first token and length.
    documents: Vec<(usize, u64, usize)>,
    pad: u32,
}

impl Padded {
    /// The documents of all files.
    pub(super) fn new(files: Files, length: usize, eos: u32, pad: u32) -> Result<Self, ReadError> {
        let mut documents = Vec::new();
        for file in 0..files.len() {
            let all = files.documents(file, eos)?.into_iter();
            documents.extend(all.map(|range| (file, range.start, ((range.end - range.start) as usize).min(length))));
        }
        Ok(Self { files, documents, pad })
    }
}

impl Units for Padded {
    fn n(&self) -> u64 {
        self.documents.len() as u64
    }

    fn read(&self, unit: u64, _offset: u64, ids: &mut [u32], labels: &mut [bool]) -> Result<(), ReadError> {
        let (file, start, length) = self.documents[unit as usize];
        self.files.read(file, start, &mut ids[..length], &mut labels[..length])?;
        ids[length..].fill(self.pad);
        labels[length..].fill(false);
        Ok(())
    }
}

/// The documents of a source as batches of padded rows, in order: what held-out loss is measured on.
#[derive(Debug)]
pub struct PaddedDocuments {
    padded: Padded,
    length: usize,
}

impl PaddedDocuments {
    /// Rows of `length` tokens.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn new(tokens: std::sync::Arc<dyn TokenSource>, length: usize, eos: u32, pad: u32) -> Result<Self, ReadError> {
        Ok(Self { padded: Padded::new(Files::new(tokens, None), length, eos, pad)?, length })
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.padded.documents.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of document `index` in its row.
    pub fn tokens(&self, index: usize) -> usize {
        self.padded.documents[index].2
    }

    /// Documents `range` as a batch.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn batch(&self, range: std::ops::Range<usize>) -> Result<crate::batch::Batch, ReadError> {
        let n = range.len() * self.length;
        let (mut ids, mut labels) = (vec![0; n], vec![true; n]);
        for ((unit, ids), labels) in range.zip(ids.chunks_mut(self.length)).zip(labels.chunks_mut(self.length)) {
            self.padded.read(unit as u64, 0, ids, labels)?;
        }
        Ok(crate::batch::Batch::labelled(crate::batch::Tokens::new(ids, self.length), &labels))
    }
}
