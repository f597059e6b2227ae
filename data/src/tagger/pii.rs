//! E-mail addresses, phone numbers and IP addresses by regular expression, as Dolma finds them.
//! Masks nothing (see `mask`) and knows no other personal data; names and postal addresses pass unseen.

use super::python::strip;
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

pub(crate) const EMAIL: &str = "EMAIL_ADDRESS";
pub(crate) const PHONE: &str = "PHONE_NUMBER";
pub(crate) const IP: &str = "IP_ADDRESS";

const KINDS: [Emitted; 3] = [
    Emitted { name: EMAIL, field: "email_address", shape: Shape::Spans },
    Emitted { name: PHONE, field: "phone_number", shape: Shape::Spans },
    Emitted { name: IP, field: "ip_address", shape: Shape::Spans },
];
const DOC: Emitted = Emitted { name: "doc", field: "per_word", shape: Shape::Score };
const DOC_COUNT: Emitted = Emitted { name: "doc_count", field: "count", shape: Shape::Score };
const DOC_FRAC: Emitted = Emitted { name: "doc_frac", field: "frac", shape: Shape::Score };
const TYPES_REGEX: [Emitted; 4] = [KINDS[0], KINDS[1], KINDS[2], DOC];
const TYPES_COUNTS: [Emitted; 5] = [KINDS[0], KINDS[1], KINDS[2], DOC, DOC_COUNT];
const TYPES_FAST: [Emitted; 5] = [KINDS[0], KINDS[1], KINDS[2], DOC_COUNT, DOC_FRAC];

/// Space as Python's `re` sees it: `\s` and the ASCII separators.
static EMAIL_PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[.\s\x1c-\x1f@,?!;:)(]*([^\s\x1c-\x1f@]+@[^\s\x1c-\x1f@,?!;:)(]+?)[.\s\x1c-\x1f@,?!;:)(]?[\s\x1c-\x1f]")
        .expect("a constant pattern")
});
static PHONE_PATTERN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\s\x1c-\x1f]+\(?\d{3}\)?[-. ]*\d{3}[-. ]?\d{4}").expect("a constant pattern"));
static IP_PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)")
        .expect("a constant pattern")
});

/// What a stretch of text would have to contain for a pattern to match at all.
#[derive(Clone, Copy, Default)]
struct Hints {
    at: bool,
    digits: usize,
    dots: usize,
    ascii: bool,
}

impl Hints {
    fn of(text: &str) -> Hints {
        let mut hints = Hints { ascii: true, ..Hints::default() };
        for byte in text.bytes() {
            hints.at |= byte == b'@';
            hints.digits += usize::from(byte.is_ascii_digit());
            hints.dots += usize::from(byte == b'.');
            hints.ascii &= byte < 0x80;
        }
        hints
    }

    fn email(self) -> bool {
        self.at
    }

    /// Ten digits, which may be other than ASCII.
    fn phone(self) -> bool {
        self.digits >= 10 || !self.ascii
    }

    fn ip(self) -> bool {
        self.dots >= 3 && self.digits >= 4
    }
}

/// `pii_regex_with_counts_fast_v2`, the detector that made Dolma: paragraph by paragraph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastPii;

impl Tagger for FastPii {
    fn name(&self) -> &'static str {
        "pii_regex_with_counts_fast_v2"
    }

    fn group(&self) -> &'static str {
        "pii"
    }

    fn types(&self) -> &'static [Emitted] {
        &TYPES_FAST
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let string = text.as_str();
        let mut spans: Vec<(&'static str, Range<usize>)> = Vec::new();
        let hints = Hints::of(string);
        let possible = hints.email() || hints.phone() || hints.ip();
        if possible && memchr::memchr_iter(b'?', string.as_bytes()).count() <= 10_000 {
            let mut start = 0;
            for paragraph in string.split_inclusive('\n') {
                self.paragraph(paragraph, start, &mut spans);
                start += paragraph.len();
            }
        }
        let end = text.chars() as u64;
        let mut found: Found = spans.into_iter().map(|(kind, range)| (kind, span(text, range))).collect();
        let covered: u64 = found.iter().map(|(_, span)| span.end - span.start).sum();
        let count = found.len() as f64;
        found.push(("doc_count", Span { start: 0, end, score: count }));
        // The span of the count is in the sum, so the fraction is at least 1; Dolma's published filters rely on the count alone.
        let frac = if end == 0 { -1.0 } else { (covered + end) as f64 / end as f64 };
        found.push(("doc_frac", Span { start: 0, end, score: frac }));
        found
    }
}

impl FastPii {
    fn paragraph(self, paragraph: &str, start: usize, spans: &mut Vec<(&'static str, Range<usize>)>) {
        let hints = Hints::of(paragraph);
        let shifted = |range: Range<usize>| start + range.start..start + range.end;
        if hints.email() {
            for captures in EMAIL_PATTERN.captures_iter(paragraph) {
                let (Some(whole), Some(address)) = (captures.get(0), captures.get(1)) else { continue };
                if let Some((addressee, domain)) = address.as_str().split_once('@')
                    && strip(addressee) != "("
                    && domain.contains('.')
                {
                    spans.push((EMAIL, shifted(whole.range())));
                }
            }
        }
        if hints.phone() {
            spans.extend(PHONE_PATTERN.find_iter(paragraph).map(|found| (PHONE, shifted(found.range()))));
        }
        if hints.ip() {
            spans.extend(IP_PATTERN.find_iter(paragraph).map(|found| (IP, shifted(found.range()))));
        }
    }
}

/// The detectors that look at the whole text and drop numbers whose surroundings speak of ISBN, DOI or `#`.
///
/// Where Dolma's v1 and counts_v2 stop with a division by zero (a text without words), these give −1 as v2 does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pii {
    /// `pii_regex_v1`.
    V1,
    /// `pii_regex_v2`.
    V2,
    /// `pii_regex_with_counts_v2`.
    WithCountsV2,
}

impl Tagger for Pii {
    fn name(&self) -> &'static str {
        match self {
            Pii::V1 => "pii_regex_v1",
            Pii::V2 => "pii_regex_v2",
            Pii::WithCountsV2 => "pii_regex_with_counts_v2",
        }
    }

    fn group(&self) -> &'static str {
        "pii"
    }

    fn types(&self) -> &'static [Emitted] {
        match self {
            Pii::V1 | Pii::V2 => &TYPES_REGEX,
            Pii::WithCountsV2 => &TYPES_COUNTS,
        }
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let string = text.as_str();
        let hints = Hints::of(string);
        let mut spans: Vec<(&'static str, Range<usize>)> = Vec::new();
        if hints.email() {
            spans.extend(
                EMAIL_PATTERN.find_iter(string).filter(|found| is_email(found.as_str())).map(|found| (EMAIL, found.range())),
            );
        }
        for (kind, possible, pattern) in [(PHONE, hints.phone(), &PHONE_PATTERN), (IP, hints.ip(), &IP_PATTERN)] {
            if possible {
                let found = pattern.find_iter(string).map(|found| found.range());
                spans.extend(found.filter(|range| !is_reference(string, range)).map(|range| (kind, range)));
            }
        }
        let end = text.chars() as u64;
        let words = text.words().len();
        let score = if words == 0 { -1.0 } else { spans.len() as f64 / words as f64 };
        let count = spans.len() as f64;
        let mut found: Found = spans.into_iter().map(|(kind, range)| (kind, span(text, range))).collect();
        found.push(("doc", Span { start: 0, end, score }));
        if matches!(self, Pii::WithCountsV2) {
            found.push(("doc_count", Span { start: 0, end, score: count }));
        }
        found
    }
}

fn span(text: &Text<'_>, range: Range<usize>) -> Span {
    Span { start: text.offset(range.start) as u64, end: text.offset(range.end) as u64, score: 1.0 }
}

/// The part before the first `@` is not just a parenthesis, and what follows it (up to the next `@`) has a dot.
fn is_email(mention: &str) -> bool {
    let mut parts = mention.split('@');
    let (addressee, domain) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    strip(addressee) != "(" && domain.contains('.')
}

/// Whether the 100 characters on either side, or the number itself, contain "isbn", "doi" or "#".
fn is_reference(text: &str, range: &Range<usize>) -> bool {
    let from = text[..range.start].char_indices().rev().take(100).last().map_or(range.start, |(i, _)| i);
    let to = text[range.end..].char_indices().nth(100).map_or(text.len(), |(i, _)| range.end + i);
    let context = &text[from..to];
    ["isbn", "doi", "#"].iter().any(|word| context.contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::python::is_space;
    use super::*;

    fn found(tagger: &dyn Tagger, text: &str) -> Vec<(&'static str, u64, u64, f64)> {
        let found = tagger.tag(&Document::default(), &Text::new(text));
        found.into_iter().map(|(name, span)| (name, span.start, span.end, super::super::python::round5(span.score))).collect()
    }

    #[test]
    fn vectors_from_dolma() {
        let mail = "mail: <bob@host> ok\nx@y.z\n(a@b.com)\nfoo@bar. next\nq@w.co, r@t.org; end\nlast@line.com";
        let spans = [(EMAIL, 20, 26, 1.0), (EMAIL, 26, 36, 1.0), (EMAIL, 50, 58, 1.0), (EMAIL, 58, 67, 1.0)];
        assert_eq!(found(&FastPii, mail)[..4], spans);
        assert_eq!(found(&FastPii, mail)[4..], [("doc_count", 0, 84, 4.0), ("doc_frac", 0, 84, 1.39286)]);
        let starts: Vec<_> = found(&Pii::V2, mail).iter().map(|span| (span.1, span.2)).collect();
        assert_eq!(starts, [(19, 26), (26, 36), (36, 45), (49, 58), (58, 67), (0, 84)]);
        let window = "doi #5 555-123-4567\nsee http://x.org/a 555-123-4567 \n";
        assert_eq!(found(&Pii::V2, window), [("doc", 0, 53, 0.0)]);
        assert_eq!(found(&FastPii, window)[..2], [(PHONE, 6, 19, 1.0), (PHONE, 38, 51, 1.0)]);
    }

    /// Such paragraphs are no paragraphs to Dolma.
    #[test]
    fn nothing_matches_in_blank_paragraphs() {
        let mut spans = Vec::new();
        for blank in ["", " \n", "\t\u{1c}\u{a0}\n"] {
            assert!(blank.chars().all(is_space));
            FastPii.paragraph(blank, 0, &mut spans);
        }
        assert!(spans.is_empty());
    }
}
