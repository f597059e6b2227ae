//! Token files: what tokenised documents are stored as, in the headerless form that OLMo-core reads.
//! Knows ids and where documents end; batches and sequence lengths are the trainer's affair.
//!
//! A *tokens artifact* is a directory:
//! ```text
//! tokens.json              dtype, vocabulary size, end-of-text id, tokenizer digest; per source: files, tokens, documents, bytes
//! <source>-NNNNN.npy       little-endian uint16 (vocabulary up to 65,536) or uint32 ids, no header; every document ends with EOS
//! <source>-NNNNN.csv.gz    start,end,id,src,loc of every document in that file: token offsets, id, document file, line
//! ```
//! Every source has its own files, so that held-out loss can be told by source, in bits per byte.

mod read;
mod write;

use crate::document::Totals;
use crate::error::DataError;
use crate::observe::Observer;
use crate::tokenizer::Tokenizer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use read::TokenFiles;
pub use write::{DocumentPlace, TokenWriter};

/// How an id is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Two bytes.
    Uint16,
    /// Four bytes.
    Uint32,
}

impl Dtype {
    /// The smallest type that holds `vocab_size − 1`.
    pub fn for_vocab(vocab_size: usize) -> Dtype {
        if vocab_size <= 1 << 16 { Dtype::Uint16 } else { Dtype::Uint32 }
    }

    /// Bytes of an id.
    pub fn size(self) -> u64 {
        match self {
            Dtype::Uint16 => 2,
            Dtype::Uint32 => 4,
        }
    }
}

/// One token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    /// Its name in the artifact's directory.
    pub name: String,
    /// Number of ids in it.
    pub tokens: u64,
}

/// The files of one source, and what they hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTokens {
    /// The documents' `source`.
    pub source: String,
    /// Number of ids, ends of documents included.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// UTF-8 bytes of the texts: loss per token times tokens over bytes is comparable between tokenizers.
    pub bytes: u64,
    /// The files in order.
    pub files: Vec<TokenFile>,
}

/// `tokens.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensMeta {
    /// How ids are stored.
    pub dtype: Dtype,
    /// Ids are below this.
    pub vocab_size: u64,
    /// The id that ends every document.
    pub eos: u32,
    /// Digest of the tokenizer that made them ([`Tokenizer::digest`]); empty if unknown.
    pub tokenizer: String,
    /// The sources, sorted by name.
    pub sources: Vec<SourceTokens>,
}

impl TokensMeta {
    /// Ids in all sources.
    pub fn tokens(&self) -> u64 {
        self.sources.iter().map(|source| source.tokens).sum()
    }

    /// Documents and bytes in all sources.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for source in &self.sources {
            totals += Totals { documents: source.documents, bytes: source.bytes };
        }
        totals
    }
}

/// Tokenises the documents of `inputs` into `output`, in parallel and in order. Documents of nothing but space are left out; other
/// texts are encoded as they are, from the first byte to the last.
pub fn tokenize(
    inputs: &[&Path],
    tokenizer: &Tokenizer,
    output: &Path,
    observer: &dyn Observer,
) -> Result<TokensMeta, DataError> {
    let mut writer = TokenWriter::create(output, tokenizer.vocab_size(), tokenizer.eos(), tokenizer.digest()?)?;
    for input in inputs {
        for_each_batch(input, observer, |batch| {
            let ids: Vec<Result<Vec<u32>, DataError>> = batch
                .documents
                .par_iter()
                .map_init(|| tokenizer.encoder(), |encoder, document| encoder.encode(&document.text))
                .collect();
            for ((document, ids), line) in batch.documents.iter().zip(ids).zip(&batch.lines) {
                if document.text.trim().is_empty() {
                    continue;
                }
                let place = DocumentPlace { id: &document.id, src: &batch.file, loc: *line, bytes: document.text.len() as u64 };
                writer.write(&document.source, &ids?, place)?;
            }
            Ok(())
        })?;
    }
    let meta = writer.finish()?;
    observer.metric("tokens", meta.tokens() as f64);
    observer.metric("bytes_per_token", meta.totals().bytes as f64 / meta.tokens().max(1) as f64);
    Ok(meta)
}

#[cfg(test)]
mod tests;
