//! The document: what every step of curation reads and writes, in Dolma's format.
//! Knows neither where documents come from nor what is done to them.
//!
//! A *documents artifact* is a directory of `part-NNNNN.jsonl.zst` files, one JSON object a line. Attributes that taggers found
//! are kept inline under `attributes`, as Dolma's span lists, so that a document and what is known about it never part.

mod census;
mod dolma;
mod export;
mod lines;
mod map;
mod parquet;
pub(crate) mod raw;
mod read;
mod write;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use census::{Census, census};
pub(crate) use dolma::{AttributeRows, parse_row};
pub use export::{DolmaExport, Exported, export_dolma};
pub use lines::InputFile;
pub(crate) use lines::{Fault, KEPT_BYTES, LineBatch, LineReader, open_decoded};
pub use map::Attributes;
pub use parquet::export_parquet;
pub use read::{Batch, DocumentReader, document_files, read_documents};
pub(crate) use read::{named, open_lines, read_document_files, relative_name};
pub(crate) use write::compress;
pub use write::{DocumentWriter, MAX_PART_BYTES, merge_documents};

/// A scored stretch of a document's text, as `[start, end, score]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Signed", into = "Signed")]
pub struct Span {
    /// First code point (not byte) of the span. Dolma's paragraph_tokenizer_repetitions_v1 can begin a span at −1, which is
    /// `u64::MAX` here.
    pub start: u64,
    /// One past the last code point.
    pub end: u64,
    /// The tagger's value.
    pub score: f64,
}

impl From<(u64, u64, f64)> for Span {
    fn from((start, end, score): (u64, u64, f64)) -> Span {
        Span { start, end, score }
    }
}

/// A span in a file.
#[derive(Serialize, Deserialize)]
struct Signed(i64, i64, f64);

impl From<Signed> for Span {
    fn from(Signed(start, end, score): Signed) -> Span {
        Span { start: start.cast_unsigned(), end: end.cast_unsigned(), score }
    }
}

impl From<Span> for Signed {
    fn from(span: Span) -> Signed {
        Signed(span.start.cast_signed(), span.end.cast_signed(), span.score)
    }
}

/// One text and what is known about it. Only `id` and `text` must be present in a file; other fields of the JSON are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Stable, unique within a corpus.
    pub id: String,
    /// The text itself.
    pub text: String,
    /// The corpus or kind it belongs to; mixing and held-out loss are by this field.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// When it entered the corpus, RFC 3339; empty when unknown.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub added: String,
    /// When it was written, RFC 3339; empty when unknown.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Version of the corpus, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Anything else, in the order of the file.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// What taggers found.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

impl Document {
    /// A document with nothing but an id, a text and a source.
    pub fn new(id: impl Into<String>, text: impl Into<String>, source: impl Into<String>) -> Document {
        Document { id: id.into(), text: text.into(), source: source.into(), ..Document::default() }
    }

    /// Replaces the text. Attributes are dropped if it changed, since their offsets meant the old one.
    pub fn replace_text(&mut self, text: String) {
        if text != self.text {
            self.text = text;
            self.attributes.clear();
        }
    }

    /// The value of a field to group by: `source`, or the name of a metadata field holding a string, number or boolean.
    pub fn group(&self, field: &str) -> Option<String> {
        if field == "source" {
            return Some(self.source.clone());
        }
        match self.metadata.get(field)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// Numbers of documents and of UTF-8 bytes of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Number of documents.
    pub documents: u64,
    /// UTF-8 bytes of their texts.
    pub bytes: u64,
}

impl Totals {
    /// Counts one more document.
    pub fn add(&mut self, document: &Document) {
        self.documents += 1;
        self.bytes += document.text.len() as u64;
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }
}

impl std::ops::Sub for Totals {
    type Output = Totals;
    fn sub(self, other: Totals) -> Totals {
        Totals { documents: self.documents - other.documents, bytes: self.bytes - other.bytes }
    }
}

/// Dolma files in the wild hold `null` where a field is unknown.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
