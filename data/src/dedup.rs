//! Removal of what was there before: documents, paragraphs, fields such as the address, or paragraphs that share n-grams.
//! Knows texts and the named field only. Near-duplicates of whole documents are [`minhash`](crate::minhash)'s, repeated passages
//! `substring`'s.
//!
//! The first occurrence in (file, row) order stays, whatever the number of threads: documents are hashed in parallel, and a key is
//! always looked up in the order of the documents ([`seen`]). Held in memory are one batch of documents and the keys: exact ones
//! (12 to 48 bytes per distinct key) or a Bloom filter of a size chosen before. [`Semantics`] says where this differs from the Dolma
//! toolkit.

mod bloom;
mod extract;
mod ngram;
mod rows;
pub(crate) mod seen;

use crate::document::raw::{Fate, LineWriter, Row, decode, decode_all, for_each_lines, write_lines};
use crate::document::{Document, LineBatch, Span, Totals};
use crate::error::DataError;
use crate::observe::Observer;
pub(crate) use extract::field;
use extract::{Extracted, Piece};
use rayon::prelude::*;
use rows::RowWriter;
use seen::{Key, Seen};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use bloom::BloomSize;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DedupBy {
    /// Whole texts.
    Document,
    /// The value of a field: `metadata.url`, `$.metadata.url`, `id`. Documents without it are left alone.
    Field(String),
    /// The pieces of a text between separators. A piece that repeats an earlier one, of the same or another document, is removed
    /// together with the separator after it; a document of which nothing but space is left is dropped.
    Paragraph(Paragraphs),
    /// The same pieces, repeated when enough of their n-grams of tokens were met before, here or earlier in the piece.
    Ngram(Paragraphs, Ngrams),
}

/// How a text is cut into paragraphs, and which are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paragraphs {
    /// What ends a paragraph: `"\n"` in Dolma, `"\n\n"` for Markdown.
    pub separator: String,
    /// Shorter ones are left alone: closing brackets, bullets, rules. Bytes without surrounding space; as in Dolma, code points
    /// with it.
    pub least: usize,
    /// Paragraphs of fewer words (between white space) are left alone.
    pub least_words: usize,
    /// Whether paragraphs of nothing but space are compared; ours never are.
    pub empty: Empty,
}

/// What to do with paragraphs, or keys, of nothing but space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Leave them alone.
    Skip,
    /// Compare them like others (only with [`Semantics::Dolma12`]).
    Compare,
}

impl Paragraphs {
    /// Paragraphs as Dolma cuts them: at newlines, empty ones skipped.
    pub fn lines() -> Paragraphs {
        Paragraphs { separator: "\n".to_owned(), least: 1, least_words: 0, empty: Empty::Skip }
    }
}

/// When a paragraph counts as repeated by its n-grams. Tokens are those of UAX 29 without white space.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ngrams {
    /// Tokens of an n-gram.
    pub length: usize,
    /// Tokens from one n-gram to the next.
    pub stride: usize,
    /// Share of the n-grams taken that must have been met before.
    pub threshold: f64,
    /// What becomes of paragraphs with fewer than two n-grams.
    pub short: Short,
}

/// What becomes of paragraphs with fewer than two n-grams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Short {
    /// They are compared whole.
    Whole,
    /// They are left alone (one n-gram still counts).
    Skip,
}

/// Whose rules hold where ours mend the Dolma toolkit's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Semantics {
    /// Ours: a span is a paragraph with its separator; n-grams begin at 0, `stride`, 2 · `stride`; a least number of words leaves
    /// shorter paragraphs alone.
    #[serde(rename = "mended")]
    Mended,
    /// Dolma 1.2's, bit for bit: a span takes the separator only while the running count of code points is below the bytes of the
    /// text less one; the n-gram at 1 is always taken; scores are of single precision; a least number of words switches dedup off; a
    /// document's span is as long as its key in bytes.
    #[serde(rename = "dolma-1.2")]
    Dolma12,
}

/// What is done about repetitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Takes them out of the texts.
    Remove,
    /// Leaves texts alone and adds spans under this key to the attributes.
    Annotate(String),
    /// Writes rows of attributes instead of documents, one file for each file, as the Dolma toolkit does, under this key.
    Rows(String),
}

/// What a dedup compares and does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupParams {
    /// What is compared.
    pub by: DedupBy,
    /// What is done.
    pub action: Action,
    /// By whose rules.
    pub semantics: Semantics,
    /// Size of the Bloom filter; without one, keys are exact.
    pub bloom: Option<BloomSize>,
}

impl DedupParams {
    /// Removes, exactly.
    pub fn new(by: DedupBy) -> DedupParams {
        DedupParams { by, action: Action::Remove, semantics: Semantics::Mended, bloom: None }
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Documents that repeat something, wholly or in part.
    pub repeating: u64,
    /// Paragraphs that repeat (0 when paragraphs are not compared).
    pub repeated_paragraphs: u64,
    /// Documents without the field that is compared.
    pub without_field: u64,
}

impl DedupReport {
    /// Documents dropped, and bytes of text gone in all.
    pub fn removed(&self) -> Totals {
        self.read - self.kept
    }
}

/// Where the keys come from and go to.
#[derive(Clone, Copy, Debug)]
pub enum Against<'a> {
    /// What came before in the same corpus.
    Itself,
    /// Everything that a Bloom filter of [`remember`] holds, and nothing else: the corpus is not compared with itself.
    Filter(&'a Path),
}

/// Finds repetitions in `input` and writes what the action makes of it to `output`.
pub fn dedup(
    input: &Path,
    output: &Path,
    params: &DedupParams,
    against: Against<'_>,
    observer: &dyn Observer,
) -> Result<DedupReport, DataError> {
    check(params)?;
    match &params.by {
        DedupBy::Ngram(..) => run::<u64>(input, output, params, against, observer),
        _ => run::<u128>(input, output, params, against, observer),
    }
}

/// Enters everything that `params` would compare into a Bloom filter, and writes it to a file. Returns documents read and keys
/// entered.
pub fn remember(input: &Path, file: &Path, params: &DedupParams, observer: &dyn Observer) -> Result<(Totals, u64), DataError> {
    check(params)?;
    let Some(size) = params.bloom else {
        return Err(DataError::Params("give the number of keys that are expected and the rate of false positives".to_owned()));
    };
    match &params.by {
        DedupBy::Ngram(..) => enter_all::<u64>(input, file, params, size, observer),
        _ => enter_all::<u128>(input, file, params, size, observer),
    }
}

fn check(params: &DedupParams) -> Result<(), DataError> {
    let wrong = |message: &str| Err(DataError::Params(message.to_owned()));
    let (paragraphs, ngrams) = match &params.by {
        DedupBy::Document => return Ok(()),
        DedupBy::Field(field) if field.trim_start_matches("$.").split('.').any(str::is_empty) => {
            return Err(DataError::Params(format!("`{field}` is no field; write `metadata.url`")));
        }
        DedupBy::Field(_) => return Ok(()),
        DedupBy::Paragraph(paragraphs) => (paragraphs, None),
        DedupBy::Ngram(paragraphs, ngrams) => (paragraphs, Some(ngrams)),
    };
    if paragraphs.separator.is_empty() {
        return wrong("the paragraph separator must not be empty");
    }
    match ngrams {
        Some(ngrams) if ngrams.length == 0 || ngrams.stride == 0 => wrong("an n-gram has at least one token, and a stride too"),
        Some(ngrams) if !(0.0..=1.0).contains(&ngrams.threshold) => wrong("the share of n-grams lies between 0 and 1"),
        _ => Ok(()),
    }
}

/// What the keys of a filter are, for its file.
fn note(params: &DedupParams) -> String {
    let by = serde_json::to_string(&params.by).unwrap_or_default();
    let semantics = if params.semantics == Semantics::Dolma12 { " by dolma-1.2" } else { "" };
    format!("{by}{semantics}")
}

fn enter_all<K: Key + extract::Hash>(
    input: &Path,
    file: &Path,
    params: &DedupParams,
    size: BloomSize,
    observer: &dyn Observer,
) -> Result<(Totals, u64), DataError> {
    let mut seen: Seen<K> = bloom::empty(size)?;
    let mut totals = Totals::default();
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        let found: Vec<Extracted<K>> = rows.par_iter().map(|row| extract::extract(row, params)).collect();
        rows.iter().for_each(|row| totals += Totals { documents: 1, bytes: row.text.len() as u64 });
        seen.enter(&found.iter().map(|found| found.keys.as_slice()).collect::<Vec<_>>());
        Ok(())
    })?;
    Ok((totals, bloom::save(seen, &note(params), file)?))
}

fn run<K: Key + extract::Hash>(
    input: &Path,
    output: &Path,
    params: &DedupParams,
    against: Against<'_>,
    observer: &dyn Observer,
) -> Result<DedupReport, DataError> {
    let mut seen: Seen<K> = match (against, params.bloom) {
        (Against::Filter(file), _) => bloom::load(file, &note(params))?,
        (Against::Itself, Some(size)) => bloom::empty(size)?,
        (Against::Itself, None) => Seen::exact(),
    };
    let mut report = DedupReport::default();
    let mut sink = Sink::create(output, &params.action)?;
    for_each_lines(input, observer, |batch| {
        let rows: Vec<Row<'_>> = decode_all(batch)?;
        let found: Vec<Extracted<K>> = rows.par_iter().map(|row| extract::extract(row, params)).collect();
        let keys: Vec<&[K]> = found.iter().map(|found| found.keys.as_slice()).collect();
        let repeated = seen.enter(&keys);
        let scores: Vec<Vec<Option<f64>>> =
            found.par_iter().zip(&repeated).map(|(found, flags)| extract::scores(found, flags, params)).collect();
        for ((row, scores), found) in rows.iter().zip(&scores).zip(&found) {
            report.read += Totals { documents: 1, bytes: row.text.len() as u64 };
            let repeats = scores.iter().flatten().count() as u64;
            report.repeating += u64::from(repeats > 0);
            if matches!(params.by, DedupBy::Paragraph(_) | DedupBy::Ngram(..)) {
                report.repeated_paragraphs += repeats;
            }
            report.without_field += u64::from(matches!(found.pieces.as_slice(), [Piece::Missing]));
        }
        sink.take(batch, &rows, &found, &scores, params)
    })?;
    if let DedupBy::Field(field) = &params.by
        && report.read.documents > 0
        && report.without_field == report.read.documents
    {
        return Err(DataError::Params(format!("no document has the field `{field}`; nothing could be compared")));
    }
    report.kept = sink.finish(report.read)?;
    let removed = report.removed();
    observer.metric("removed_documents", removed.documents as f64);
    observer.metric("removed_bytes", removed.bytes as f64);
    observer.metric("removed_paragraphs", report.repeated_paragraphs as f64);
    Ok(report)
}

/// Where documents or rows go.
enum Sink<'a> {
    Documents(LineWriter),
    Rows(RowWriter, &'a str),
}

impl<'a> Sink<'a> {
    fn create(output: &Path, action: &'a Action) -> Result<Sink<'a>, DataError> {
        Ok(match action {
            Action::Rows(key) => Sink::Rows(RowWriter::create(output)?, key),
            Action::Remove | Action::Annotate(_) => Sink::Documents(LineWriter::create(output)?),
        })
    }

    fn take<K: Key>(
        &mut self,
        batch: &LineBatch,
        rows: &[Row<'_>],
        found: &[Extracted<K>],
        scores: &[Vec<Option<f64>>],
        params: &DedupParams,
    ) -> Result<(), DataError> {
        match self {
            Sink::Rows(writer, key) => {
                let lines: Vec<Vec<u8>> = (0..rows.len())
                    .into_par_iter()
                    .map(|index| rows::row(&rows[index], &found[index].pieces, &scores[index], key, params))
                    .collect();
                writer.push(&batch.file, &lines)
            }
            Sink::Documents(writer) => write_lines(
                writer,
                batch,
                rows,
                |row| row.text.len(),
                |index, row, number, line| {
                    let scores = &scores[index];
                    if scores.iter().all(Option::is_none) {
                        return Ok(Fate::Keep);
                    }
                    if let Action::Annotate(key) = &params.action {
                        let mut document: Document = decode(batch, number, line)?;
                        document.attributes.insert(key.clone(), extract::spans(row, scores, params));
                        return changed(&document);
                    }
                    let separator = match &params.by {
                        DedupBy::Document | DedupBy::Field(_) => return Ok(Fate::Drop),
                        DedupBy::Paragraph(paragraphs) | DedupBy::Ngram(paragraphs, _) => paragraphs.separator.as_str(),
                    };
                    let (mut text, mut at) = (String::with_capacity(row.text.len()), 0);
                    for (piece, score) in extract::pieces(&row.text, separator).zip(scores) {
                        let end = (at + piece.len() + separator.len()).min(row.text.len());
                        if score.is_none() {
                            text.push_str(&row.text[at..end]);
                        }
                        at = end;
                    }
                    if text.trim().is_empty() {
                        return Ok(Fate::Drop);
                    }
                    let mut document: Document = decode(batch, number, line)?;
                    document.replace_text(text);
                    changed(&document)
                },
            ),
        }
    }

    fn finish(self, read: Totals) -> Result<Totals, DataError> {
        match self {
            Sink::Documents(writer) => writer.finish(),
            Sink::Rows(writer, _) => writer.finish().map(|()| read),
        }
    }
}

/// A document as its new line.
pub(crate) fn changed(document: &Document) -> Result<Fate, DataError> {
    let line = serde_json::to_vec(document).map_err(std::io::Error::from)?;
    Ok(Fate::Change(line, document.text.len()))
}

/// The span of a whole text.
pub(crate) fn whole(text: &str, score: f64) -> Span {
    Span { start: 0, end: text.chars().count() as u64, score }
}

#[cfg(test)]
mod tests;
