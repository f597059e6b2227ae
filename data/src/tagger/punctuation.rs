//! Paragraphs of nothing but punctuation, symbols and emoji, as Dolma finds them.
//! Knows nothing but the text.

use super::python::{PUNCT, SPACE, classes};
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};

/// `not_alphanum_paragraph_v1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotAlphanumeric;

const ALL_PUNCT: &str = "all_punct";

/// Blocks of emoji, assigned or not.
fn is_emoji(c: char) -> bool {
    matches!(c as u32, 0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x2600..=0x27bf)
}

impl Tagger for NotAlphanumeric {
    fn name(&self) -> &str {
        "not_alphanum_paragraph_v1"
    }

    fn group(&self) -> &'static str {
        "punctuation"
    }

    fn types(&self) -> &'static [Emitted] {
        &[Emitted { name: ALL_PUNCT, field: "paragraphs", shape: Shape::Spans }]
    }

    /// A document without such a paragraph gets one span of score 0.
    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let classes = classes();
        let mut spans = Vec::new();
        for (string, paragraph) in text.full_paragraphs() {
            let plain = |c: char| !c.is_ascii_alphanumeric() && (classes[c as usize] & (PUNCT | SPACE) != 0 || is_emoji(c));
            if string.chars().all(plain) {
                spans.push(Span { start: paragraph.start, end: paragraph.end, score: 1.0 });
            }
        }
        if spans.is_empty() {
            spans.push(text.whole(0.0));
        }
        let mut found = Found::new();
        found.extend(ALL_PUNCT, spans);
        found
    }
}
