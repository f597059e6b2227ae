//! E-mail addresses, phone numbers and IP addresses by regular expression, as Dolma finds them.
//! Masks nothing (see `mask`) and knows no other personal data; names and postal addresses pass unseen.

use super::python::strip;
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::Document;
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

/// The mended patterns: the address alone, without what stands around it.
static EMAIL_ALONE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"[^\s\x1c-\x1f@,?!;:)(<>\[\]{}"'|\\]+@[^\s\x1c-\x1f@,?!;:)(<>\[\]{}"'|\\/]+"#).expect("a constant pattern")
});
static PHONE_ALONE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\(?\d{3}\)?[-. ]*\d{3}[-. ]?\d{4}").expect("a constant pattern"));

/// Addresses and numbers as they are meant: the span is the address itself, also at the very end of the text; a phone number is at
/// the start of a line or behind space, and no number is a part of a longer one.
fn mentions(text: &str, hints: Hints) -> Vec<(&'static str, Range<usize>)> {
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    if hints.email() {
        for found in EMAIL_ALONE.find_iter(text) {
            let address = found.as_str();
            let range = found.start() + address.len() - address.trim_start_matches('.').len()
                ..found.start() + address.trim_end_matches('.').len();
            let domain = text.get(range.clone()).and_then(|address| address.split_once('@')).map(|(_, domain)| domain);
            if domain.is_some_and(|domain| domain.trim_start_matches('.').contains('.')) {
                spans.push((EMAIL, range));
            }
        }
    }
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    if hints.phone() {
        for found in PHONE_ALONE.find_iter(text) {
            let free = text[..found.start()].chars().next_back().is_none_or(super::python::is_space);
            if free && !text[found.end()..].starts_with(|c: char| c.is_numeric()) {
                spans.push((PHONE, found.range()));
            }
        }
    }
    if hints.ip() {
        for found in IP_PATTERN.find_iter(text) {
            let before = found.start().checked_sub(1);
            let inside = before.is_some_and(|at| digit(at) || bytes[at] == b'.') || digit(found.end());
            let longer = bytes.get(found.end()) == Some(&b'.') && digit(found.end() + 1);
            if !inside && !longer {
                spans.push((IP, found.range()));
            }
        }
    }
    spans
}

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

/// `pii_regex_with_counts_fast_v2`, the detector that made Dolma: paragraph by paragraph. Dolma's spans take in what surrounds an
/// address, miss one at the very end of the text and a phone number at the start of a line, and find numbers inside longer ones; its
/// `doc_frac` counts the span of `doc_count` and so is 1 at least. None of that is so unless Dolma's rules are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastPii;

impl Tagger for FastPii {
    fn name(&self) -> &str {
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
            if text.is_dolma() {
                let mut start = 0;
                for paragraph in string.split_inclusive('\n') {
                    self.paragraph(paragraph, start, &mut spans);
                    start += paragraph.len();
                }
            } else {
                spans = mentions(string, hints);
            }
        }
        let end = text.chars() as u64;
        let count = spans.len() as f64;
        let mut found = Found::new();
        let mut covered = 0;
        for (kind, range) in spans {
            let span = text.span(range);
            covered += span.end - span.start;
            found.push(kind, span);
        }
        found.push("doc_count", text.whole(count));
        let frac = match (end, text.is_dolma()) {
            (0, true) => -1.0,
            (0, false) => 0.0,
            (_, true) => (covered + end) as f64 / end as f64,
            (_, false) => covered as f64 / end as f64,
        };
        found.push("doc_frac", text.whole(frac));
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
    fn name(&self) -> &str {
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
        if !text.is_dolma() {
            spans = mentions(string, hints);
            spans.retain(|(kind, range)| *kind == EMAIL || !is_reference(string, range));
            return self.found(text, spans);
        }
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
        self.found(text, spans)
    }
}

impl Pii {
    fn found(self, text: &Text<'_>, spans: Vec<(&'static str, Range<usize>)>) -> Found {
        let words = text.words().len();
        let count = spans.len() as f64;
        let mut found = Found::new();
        spans.into_iter().for_each(|(kind, range)| found.push(kind, text.span(range)));
        found.push("doc", text.whole(if words == 0 { -1.0 } else { count / words as f64 }));
        if matches!(self, Pii::WithCountsV2) {
            found.push("doc_count", text.whole(count));
        }
        found
    }
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
    use super::super::Compat;
    use super::super::python::is_space;
    use super::*;

    fn found(tagger: &dyn Tagger, text: &str, compat: Compat) -> Vec<(String, u64, u64, f64)> {
        let found = tagger.tag(&Document::default(), &Text::with(text, compat));
        let round = super::super::python::round5;
        found.spans().map(|(name, span)| (name.to_owned(), span.start, span.end, round(span.score))).collect()
    }

    fn pick(found: &[(String, u64, u64, f64)]) -> Vec<(&str, u64, u64, f64)> {
        found.iter().map(|(name, start, end, score)| (name.as_str(), *start, *end, *score)).collect()
    }

    #[test]
    fn vectors_from_dolma() {
        let mail = "mail: <bob@host> ok\nx@y.z\n(a@b.com)\nfoo@bar. next\nq@w.co, r@t.org; end\nlast@line.com";
        let spans = [(EMAIL, 20, 26, 1.0), (EMAIL, 26, 36, 1.0), (EMAIL, 50, 58, 1.0), (EMAIL, 58, 67, 1.0)];
        let fast = found(&FastPii, mail, Compat::Dolma12);
        assert_eq!(pick(&fast)[..4], spans);
        assert_eq!(pick(&fast)[4..], [("doc_count", 0, 84, 4.0), ("doc_frac", 0, 84, 1.39286)]);
        let starts: Vec<_> = found(&Pii::V2, mail, Compat::Dolma12).iter().map(|span| (span.1, span.2)).collect();
        assert_eq!(starts, [(19, 26), (26, 36), (36, 45), (49, 58), (58, 67), (0, 84)]);
        let window = "doi #5 555-123-4567\nsee http://x.org/a 555-123-4567 \n";
        assert_eq!(pick(&found(&Pii::V2, window, Compat::Dolma12)), [("doc", 0, 53, 0.0)]);
        assert_eq!(pick(&found(&FastPii, window, Compat::Dolma12))[..2], [(PHONE, 6, 19, 1.0), (PHONE, 38, 51, 1.0)]);
    }

    #[test]
    fn mended_spans_are_the_addresses_themselves() {
        let text = "Ask <bob.b@host.org>, not x@host.\n555-123-4567 is ours, 1555-123-4567 not; 10.0.0.256 1.2.3.4.5 (8.8.8.8) last@line.com.";
        let ours = found(&FastPii, text, Compat::None);
        let covered: Vec<_> =
            ours.iter().filter(|span| span.3 == 1.0).map(|span| &text[span.1 as usize..span.2 as usize]).collect();
        assert_eq!(covered, ["bob.b@host.org", "last@line.com", "555-123-4567", "8.8.8.8"]);
        let sum = covered.iter().map(|address| address.len()).sum::<usize>() as f64 / text.len() as f64;
        assert_eq!(ours.last().unwrap().3, super::super::python::round5(sum));
        assert_eq!(pick(&found(&FastPii, "", Compat::None)), [("doc_count", 0, 0, 0.0), ("doc_frac", 0, 0, 0.0)]);
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
