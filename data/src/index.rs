//! A searchable index of a corpus: every suffix of its tokens in order, mapped from disk, so that counting a phrase takes two binary
//! searches whatever the size of the corpus (Liu et al. 2024, infini-gram). Knows no step and no command.
//!
//! An *index artifact* is a directory:
//! ```text
//! index.json         unit, widths, numbers of tokens, documents and distinct symbols
//! symbols.bin        the corpus: little-endian symbols of 1, 2 or 4 bytes; 0 ends every document, id + 1 is a token
//! suffixes.bin       positions of all suffixes in order, 4 or 5 bytes each; a suffix ends with its document, and of two equal ones
//!                    the earlier comes first
//! starts.bin         u64 position of the first symbol of every document
//! documents.jsonl    id, source, file, line, metadata of every document
//! documents.bin      u64 offset of every line of it
//! words.bin, words.offsets.bin, texts.bin     for words: the vocabulary, and every text (zstandard)
//! tokenizer.json     for tokens
//! ```
//! The order is defined by the corpus alone, so that the bytes depend neither on threads nor on the parts it was sorted in.

mod build;
mod file;
mod phrases;
mod query;
mod show;
mod suffixes;
#[cfg(test)]
mod tests;
mod trace;

use crate::analysis::vocabulary::{Vocabulary, WordKey};
use crate::analysis::words::{for_each_folded, for_each_word};
use crate::error::DataError;
use crate::tokenizer::Tokenizer;
use file::{Mapped, Places, Symbols};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use build::{IndexParams, build_index, build_index_of_tokens};
pub use phrases::{PhraseHits, PhraseQuery};
pub use query::NextToken;
pub use show::{Snippet, Stored};
pub use trace::{Trace, TraceParams, TracedDocument, TracedSpan, trace};

/// What the symbols of an index stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes of UTF-8: any string can be found, also within words.
    Bytes,
    /// Words of Unicode Standard Annex 29, without white space.
    Words,
    /// Such words in lower case, without punctuation: phrases are found however they are written.
    Folded,
    /// Tokens of a tokenizer.
    Tokens,
}

/// `index.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexMeta {
    /// Version of the format.
    pub format: u32,
    /// What is indexed.
    pub unit: Unit,
    /// Bytes of a symbol.
    pub symbol_bytes: u8,
    /// Bytes of a position.
    pub place_bytes: u8,
    /// Symbols, ends of documents included.
    pub symbols: u64,
    /// Documents.
    pub documents: u64,
    /// Symbols are at most this.
    pub largest: u32,
}

/// The version of the format that this program writes and reads.
const FORMAT: u32 = 1;

/// An index opened for queries. Files are mapped, nothing is read ahead.
pub struct Index {
    dir: PathBuf,
    meta: IndexMeta,
    symbols: Symbols,
    suffixes: Places,
    starts: Mapped,
    lines: Mapped,
    rows: Mapped,
    words: Option<Vocabulary>,
    texts: Option<Mapped>,
    tokenizer: Option<Tokenizer>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("dir", &self.dir).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Index {
    /// Opens a directory. Fails when a file is missing or has not the length it must have.
    pub fn open(dir: &Path) -> Result<Index, DataError> {
        let path = dir.join("index.json");
        let meta: IndexMeta = serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| DataError::format(&path, error))?;
        if meta.format != FORMAT {
            return Err(DataError::format(&path, format!("it has format {}, and this program reads {FORMAT}", meta.format)));
        }
        let symbols = Symbols::open(&dir.join("symbols.bin"), meta.symbol_bytes, meta.symbols)?;
        let suffixes = Places::open(&dir.join("suffixes.bin"), meta.place_bytes, meta.symbols)?;
        let starts = Mapped::open(&dir.join("starts.bin"), meta.documents * 8)?;
        let lines = Mapped::open(&dir.join("documents.bin"), meta.documents * 8)?;
        let rows = Mapped::whole(&dir.join("documents.jsonl"))?;
        let (words, texts) = match meta.unit {
            Unit::Words | Unit::Folded => (Some(read_words(dir)?), Some(Mapped::whole(&dir.join("texts.bin"))?)),
            Unit::Bytes | Unit::Tokens => (None, None),
        };
        let tokenizer = if meta.unit == Unit::Tokens { Some(Tokenizer::load(dir)?) } else { None };
        Ok(Index { dir: dir.to_path_buf(), meta, symbols, suffixes, starts, lines, rows, words, texts, tokenizer })
    }

    /// `index.json`.
    pub fn meta(&self) -> &IndexMeta {
        &self.meta
    }

    /// The symbols of a text as a query; `None` when it has a word that the corpus does not have.
    pub fn encode(&self, text: &str) -> Result<Option<Vec<u32>>, DataError> {
        Ok(self.encode_each(text)?.into_iter().collect())
    }

    /// The symbols of a text, `None` for words that the corpus does not have.
    pub(crate) fn encode_each(&self, text: &str) -> Result<Vec<Option<u32>>, DataError> {
        let mut found = Vec::new();
        match self.meta.unit {
            Unit::Bytes => found.extend(text.bytes().map(|byte| Some(u32::from(byte) + 1))),
            Unit::Words => for_each_word(text, |range| found.push(self.symbol_of(&text[range]))),
            Unit::Folded => for_each_folded(text, &mut String::new(), |word| found.push(self.symbol_of(word))),
            Unit::Tokens => {
                let tokenizer = self.tokenizer.as_ref().expect("opened for tokens");
                found.extend(tokenizer.encode(text)?.into_iter().map(|id| Some(id + 1)));
            }
        }
        Ok(found)
    }

    fn symbol_of(&self, word: &str) -> Option<u32> {
        let words = self.words.as_ref().expect("opened for words");
        words.find(WordKey::of(word.as_bytes()), word.as_bytes()).map(|id| id + 1)
    }

    /// The text that a symbol stands for.
    pub fn name(&self, symbol: u32) -> String {
        match (symbol.checked_sub(1), self.meta.unit) {
            (None, _) => "<end of document>".to_owned(),
            (Some(byte), Unit::Bytes) => String::from_utf8_lossy(&[byte as u8]).into_owned(),
            (Some(id), Unit::Words | Unit::Folded) => self.words.as_ref().expect("opened for words").text(id).to_owned(),
            (Some(id), Unit::Tokens) => {
                let bytes = self.tokenizer.as_ref().expect("opened for tokens").token_bytes(id).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }
}

fn read_words(dir: &Path) -> Result<Vocabulary, DataError> {
    let path = dir.join("words.offsets.bin");
    let (bytes, ends) = (fs_err::read(dir.join("words.bin"))?, fs_err::read(&path)?);
    let mut vocabulary = Vocabulary::default();
    let mut start = 0;
    for end in ends.chunks_exact(8) {
        let end = u64::from_le_bytes(end.try_into().expect("eight bytes")) as usize;
        let word = bytes.get(start..end).ok_or_else(|| DataError::format(&path, "it points beyond words.bin"))?;
        vocabulary.intern(WordKey::of(word), word);
        start = end;
    }
    Ok(vocabulary)
}
