//! Token files: what tokenised documents are stored as, in the headerless form that OLMo-core reads.
//! Knows ids and where documents end; batches and sequence lengths are the trainer's affair.
//!
//! A *tokens artifact* is a directory:
//! ```text
//! tokens.json              dtype, vocabulary size, end-of-text id, tokenizer digest; per source: files, tokens, documents, bytes
//! <source>-NNNNN.npy       little-endian uint16 (vocabulary up to 65,536) or uint32 ids, no header; every document ends with EOS
//! <source>-NNNNN.csv.gz    start,end,id,src,loc of every document in that file: token offsets, id, document file, line
//!
//! token_ids_part_chats_NNNN.npy, .csv.gz    the same of conversations, one document each
//! labels_mask_part_chats_NNNN.npy           one byte per id: 1 where it is trained on, as OLMo-core reads label masks
//! ```
//! Every source has its own files, so that held-out loss can be told by source, in bits per byte.

mod merge;
mod piece;
mod read;
mod tokenize;
mod write;

use crate::document::Totals;
use serde::{Deserialize, Serialize};

pub use merge::merge_tokens;
pub use read::TokenFiles;
pub use tokenize::{CHATS, Chats, Encoded, TokenizeOptions, tokenize};
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

    /// Appends ids as they are stored.
    fn encode(self, ids: &[u32], bytes: &mut Vec<u8>) {
        match self {
            Dtype::Uint16 => bytes.extend(ids.iter().flat_map(|&id| (id as u16).to_le_bytes())),
            Dtype::Uint32 => bytes.extend(ids.iter().flat_map(|&id| id.to_le_bytes())),
        }
    }

    /// The ids of whole stored ids.
    fn decode(self, bytes: &[u8]) -> Vec<u32> {
        match self {
            Dtype::Uint16 => bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect(),
            Dtype::Uint32 => bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
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
    /// The name of its label mask, if it has one: a byte per id, 1 where it is trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
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

#[cfg(test)]
mod tests;
