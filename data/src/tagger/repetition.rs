//! Repetitions: a group of characters, or a period of tokens, that follows itself three times or more.
//! Knows texts and token ids; which tokenizer is used is the caller's.

use super::python::{is_space, is_space_byte};
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};

/// What repetition taggers emit.
pub(super) const TYPES: [Emitted; 4] = [
    Emitted { name: REPETITION, field: "count", shape: Shape::Spans },
    Emitted { name: "doc_max_score_repetition", field: "max_times", shape: Shape::Score },
    Emitted { name: "doc_max_length_repetition", field: "max_length", shape: Shape::Score },
    Emitted { name: "doc_frac_repetition", field: "frac", shape: Shape::Score },
];

pub(super) const REPETITION: &str = "repetition";

/// Groups of characters that occur four times or more in a row, with at most one space between.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repetitions {
    /// `repetitions_v1`: in the whole text.
    Whole,
    /// `paragraph_repetitions_v1`: in each paragraph by itself.
    Paragraphs,
}

impl Tagger for Repetitions {
    fn name(&self) -> &str {
        match self {
            Repetitions::Whole => "repetitions_v1",
            Repetitions::Paragraphs => "paragraph_repetitions_v1",
        }
    }

    fn group(&self) -> &'static str {
        "repetitions"
    }

    fn types(&self) -> &'static [Emitted] {
        &TYPES
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let mut spans = Vec::new();
        match self {
            Repetitions::Whole => find(text.as_str(), 0, &mut spans),
            Repetitions::Paragraphs => {
                for paragraph in text.paragraphs() {
                    find(&text.as_str()[paragraph.bytes.clone()], paragraph.start, &mut spans);
                }
            }
        }
        with_statistics(text, spans)
    }
}

/// The spans, then the highest score, the longest span and the share of the text in spans.
pub(super) fn with_statistics(text: &Text<'_>, spans: Vec<Span>) -> Found {
    let length = |span: &Span| span.end.wrapping_sub(span.start) as f64;
    let score = spans.iter().map(|span| span.score).fold(0.0, f64::max);
    let longest = spans.iter().map(length).fold(0.0, f64::max);
    let sum: f64 = spans.iter().map(length).sum();
    let mut found = Found::new();
    found.extend(REPETITION, spans);
    found.push(TYPES[1].name, text.whole(score));
    found.push(TYPES[2].name, text.whole(longest));
    found.push(TYPES[3].name, text.whole(if sum > 0.0 { sum / text.chars() as f64 } else { 0.0 }));
    found
}

/// A character to the matcher.
trait Unit: Copy + Eq {
    fn space(self) -> bool;
    fn newline(self) -> bool;
    /// The first index of `self` in `haystack`.
    fn position(self, haystack: &[Self]) -> Option<usize>;
}

impl Unit for u8 {
    fn space(self) -> bool {
        is_space_byte(self)
    }
    fn newline(self) -> bool {
        self == b'\n'
    }
    fn position(self, haystack: &[u8]) -> Option<usize> {
        memchr::memchr(self, haystack)
    }
}

impl Unit for char {
    fn space(self) -> bool {
        is_space(self)
    }
    fn newline(self) -> bool {
        self == '\n'
    }
    fn position(self, haystack: &[char]) -> Option<usize> {
        haystack.iter().position(|&c| c == self)
    }
}

fn find(text: &str, start: u64, spans: &mut Vec<Span>) {
    if text.is_ascii() {
        find_in(text.as_bytes(), start, spans);
    } else {
        find_in(&text.chars().collect::<Vec<_>>(), start, spans);
    }
}

/// The matches of `(.+?)(\s?\1){3,}`, leftmost and with the shortest unit, as a backtracking engine finds them.
fn find_in<T: Unit>(text: &[T], offset: u64, spans: &mut Vec<Span>) {
    let mut start = 0;
    let mut line_end = 0;
    while start + 4 <= text.len() {
        if text[start].newline() {
            start += 1;
            continue;
        }
        if line_end <= start {
            line_end = start + text[start..].iter().position(|c| c.newline()).unwrap_or(text.len() - start);
        }
        match at(text, start, line_end) {
            Some((unit, end)) => {
                let times = occurrences(&text[start..end], unit);
                spans.push(Span { start: offset + start as u64, end: offset + end as u64, score: times as f64 });
                start = end;
            }
            None => start += 1,
        }
    }
}

/// The length of the shortest unit that repeats at `start`, and where the repetition ends.
fn at<T: Unit>(text: &[T], start: usize, line_end: usize) -> Option<(usize, usize)> {
    // A unit stays in its line, and three more copies must fit.
    let longest = (line_end - start).min((text.len() - start) / 4);
    let first = text[start];
    // The second copy begins with the first character of the unit, right behind it or behind one space.
    let last = (start + longest + 1).min(text.len() - 1);
    let mut tried = 0;
    let mut from = start + 1;
    while from <= last {
        let place = from + first.position(&text[from..=last])?;
        let unit = place - start;
        if unit > 1 && unit - 1 > tried && unit - 1 <= longest && text[place - 1].space() {
            tried = unit - 1;
            if let Some(end) = repeats(text, start, unit - 1) {
                return Some((unit - 1, end));
            }
        }
        if unit > tried && unit <= longest {
            tried = unit;
            if let Some(end) = repeats(text, start, unit) {
                return Some((unit, end));
            }
        }
        from = place + 1;
    }
    None
}

/// Where the copies of a unit end, when there are three or more behind it.
fn repeats<T: Unit>(text: &[T], start: usize, length: usize) -> Option<usize> {
    let unit = &text[start..start + length];
    let copy = |at: usize| text.get(at..at + length) == Some(unit);
    let spaced = |at: usize| text.get(at).is_some_and(|c| c.space()) && copy(at + 1);
    // Of the first three copies the space is taken or left, whatever lets all three be found; later ones prefer it.
    fn three(at: usize, left: u32, length: usize, copy: &dyn Fn(usize) -> bool, spaced: &dyn Fn(usize) -> bool) -> Option<usize> {
        if left == 0 {
            return Some(at);
        }
        let behind_space = if spaced(at) { three(at + 1 + length, left - 1, length, copy, spaced) } else { None };
        behind_space.or_else(|| if copy(at) { three(at + length, left - 1, length, copy, spaced) } else { None })
    }
    let mut end = three(start + length, 3, length, &copy, &spaced)?;
    loop {
        if spaced(end) {
            end += 1 + length;
        } else if copy(end) {
            end += length;
        } else {
            return Some(end);
        }
    }
}

/// How often the first `unit` characters occur in `text` without overlapping.
fn occurrences<T: Unit>(text: &[T], unit: usize) -> usize {
    let (mut at, mut times) = (0, 0);
    while at + unit <= text.len() {
        if text[at..at + unit] == text[..unit] {
            times += 1;
            at += unit;
        } else {
            at += 1;
        }
    }
    times
}

/// A periodic stretch of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    /// First item.
    pub(crate) start: usize,
    /// One past the last item.
    pub(crate) end: usize,
    /// How often the period fits.
    pub(crate) times: usize,
}

/// Stretches that repeat with a period of 1 to `longest` items, three times or more: by period, then by place.
pub(crate) fn periods<T: Eq>(items: &[T], longest: usize) -> Vec<Period> {
    let mut found = Vec::new();
    for period in 1..=longest.min(items.len() / 3) {
        let mut run = 0;
        for i in period..=items.len() {
            if i < items.len() && items[i] == items[i - period] {
                run += 1;
                continue;
            }
            if run >= 2 * period {
                found.push(Period { start: i - run - period, end: i, times: run / period + 1 });
            }
            run = 0;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static str, &'static [(u64, u64, f64)]);

    #[test]
    fn finds_what_the_pattern_matches() {
        // As Python's `re` finds them.
        let cases: [Case; 8] = [
            ("1 2 3 1 2 3 1 2 3 1 2 3\nA B A B A B\n", &[(0, 23, 4.0)]),
            ("aaaa", &[(0, 4, 4.0)]),
            ("a a a a a", &[(0, 9, 5.0)]),
            ("    x", &[(0, 4, 4.0)]),
            ("abababab ab", &[(0, 11, 5.0)]),
            ("a\na\na\na", &[(0, 7, 4.0)]),
            ("éé éé éé éé", &[(0, 11, 8.0)]),
            ("abcabcabc", &[]),
        ];
        for (text, expected) in cases {
            let mut spans = Vec::new();
            find(text, 0, &mut spans);
            assert_eq!(spans.iter().map(|span| (span.start, span.end, span.score)).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn periods_are_maximal() {
        let items = [7, 1, 2, 1, 2, 1, 2, 1, 9, 9, 9, 9];
        let found: Vec<_> = periods(&items, 13).iter().map(|period| (period.start, period.end, period.times)).collect();
        assert_eq!(found, [(8, 12, 4), (1, 8, 3)]);
        assert!(periods(&[1, 1], 13).is_empty());
    }
}
