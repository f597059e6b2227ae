//! Finds documents that hold problems of evaluation tasks, and removes or marks them.
//! Knows texts of documents and of problems; does not know models or scores.
//!
//! Two rules. [`Rule::Ngram`] is the plain one: a document that shares any n-gram of words with a problem. [`Rule::Decon`] is the one
//! of decon (the tool behind Olmo 3): clusters of n-grams weighted by how rare they are among the problems, with question, answer and
//! passage apart ([`decon`]). Words are lower-cased runs of letters and digits; decon's own tokens are those of a byte-pair encoding,
//! so its thresholds in tokens mean somewhat more text here.
//!
//! Held in memory: the index of the problems' n-grams, and one batch of documents.

mod decon;
mod instance;
mod ngram;
mod report;

use crate::dedup::changed;
use crate::document::raw::{Fate, LineWriter, Row, decode, decode_all, for_each_lines, write_lines};
use crate::document::{Document, Span, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use decon::DeconParams;
pub use instance::{Instance, read_instances};
pub use report::{ContaminationReport, MatchRow, TaskReport};

/// When a document counts as contaminated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// It shares an n-gram of `length` words with a problem. A problem of fewer words, but at least `least`, counts when all of it
    /// stands in the document.
    Ngram {
        /// Words of an n-gram (13 in GPT-3's appendix C and since).
        length: usize,
        /// Problems of fewer words are not looked for.
        least: usize,
    },
    /// decon's rule.
    Decon(DeconParams),
}

/// What is done about contaminated documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// They are left out.
    Remove,
    /// They get an attribute `decontaminate__decontaminate__<task>` with the spans found and their scores.
    Annotate,
}

/// One problem found in one document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// Index among the instances.
    pub(crate) instance: u32,
    /// First word of the match, and one past the last.
    pub(crate) words: std::ops::Range<usize>,
    /// How much of the problem was found, from 0 to 1.
    pub(crate) score: f64,
}

/// A document's words: hashes, and where they stand in bytes.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub(crate) hashes: Vec<u64>,
    pub(crate) places: Vec<std::ops::Range<usize>>,
}

impl Words {
    /// Lower-cased runs of letters and digits.
    pub(crate) fn of(text: &str) -> Words {
        let mut words = Words::default();
        let mut lower = String::new();
        let mut start = None;
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            if c.is_alphanumeric() {
                start.get_or_insert(at);
                if c.is_ascii() {
                    lower.push(c.to_ascii_lowercase());
                } else {
                    lower.extend(c.to_lowercase());
                }
            } else if let Some(start) = start.take() {
                words.hashes.push(xxhash_rust::xxh3::xxh3_64(lower.as_bytes()));
                words.places.push(start..at);
                lower.clear();
            }
        }
        words
    }

    /// A range of words as a span of code points.
    fn span(&self, text: &str, words: &std::ops::Range<usize>, score: f64) -> Span {
        let (start, end) = (self.places[words.start].start, self.places[words.end - 1].end);
        let before = text[..start].chars().count() as u64;
        Span { start: before, end: before + text[start..end].chars().count() as u64, score }
    }
}

/// The hash of a window of words.
pub(crate) fn window(words: &[u64]) -> u64 {
    crate::dedup::seen::mix(
        words.iter().fold(words.len() as u64, |hash, word| hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(*word)),
    )
}

enum Index {
    Ngram(ngram::Index),
    Decon(Box<decon::Index>),
}

impl Index {
    fn find(&self, words: &Words) -> Vec<Found> {
        match self {
            Index::Ngram(index) => index.find(words),
            Index::Decon(index) => index.find(words),
        }
    }
}

/// Looks for the problems in the documents of `input` and writes what stays to `output`.
pub fn decontaminate(
    input: &Path,
    output: &Path,
    instances: &[Instance],
    rule: &Rule,
    action: Action,
    observer: &dyn Observer,
) -> Result<ContaminationReport, DataError> {
    if instances.is_empty() {
        return Err(DataError::Params("there are no problems to look for".to_owned()));
    }
    let (index, checked) = match rule {
        Rule::Ngram { length, least } => {
            if *length == 0 {
                return Err(DataError::Params("an n-gram has at least one word".to_owned()));
            }
            let (index, checked) = ngram::Index::new(instances, *length, *least);
            (Index::Ngram(index), checked)
        }
        Rule::Decon(params) => {
            params.check()?;
            let (index, checked) = decon::Index::new(instances, params);
            (Index::Decon(Box::new(index)), checked)
        }
    };
    if !checked.contains(&true) {
        return Err(DataError::Params(format!(
            "all {} problems are too short to be looked for; lower the least length",
            instances.len()
        )));
    }
    let mut report = report::Builder::new(instances, &checked);
    let mut writer = LineWriter::create(output)?;
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        let found: Vec<(Words, Vec<Found>)> = rows
            .par_iter()
            .map(|row| {
                let words = Words::of(&row.text);
                let found = index.find(&words);
                (words, found)
            })
            .collect();
        for ((row, (words, found)), line) in rows.iter().zip(&found).zip(&batch.numbers) {
            report.add(row, &batch.file, *line, words, found);
        }
        write_lines(
            &mut writer,
            batch,
            &rows,
            |row| row.text.len(),
            |index, row, number, line| {
                let (words, found) = &found[index];
                match action {
                    _ if found.is_empty() => Ok(Fate::Keep),
                    Action::Remove => Ok(Fate::Drop),
                    Action::Annotate => {
                        let mut document: Document = decode(batch, number, line)?;
                        for one in found {
                            let key =
                                format!("decontaminate__decontaminate__{}", attribute(&instances[one.instance as usize].task));
                            document.attributes.entry(key).or_default().push(words.span(&row.text, &one.words, one.score));
                        }
                        changed(&document)
                    }
                }
            },
        )
    })?;
    let report = report.finish(writer.finish()?);
    observer.metric("contaminated_documents", report.contaminated.documents as f64);
    Ok(report)
}

/// A task's name as a part of an attribute's key.
fn attribute(task: &str) -> String {
    task.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// Documents and bytes that were found contaminated.
pub(crate) fn size(row: &Row<'_>) -> Totals {
    Totals { documents: 1, bytes: row.text.len() as u64 }
}

#[cfg(test)]
mod tests;
