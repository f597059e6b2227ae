//! What a user sees of an index: documents, and what stands around a position. Knows the files of an index, no question.

use super::{Index, Unit};
use crate::analysis::words::for_each_word;
use crate::error::DataError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::Range;

/// What an index knows of a document beside its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Its source.
    #[serde(default)]
    pub source: String,
    /// Its file, relative to the corpus.
    pub file: String,
    /// Its line there, from 1.
    pub line: u64,
    /// Where its text is kept, for indexes of words.
    #[serde(default, skip_serializing)]
    text: Option<[u64; 2]>,
    /// Its metadata.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

impl Stored {
    /// Its licence, from the metadata.
    pub fn licence(&self) -> Option<&str> {
        ["license", "licence"].iter().find_map(|field| self.metadata.get(*field)?.as_str())
    }
}

/// A phrase with what stands around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// Text before it.
    pub before: String,
    /// The phrase as it stands in the document.
    pub hit: String,
    /// Text behind it.
    pub after: String,
}

impl Index {
    /// What is known of a document by its number. Fails when there is none of that number.
    pub fn stored(&self, document: u64) -> Result<Stored, DataError> {
        let lines: &[u64] = self.lines.numbers();
        let path = || self.dir.join("documents.jsonl");
        let Some(&start) = lines.get(document as usize) else {
            let message = format!("there is no document {document}: the index has {}, numbered from 0", self.meta.documents);
            return Err(DataError::Params(message));
        };
        let rows = self.rows.bytes();
        let end = lines.get(document as usize + 1).map_or(rows.len(), |&end| end as usize);
        let row = rows.get(start as usize..end).ok_or_else(|| DataError::format(&path(), "documents.bin points beyond it"))?;
        serde_json::from_slice(row).map_err(|error| DataError::format(&path(), error))
    }

    /// The number of the document with an id: all are looked through.
    pub fn document_with_id(&self, id: &str) -> Result<Option<u64>, DataError> {
        for document in 0..self.meta.documents {
            if self.stored(document)?.id == id {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    /// The text of a document: for words the text that was indexed, else what its symbols stand for.
    pub fn text(&self, document: u64) -> Result<String, DataError> {
        let stored = self.stored(document)?;
        match (&self.texts, stored.text) {
            (Some(texts), Some([start, length])) => {
                let path = self.dir.join("texts.bin");
                let frame = texts.bytes().get(start as usize..(start + length) as usize);
                let frame = frame.ok_or_else(|| DataError::format(&path, "it is cut short"))?;
                let bytes = zstd::decode_all(frame).map_err(|error| DataError::format(&path, error))?;
                String::from_utf8(bytes).map_err(|error| DataError::format(&path, error))
            }
            _ => {
                let range = self.document_range(document);
                self.decode(range.start..range.end - 1)
            }
        }
    }

    /// The text of some symbols of one document (bytes and tokens).
    fn decode(&self, range: Range<u64>) -> Result<String, DataError> {
        let symbols = self.symbols.range(range);
        match &self.tokenizer {
            Some(tokenizer) => {
                let ids: Vec<u32> = symbols.iter().map(|symbol| symbol - 1).collect();
                tokenizer.decode(&ids)
            }
            None => {
                let bytes: Vec<u8> = symbols.iter().map(|symbol| (symbol - 1) as u8).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }

    /// The phrase of `length` symbols at a position with up to `context` symbols on either side, of the same document.
    pub fn snippet(&self, position: u64, length: u64, context: u64) -> Result<Snippet, DataError> {
        let document = self.document_at(position);
        let range = self.document_range(document);
        let end = (position + length).min(range.end - 1);
        let from = position.saturating_sub(context).max(range.start);
        let to = (end + context).min(range.end - 1);
        if self.texts.is_none() {
            return Ok(Snippet {
                before: self.decode(from..position)?,
                hit: self.decode(position..end)?,
                after: self.decode(end..to)?,
            });
        }
        let text = self.text(document)?;
        let words = self.words_of(&text);
        let byte = |at: u64| words.get((at - range.start) as usize).map_or(text.len(), |word| word.start);
        // Up to the end of the last word, so that no white space is at the end of what was found.
        let last = |at: u64| {
            (at - range.start).checked_sub(1).map_or(0, |last| words.get(last as usize).map_or(text.len(), |word| word.end))
        };
        let (start, stop) = (byte(position), last(end).max(byte(position)));
        let (first, past) = (byte(from).min(start), last(to).max(stop));
        Ok(Snippet {
            before: text[first..start].to_owned(),
            hit: text[start..stop].to_owned(),
            after: text[stop..past].to_owned(),
        })
    }

    /// Where the indexed words of a text are.
    pub(super) fn words_of(&self, text: &str) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        for_each_word(text, |range| {
            if self.meta.unit == Unit::Words || text[range.clone()].chars().any(char::is_alphanumeric) {
                words.push(range);
            }
        });
        words
    }
}
