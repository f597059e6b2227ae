//! Lengths of a document in code points, bytes, words and Dolma's whitespace tokens, in all and by paragraph.
//! Knows nothing but the text. Lengths in Unicode word segments are in `segments`.

use super::python::{SPACE, WORD, classes, strip};
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// `char_length_v1`: code points.
    Chars,
    /// `char_length_strip_ws_v1`: code points without the space at both ends.
    Stripped,
    /// `char_length_with_paragraphs_v1`: code points of each paragraph and of the document.
    CharsByParagraph,
    /// `bytes_length_v1`: UTF-8 bytes.
    Bytes,
    /// `doc_count_v1`: 1.
    Documents,
    /// `whitespace_tokenizer_v1`: runs of word characters and runs of neither word nor space characters. Dolma counts the pieces
    /// between them, which is one more.
    WhitespaceTokens,
    /// `whitespace_tokenizer_with_paragraphs_v1`: the same by paragraph, and their sum.
    WhitespaceTokensByParagraph,
    /// `word_length_v1` (ours): words as Python's `str.split()` finds them.
    Words,
}

const PARAGRAPH: &str = "paragraph";
const DOCUMENT: &str = "document";

impl Tagger for Length {
    fn name(&self) -> &str {
        match self {
            Length::Chars => "char_length_v1",
            Length::Stripped => "char_length_strip_ws_v1",
            Length::CharsByParagraph => "char_length_with_paragraphs_v1",
            Length::Bytes => "bytes_length_v1",
            Length::Documents => "doc_count_v1",
            Length::WhitespaceTokens => "whitespace_tokenizer_v1",
            Length::WhitespaceTokensByParagraph => "whitespace_tokenizer_with_paragraphs_v1",
            Length::Words => "word_length_v1",
        }
    }

    fn group(&self) -> &'static str {
        "length"
    }

    fn types(&self) -> &'static [Emitted] {
        match self {
            Length::Chars => &[Emitted { name: "length", field: "chars", shape: Shape::Score }],
            Length::Stripped => &[Emitted { name: "length_no_ws", field: "chars_stripped", shape: Shape::Score }],
            Length::CharsByParagraph => &[
                Emitted { name: PARAGRAPH, field: "paragraphs", shape: Shape::Spans },
                Emitted { name: DOCUMENT, field: "chars", shape: Shape::Score },
            ],
            Length::Bytes => &[Emitted { name: "bytes", field: "bytes", shape: Shape::Score }],
            Length::Documents => &[Emitted { name: "docs", field: "documents", shape: Shape::Score }],
            Length::WhitespaceTokens => &[Emitted { name: "length", field: "tokens", shape: Shape::Score }],
            Length::WhitespaceTokensByParagraph => &[
                Emitted { name: PARAGRAPH, field: "paragraphs", shape: Shape::Spans },
                Emitted { name: DOCUMENT, field: "tokens", shape: Shape::Score },
            ],
            Length::Words => &[Emitted { name: "words", field: "words", shape: Shape::Score }],
        }
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let extra = usize::from(text.is_dolma());
        let length = match self {
            Length::Chars => text.chars(),
            Length::Stripped => strip(text.as_str()).chars().count(),
            Length::Bytes => text.as_str().len(),
            Length::Documents => 1,
            Length::WhitespaceTokens => whitespace_tokens(text.as_str()) + extra,
            Length::Words => text.words().len(),
            Length::CharsByParagraph | Length::WhitespaceTokensByParagraph => return self.by_paragraph(text, extra),
        };
        Found::one(self.types()[0].name, text.whole(length as f64))
    }
}

impl Length {
    fn by_paragraph(self, text: &Text<'_>, extra: usize) -> Found {
        let mut spans = Vec::new();
        let mut sum = 0.0;
        for (string, paragraph) in text.full_paragraphs() {
            let score = match self {
                Length::WhitespaceTokensByParagraph => (whitespace_tokens(string) + extra) as f64,
                _ => (paragraph.end - paragraph.start) as f64,
            };
            sum += score;
            spans.push(Span { start: paragraph.start, end: paragraph.end, score });
        }
        let document = if matches!(self, Length::CharsByParagraph) { text.chars() as f64 } else { sum };
        let mut found = Found::new();
        found.extend(PARAGRAPH, spans);
        found.push(DOCUMENT, text.whole(document));
        found
    }
}

/// The number of runs of word characters and of runs of characters that are neither word nor space.
pub(crate) fn whitespace_tokens(text: &str) -> usize {
    let classes = classes();
    let (mut last, mut runs) = (0, 0);
    let mut step = |flags: u8| {
        let here = if flags & WORD != 0 { 1u8 } else { 2 * u8::from(flags & SPACE == 0) };
        runs += usize::from(here != 0 && here != last);
        last = here;
    };
    if text.is_ascii() {
        text.bytes().for_each(|byte| step(classes[byte as usize]));
    } else {
        text.chars().for_each(|c| step(classes[c as usize]));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn tokens_are_the_matches_of_the_pattern(text in "[a_1 .\\n\u{1c}é½\u{300}日\u{200d}—]{0,60}") {
            let pattern = regex::Regex::new(r"\w+|[^\w\s]+").unwrap();
            proptest::prop_assert_eq!(whitespace_tokens(&text), pattern.find_iter(&text).count());
        }
    }
}
