//! Lengths of a document in code points, bytes, words and Dolma's whitespace tokens.
//! Knows nothing but the text.

use super::python::is_space;
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};
use regex::Regex;
use std::sync::LazyLock;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// `char_length_v1`: code points.
    Chars,
    /// `bytes_length_v1`: UTF-8 bytes.
    Bytes,
    /// `whitespace_tokenizer_v1`: pieces left by splitting at runs of word characters or of neither word nor space characters,
    /// which is one more than the number of such runs.
    WhitespaceTokens,
    /// `word_length_v1` (ours): words as Python's `str.split()` finds them.
    Words,
}

static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+|[^\w\s]+").expect("a constant pattern"));

impl Tagger for Length {
    fn name(&self) -> &'static str {
        match self {
            Length::Chars => "char_length_v1",
            Length::Bytes => "bytes_length_v1",
            Length::WhitespaceTokens => "whitespace_tokenizer_v1",
            Length::Words => "word_length_v1",
        }
    }

    fn group(&self) -> &'static str {
        "length"
    }

    fn types(&self) -> &'static [Emitted] {
        match self {
            Length::Chars => &[Emitted { name: "length", field: "chars", shape: Shape::Score }],
            Length::Bytes => &[Emitted { name: "bytes", field: "bytes", shape: Shape::Score }],
            Length::WhitespaceTokens => &[Emitted { name: "length", field: "tokens", shape: Shape::Score }],
            Length::Words => &[Emitted { name: "words", field: "words", shape: Shape::Score }],
        }
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let length = match self {
            Length::Chars => text.chars(),
            Length::Bytes => text.as_str().len(),
            Length::WhitespaceTokens => whitespace_tokens(text.as_str()),
            Length::Words => text.words().len(),
        };
        vec![(self.types()[0].name, Span { start: 0, end: text.chars() as u64, score: length as f64 })]
    }
}

fn whitespace_tokens(text: &str) -> usize {
    if text.is_ascii() {
        // The same as the pattern, by the class of each byte: 0 space, 1 word, 2 other.
        let class = |byte: u8| match byte {
            b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => 1u8,
            _ if is_space(byte as char) && !(0x1c..=0x1f).contains(&byte) => 0,
            _ => 2,
        };
        let mut last = 0;
        let mut runs = 0;
        for byte in text.bytes() {
            let here = class(byte);
            runs += usize::from(here != 0 && here != last);
            last = here;
        }
        return runs + 1;
    }
    TOKEN.find_iter(text).count() + 1
}
