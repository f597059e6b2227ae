//! What Dolma measures of program code: the notice at its top, and RedPajama's proportions of lines, letters and tokens.
//! Knows no programming language; comments by language are in `starcoder`.

use super::length::whitespace_tokens;
use super::python::{ALNUM, ALPHA, classes};
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};
use regex::Regex;
use std::sync::LazyLock;

/// `code_copyright_comments_v1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copyright;

static BLOCK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/").expect("a constant pattern"));
/// Case-insensitive as in Python, where the long s and the Kelvin sign fold too; of these only letters of the word matter.
static NOTICE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i)copyright").expect("a constant pattern"));

impl Copyright {
    /// The first block comment if it speaks of copyright; where there is none, the lines of comments at the top.
    fn find(text: &Text<'_>) -> Option<(&'static str, Span)> {
        let string = text.as_str();
        if let Some(block) = BLOCK.find(string) {
            return NOTICE.is_match(block.as_str()).then(|| ("copyright_notice", text.span(block.range())));
        }
        let (mut lines, mut chars, mut bytes) = (0, 0u64, 0);
        for line in string.split('\n') {
            let comment = ["//", "#", "--"].iter().any(|mark| line.starts_with(mark)) || line.is_empty();
            if !comment {
                break;
            }
            lines += 1;
            // Dolma leaves out the newlines of lines that are not empty.
            chars += if line.is_empty() { 1 } else { line.chars().count() as u64 };
            bytes += line.len() + 1;
        }
        if lines == 0 {
            return None;
        }
        if text.is_dolma() {
            return Some(("comment_block", Span { start: 0, end: chars, score: 1.0 }));
        }
        let span = text.span(0..bytes.min(string.len()));
        (span.end > 0).then_some(("comment_block", span))
    }
}

impl Tagger for Copyright {
    fn name(&self) -> &str {
        "code_copyright_comments_v1"
    }

    fn group(&self) -> &'static str {
        "copyright"
    }

    fn types(&self) -> &'static [Emitted] {
        &[
            Emitted { name: "copyright_notice", field: "notice", shape: Shape::Flag },
            Emitted { name: "comment_block", field: "block", shape: Shape::Flag },
            Emitted { name: "doc", field: "frac", shape: Shape::Score },
        ]
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let length = text.chars() as f64;
        let mut found = Found::new();
        let mut score = 0.0;
        if let Some((name, span)) = Copyright::find(text) {
            found.push(name, span);
            let extra = if text.is_dolma() { 1.0 } else { 0.0 };
            score = if length == 0.0 { -1.0 } else { ((span.end - span.start) as f64 + extra) / length };
        }
        found.push("doc", text.whole(score));
        found
    }
}

/// `code_redpajama_taggers_v1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedPajama;

/// The line ends of Python's `str.splitlines()`.
pub(crate) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Number of lines, the longest and all of them together, in code points.
fn lines(text: &str) -> (usize, usize, usize) {
    let (mut count, mut longest, mut sum) = (0, 0, 0);
    let mut here = 0;
    let mut end = |here: &mut usize| {
        count += 1;
        longest = longest.max(*here);
        sum += std::mem::take(here);
    };
    let mut after_return = false;
    let mut open = false;
    let mut step = |c: char| {
        if is_line_end(c) {
            if !(after_return && c == '\n') {
                end(&mut here);
            }
            open = false;
        } else {
            here += 1;
            open = true;
        }
        after_return = c == '\r';
    };
    if text.is_ascii() {
        text.bytes().for_each(|byte| step(byte as char));
    } else {
        text.chars().for_each(step);
    }
    if open {
        end(&mut here);
    }
    (count, longest, sum)
}

impl Tagger for RedPajama {
    fn name(&self) -> &str {
        "code_redpajama_taggers_v1"
    }

    fn group(&self) -> &'static str {
        "redpajama"
    }

    fn types(&self) -> &'static [Emitted] {
        &[
            Emitted { name: "max_line_length_doc", field: "max_line_length", shape: Shape::Score },
            Emitted { name: "avg_line_length_doc", field: "avg_line_length", shape: Shape::Score },
            Emitted { name: "alnum_prop_doc", field: "alnum_prop", shape: Shape::Score },
            Emitted { name: "alpha_token_prop_doc", field: "alpha_token_prop", shape: Shape::Score },
        ]
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let string = text.as_str();
        let (count, longest, sum) = lines(string);
        let classes = classes();
        let (mut alnum, mut alpha) = (0usize, 0usize);
        let mut step = |flags: u8| {
            alnum += usize::from(flags & ALNUM != 0);
            alpha += usize::from(flags & ALPHA != 0);
        };
        if text.is_ascii() {
            string.bytes().for_each(|byte| step(classes[byte as usize]));
        } else {
            string.chars().for_each(|c| step(classes[c as usize]));
        }
        let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let tokens = whitespace_tokens(string) + usize::from(text.is_dolma());
        let mut found = Found::new();
        let scores = [longest as f64, ratio(sum, count), ratio(alnum, text.chars()), ratio(alpha, tokens)];
        for (emitted, score) in self.types().iter().zip(scores) {
            found.push(emitted.name, text.whole(score));
        }
        found
    }
}
