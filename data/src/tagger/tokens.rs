//! Repetitions of tokens, with a tokenizer that the caller gives: Dolma's tokenizer_repetitions taggers.
//! Knows the tokenizer's ids and offsets; the search for periods is in `repetition`.

use super::repetition::{TYPES, periods, with_statistics};
use super::{Emitted, Found, Tagger, Text};
use crate::document::{Document, Span};
use crate::error::DataError;
use std::path::Path;

/// Periods looked for, in tokens.
const LONGEST_PERIOD: usize = 13;

/// Code points that v2r2 tokenises at a time.
const SLICE: usize = 100_000;

/// The three taggers of Dolma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// `tokenizer_repetitions_v1`: the whole text.
    Whole,
    /// `paragraph_tokenizer_repetitions_v1`: each paragraph, behind a space that makes its first token an inner one. In Dolma a span
    /// that holds the added space begins one code point too early, at −1 for the first paragraph.
    Paragraphs,
    /// `tokenizer_repetitions_v2r2`: slices of 100,000 code points; spans inside others are dropped, and a text without any has no
    /// attributes.
    Slices,
}

impl Unit {
    pub(crate) const ALL: [Unit; 3] = [Unit::Slices, Unit::Whole, Unit::Paragraphs];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Unit::Whole => "tokenizer_repetitions_v1",
            Unit::Paragraphs => "paragraph_tokenizer_repetitions_v1",
            Unit::Slices => "tokenizer_repetitions_v2r2",
        }
    }
}

/// A tagger with its tokenizer.
pub(crate) struct TokenRepetitions {
    unit: Unit,
    tokenizer: tokenizers::Tokenizer,
}

impl TokenRepetitions {
    /// Loads a `tokenizer.json`, or the one in a directory.
    pub(crate) fn load(unit: Unit, path: &Path) -> Result<TokenRepetitions, DataError> {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        let tokenizer =
            tokenizers::Tokenizer::from_bytes(fs_err::read(&file)?).map_err(|error| DataError::format(&file, error))?;
        Ok(TokenRepetitions { unit, tokenizer })
    }

    /// Repeated stretches in code points of `text`, in the order of their periods.
    fn find(&self, text: &str) -> Vec<Span> {
        // A byte-level tokenizer takes any text; one that does not says nothing about those it refuses.
        let Ok(encoded) = self.tokenizer.encode_char_offsets(text, false) else { return Vec::new() };
        let offsets = encoded.get_offsets();
        periods(encoded.get_ids(), LONGEST_PERIOD)
            .into_iter()
            .map(|period| Span {
                start: offsets[period.start].0 as u64,
                end: offsets[period.end - 1].1 as u64,
                score: period.times as f64,
            })
            .collect()
    }

    fn by_paragraph(&self, text: &Text<'_>) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut padded = String::new();
        for paragraph in text.paragraphs() {
            padded.clear();
            padded.push(' ');
            padded.push_str(&text.as_str()[paragraph.bytes.clone()]);
            for span in self.find(&padded) {
                let start = (paragraph.start + span.start).wrapping_sub(1);
                let outside = span.start == 0 && !text.is_dolma();
                spans.push(Span {
                    start: if outside { paragraph.start } else { start },
                    end: paragraph.start + span.end - 1,
                    ..span
                });
            }
        }
        spans
    }

    fn by_slice(&self, text: &Text<'_>) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut rest = text.as_str();
        let mut offset = 0;
        while !rest.is_empty() {
            let cut = rest.char_indices().nth(SLICE).map_or(rest.len(), |(byte, _)| byte);
            let (slice, behind) = rest.split_at(cut);
            let mut found = self.find(slice);
            found.sort_by(|a, b| (a.start, b.end).cmp(&(b.start, a.end)).then(b.score.total_cmp(&a.score)));
            let mut last: Option<Span> = None;
            for span in found {
                if last.is_some_and(|last| span.start >= last.start && span.end <= last.end) {
                    continue;
                }
                last = Some(span);
                spans.push(Span { start: span.start + offset, end: span.end + offset, ..span });
            }
            offset += SLICE as u64;
            rest = behind;
        }
        spans
    }
}

impl Tagger for TokenRepetitions {
    fn name(&self) -> &str {
        self.unit.name()
    }

    fn group(&self) -> &'static str {
        "token_repetitions"
    }

    fn types(&self) -> &'static [Emitted] {
        &TYPES
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let spans = match self.unit {
            Unit::Whole => self.find(text.as_str()),
            Unit::Paragraphs => self.by_paragraph(text),
            Unit::Slices => self.by_slice(text),
        };
        if spans.is_empty() && self.unit == Unit::Slices {
            return Found::new();
        }
        with_statistics(text, spans)
    }
}
