//! Rows of attributes as the Dolma toolkit's `dedupe` writes them. Knows the format; decides nothing.

use super::extract::{Piece, spans};
use super::{DedupBy, DedupParams, Semantics};
use crate::document::compress;
use crate::document::raw::Row;
use crate::error::DataError;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A row: its keys are sorted; scores of exact dedup are the integer 1. Dolma gives no attribute to an empty text and to a document
/// that is new, and an empty list to one that was not compared.
pub(super) fn row(row: &Row<'_>, pieces: &[Piece], scores: &[Option<f64>], key: &str, params: &DedupParams) -> Vec<u8> {
    let found = spans(row, scores, params);
    let absent = match (&params.by, params.semantics) {
        (DedupBy::Document | DedupBy::Field(_), Semantics::Dolma12) => found.is_empty() && pieces == [Piece::Exact],
        (_, Semantics::Dolma12) => pieces.is_empty(),
        (_, Semantics::Mended) => found.is_empty(),
    };
    let quoted = |text: &str| Value::from(text).to_string();
    let mut line = String::with_capacity(64 + found.len() * 16);
    line.push_str("{\"attributes\":{");
    if !absent {
        line.push_str(&quoted(key));
        line.push_str(":[");
        for (index, span) in found.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a string does not fail.
            let _ = match params.by {
                DedupBy::Ngram(..) => write!(line, "{comma}[{},{},{}]", span.start, span.end, Value::from(span.score)),
                _ => write!(line, "{comma}[{},{},1]", span.start, span.end),
            };
        }
        line.push(']');
    }
    line.push_str("},\"id\":");
    line.push_str(&quoted(&row.id));
    line.push_str("}\n");
    line.into_bytes()
}

/// Writes rows to files named like those of the documents. Holds the rows of one file.
#[derive(Debug)]
pub(super) struct RowWriter {
    dir: PathBuf,
    current: Option<(Arc<str>, Vec<u8>)>,
}

impl RowWriter {
    pub(super) fn create(dir: &Path) -> Result<RowWriter, DataError> {
        fs_err::create_dir_all(dir)?;
        Ok(RowWriter { dir: dir.to_path_buf(), current: None })
    }

    pub(super) fn push(&mut self, file: &Arc<str>, rows: &[Vec<u8>]) -> Result<(), DataError> {
        if self.current.as_ref().is_some_and(|(open, _)| open != file) {
            self.close()?;
        }
        let (_, buffer) = self.current.get_or_insert_with(|| (file.clone(), Vec::new()));
        rows.iter().for_each(|row| buffer.extend_from_slice(row));
        Ok(())
    }

    fn close(&mut self) -> Result<(), DataError> {
        let Some((name, rows)) = self.current.take() else { return Ok(()) };
        let stem = [".gz", ".zst", ".zstd"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        let path = self.dir.join(format!("{stem}.zst"));
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, compress(&rows)?)?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), DataError> {
        self.close()
    }
}
