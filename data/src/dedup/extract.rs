//! The keys of a document, what they belong to, and what their repetition says about the text.
//! Knows the rules of every way to compare; does not know which keys were met before.

use super::ngram::for_each_ngram;
use super::seen::Key;
use super::{DedupBy, DedupParams, Empty, Paragraphs, Semantics, Short, whole};
use crate::document::Span;
use crate::document::raw::Row;
use std::borrow::Cow;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

/// Keeps a paragraph that is compared whole apart from n-grams.
const WHOLE: u64 = 0x7061_7261_6772_6168;

/// A key made of bytes, or of an n-gram's hash.
pub(super) trait Hash: Key {
    fn of(bytes: &[u8]) -> Self;
    fn of_ngram(hash: u64) -> Self;
}

impl Hash for u128 {
    fn of(bytes: &[u8]) -> u128 {
        xxh3_128(bytes)
    }
    fn of_ngram(hash: u64) -> u128 {
        u128::from(hash)
    }
}

impl Hash for u64 {
    fn of(bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, WHOLE)
    }
    fn of_ngram(hash: u64) -> u64 {
        hash
    }
}

/// One thing that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The field is not there.
    Missing,
    /// Is left alone.
    Skipped,
    /// Has one key.
    Exact,
    /// Has this many n-grams.
    Ngrams(u32),
    /// Has too few n-grams, whose keys come first, and then a key of its own.
    Short(u32),
}

/// The keys of a document in their order, and the pieces they belong to.
#[derive(Debug)]
pub(super) struct Extracted<K> {
    pub(super) keys: Vec<K>,
    pub(super) pieces: Vec<Piece>,
}

/// The pieces of a text between separators; one more than there are separators.
pub(super) fn pieces<'a>(text: &'a str, separator: &'a str) -> impl Iterator<Item = &'a str> {
    let ends = memchr::memmem::find_iter(text.as_bytes(), separator.as_bytes()).map(Some).chain([None]);
    let mut start = 0;
    ends.map(move |end| {
        let piece = &text[start..end.unwrap_or(text.len())];
        start = end.map_or(text.len(), |end| end + separator.len());
        piece
    })
}

/// What is compared of a document.
pub(super) fn extract<K: Hash>(row: &Row<'_>, params: &DedupParams) -> Extracted<K> {
    let (paragraphs, ngrams) = match &params.by {
        DedupBy::Document => return single(Some(row.text.as_bytes())),
        DedupBy::Field(path) => {
            let value = field(row, path);
            let empty = value.as_ref().is_some_and(|value| value.trim().is_empty());
            if empty && params.semantics == Semantics::Mended {
                return Extracted { keys: Vec::new(), pieces: vec![Piece::Skipped] };
            }
            return single(value.as_ref().map(|value| value.as_bytes()));
        }
        DedupBy::Paragraph(paragraphs) => (paragraphs, None),
        DedupBy::Ngram(paragraphs, ngrams) => (paragraphs, Some(ngrams)),
    };
    let mut found = Extracted { keys: Vec::new(), pieces: Vec::new() };
    if params.semantics == Semantics::Dolma12 && row.text.is_empty() {
        return found;
    }
    let mut hashes = Vec::new();
    for piece in pieces(&row.text, &paragraphs.separator) {
        if !compared(piece, paragraphs, params.semantics) {
            found.pieces.push(Piece::Skipped);
            continue;
        }
        let Some(ngrams) = ngrams else {
            found.keys.push(K::of(piece.as_bytes()));
            found.pieces.push(Piece::Exact);
            continue;
        };
        let before = found.keys.len();
        for_each_ngram(piece, ngrams, params.semantics, &mut hashes, |hash| found.keys.push(K::of_ngram(hash)));
        let taken = (found.keys.len() - before) as u32;
        if taken < 2 && ngrams.short == Short::Whole {
            found.keys.push(K::of(piece.as_bytes()));
            found.pieces.push(Piece::Short(taken));
        } else {
            found.pieces.push(Piece::Ngrams(taken));
        }
    }
    found
}

fn single<K: Hash>(key: Option<&[u8]>) -> Extracted<K> {
    match key {
        Some(bytes) => Extracted { keys: vec![K::of(bytes)], pieces: vec![Piece::Exact] },
        None => Extracted { keys: Vec::new(), pieces: vec![Piece::Missing] },
    }
}

fn compared(piece: &str, paragraphs: &Paragraphs, semantics: Semantics) -> bool {
    match semantics {
        Semantics::Mended => {
            piece.trim().len() >= paragraphs.least.max(1)
                && (paragraphs.least_words == 0
                    || piece.split_whitespace().take(paragraphs.least_words).count() == paragraphs.least_words)
        }
        Semantics::Dolma12 => {
            paragraphs.least_words == 0
                && (paragraphs.least == 0 || piece.chars().count() >= paragraphs.least)
                && !(paragraphs.empty == Empty::Skip && piece.trim().is_empty())
        }
    }
}

/// The value of a dotted path, with `$.` before it or without. Numbers and truth values are compared as they are written.
pub(crate) fn field<'a>(row: &'a Row<'_>, path: &str) -> Option<Cow<'a, str>> {
    let path = path.trim_start_matches("$.");
    match path {
        "text" => return Some(Cow::Borrowed(&row.text)),
        "id" => return Some(Cow::Borrowed(&row.id)),
        _ => {}
    }
    let mut parts = path.split('.');
    let value: serde_json::Value = match parts.next() {
        Some("metadata") => serde_json::from_str(row.metadata?.get()).ok()?,
        Some(name) => return row.other(name).filter(|_| parts.next().is_none()).map(Cow::Borrowed),
        None => return None,
    };
    let found = parts.try_fold(&value, |value, name| value.get(name))?;
    match found {
        serde_json::Value::String(text) => Some(Cow::Owned(text.clone())),
        serde_json::Value::Null => None,
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// The score of every piece that counts as repeated.
pub(super) fn scores<K>(found: &Extracted<K>, flags: &[bool], params: &DedupParams) -> Vec<Option<f64>> {
    let threshold = if let DedupBy::Ngram(_, ngrams) = &params.by { ngrams.threshold } else { 0.0 };
    let reached = |score: f64| match params.semantics {
        Semantics::Mended => (score >= threshold && score > 0.0).then_some(score),
        Semantics::Dolma12 => (score as f32 >= threshold as f32).then_some(f64::from(score as f32)),
    };
    let mut rest = flags;
    let mut take = |n: u32| {
        let (mine, others) = rest.split_at(n as usize);
        rest = others;
        mine
    };
    let share = |repeated: usize, taken: u32| match params.semantics {
        Semantics::Mended => repeated as f64 / f64::from(taken),
        Semantics::Dolma12 => f64::from(repeated as f32 / taken as f32),
    };
    found
        .pieces
        .iter()
        .map(|piece| match *piece {
            Piece::Missing | Piece::Skipped => None,
            Piece::Exact => take(1)[0].then_some(1.0),
            Piece::Ngrams(0) => None,
            Piece::Ngrams(taken) => reached(share(take(taken).iter().filter(|repeated| **repeated).count(), taken)),
            Piece::Short(taken) => reached(f64::from(u8::from(take(taken + 1)[taken as usize]))),
        })
        .collect()
}

/// The spans of the pieces with a score, in code points.
pub(super) fn spans(row: &Row<'_>, scores: &[Option<f64>], params: &DedupParams) -> Vec<Span> {
    let separator = match (&params.by, params.semantics) {
        (DedupBy::Paragraph(paragraphs) | DedupBy::Ngram(paragraphs, _), _) => paragraphs.separator.as_str(),
        (DedupBy::Field(path), Semantics::Dolma12) => {
            let bytes = field(row, path).map_or(0, |value| value.len()) as u64;
            return scores.iter().flatten().map(|score| Span { start: 0, end: bytes, score: *score }).collect();
        }
        (DedupBy::Document, Semantics::Dolma12) => {
            return scores.iter().flatten().map(|score| Span { start: 0, end: row.text.len() as u64, score: *score }).collect();
        }
        _ => return scores.iter().flatten().map(|score| whole(&row.text, *score)).collect(),
    };
    let (mut found, mut offset, mut at) = (Vec::new(), 0u64, 0usize);
    let joint = separator.chars().count() as u64;
    for (piece, score) in pieces(&row.text, separator).zip(scores) {
        let start = offset;
        offset += piece.chars().count() as u64;
        at += piece.len();
        let last = at >= row.text.len();
        at += separator.len();
        match params.semantics {
            Semantics::Mended => offset += if last { 0 } else { joint },
            Semantics::Dolma12 => offset += u64::from(offset + 1 < row.text.len() as u64),
        }
        if let Some(score) = score {
            found.push(Span { start, end: offset, score: *score });
        }
    }
    found
}
