//! The line and page rules of C4 (Raffel et al. 2020, section 2.2) as Dolma tags them.
//! Knows the word list it carries; removes nothing.

use super::python::strip;
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};
use regex::Regex;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The two versions of Dolma.
#[derive(Clone, Copy, Debug)]
pub(crate) enum C4 {
    /// `c4_v1`: every rule is applied line by line.
    V1,
    /// `c4_v2`: page rules look at the whole lower-case text. In Dolma line offsets are those of the lower-case text, which is longer
    /// where it has `İ`.
    V2,
}

const TYPES: [Emitted; 7] = [
    Emitted { name: NO_PUNCTUATION, field: NO_PUNCTUATION, shape: Shape::Spans },
    Emitted { name: FEW_WORDS, field: FEW_WORDS, shape: Shape::Spans },
    Emitted { name: "has_naughty_word", field: "has_naughty_word", shape: Shape::Flag },
    Emitted { name: "has_javascript", field: "has_javascript", shape: Shape::Flag },
    Emitted { name: "has_lorem_ipsum", field: "has_lorem_ipsum", shape: Shape::Flag },
    Emitted { name: "has_curly_brace", field: "has_curly_brace", shape: Shape::Flag },
    Emitted { name: "line_count", field: "line_count", shape: Shape::Score },
];

const NO_PUNCTUATION: &str = "lines_with_no_ending_punctuation";
const FEW_WORDS: &str = "lines_with_too_few_words";
const MIN_WORDS_PER_LINE: usize = 3;

struct Naughty {
    words: HashSet<&'static str, ahash::RandomState>,
    /// For each first byte, the lengths in bytes that words of the list have, as bits.
    lengths: [u64; 256],
    phrases: Regex,
}

static NAUGHTY: LazyLock<Naughty> = LazyLock::new(|| {
    let lines = include_str!("naughty_words_en.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let (phrases, single): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.contains(' '));
    let phrases: Vec<_> = phrases.into_iter().map(regex::escape).collect();
    let mut words = HashSet::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    let mut lengths = [0; 256];
    for word in single {
        lengths[usize::from(word.as_bytes()[0])] |= 1 << word.len().min(63);
        words.insert(word);
    }
    Naughty { words, lengths, phrases: Regex::new(&phrases.join("|")).expect("escaped phrases") }
});

/// Whether text in lower case holds a word or a phrase of the list.
fn is_naughty(lower: &str) -> bool {
    let naughty = &*NAUGHTY;
    // Few words begin with the right byte and have the right length; only these are looked up.
    let listed = |word: &str| {
        let possible = word.len() < 64 && naughty.lengths[usize::from(word.as_bytes()[0])] >> word.len() & 1 == 1;
        possible && naughty.words.contains(word)
    };
    let word = if lower.is_ascii() {
        let bytes = lower.as_bytes();
        let mut start = 0;
        let mut found = false;
        for at in 0..=bytes.len() {
            if at == bytes.len() || super::python::is_space_byte(bytes[at]) {
                found |= at > start && listed(&lower[start..at]);
                start = at + 1;
            }
        }
        found
    } else {
        super::text::split(lower).iter().any(|word| listed(&lower[word.bytes.clone()]))
    };
    word || naughty.phrases.is_match(lower)
}

/// The two line rules: no ending punctuation, too few words.
fn judge(line: &str) -> (bool, bool) {
    let line = strip(line);
    (!line.ends_with(['.', '?', '!', '"']), !has_words(line, MIN_WORDS_PER_LINE))
}

/// Whether a line has at least `n` words.
fn has_words(line: &str, n: usize) -> bool {
    line.split(super::python::is_space).filter(|word| !word.is_empty()).nth(n - 1).is_some()
}

impl Tagger for C4 {
    fn name(&self) -> &str {
        match self {
            C4::V1 => "c4_v1",
            C4::V2 => "c4_v2",
        }
    }

    fn group(&self) -> &'static str {
        "c4"
    }

    fn types(&self) -> &'static [Emitted] {
        &TYPES
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        match self {
            C4::V1 => v1(text),
            C4::V2 => v2(text),
        }
    }
}

fn v1(text: &Text<'_>) -> Found {
    let end = text.chars() as u64;
    let mut found = Found::new();
    let mut few_words = Vec::new();
    let (mut naughty, mut javascript, mut lorem, mut curly) = (false, false, false, false);
    let (mut lines, mut start) = (0u64, 0u64);
    let mut pieces = text.as_str().split('\n').peekable();
    while let Some(line) = pieces.next() {
        let length = if line.is_ascii() { line.len() } else { line.chars().count() } as u64;
        let stop = start + length + u64::from(pieces.peek().is_some());
        let span = Span { start, end: stop, score: 1.0 };
        let lower = line.to_lowercase();
        let lower = strip(&lower);
        let (no_end, few) = judge(lower);
        if no_end {
            found.push(NO_PUNCTUATION, span);
        }
        if few {
            few_words.push(span);
        }
        naughty = naughty || is_naughty(lower);
        javascript =
            javascript || (lower.contains("javascript") && lower.split(super::python::is_space).any(|word| word == "javascript"));
        lorem = lorem || lower.contains("lorem ipsum");
        curly = curly || lower.contains('{');
        lines += 1;
        start = stop;
    }
    found.extend(FEW_WORDS, few_words);
    let flags =
        [("has_naughty_word", naughty), ("has_javascript", javascript), ("has_lorem_ipsum", lorem), ("has_curly_brace", curly)];
    set_flags(&mut found, &flags, end);
    found.push("line_count", Span { start: 0, end, score: lines as f64 });
    found
}

fn v2(text: &Text<'_>) -> Found {
    let end = text.chars() as u64;
    let lower = text.lower();
    let contains = |needle: &str| memchr::memmem::find(lower.as_bytes(), needle.as_bytes()).is_some();
    let flags = [
        ("has_curly_brace", contains("{")),
        ("has_lorem_ipsum", contains("lorem ipsum")),
        ("has_javascript", contains("javascript")),
        ("has_naughty_word", is_naughty(lower)),
    ];
    let mut found = Found::new();
    set_flags(&mut found, &flags, end);
    if !text.is_dolma() && lower.len() != text.as_str().len() {
        return original_lines(text, found);
    }
    let ascii = lower.is_ascii();
    let total = if ascii { lower.len() } else { lower.chars().count() } as u64;
    let (mut lines, mut start) = (0u64, 0u64);
    for line in lower.split('\n') {
        let mut stop = start + if ascii { line.len() } else { line.chars().count() } as u64;
        if stop != total {
            stop += 1;
        }
        let span = Span { start, end: stop, score: 1.0 };
        let (no_end, few) = judge(line);
        if no_end {
            found.push(NO_PUNCTUATION, span);
        }
        if few {
            found.push(FEW_WORDS, span);
        }
        lines += 1;
        start = stop;
    }
    found.push("line_count", Span { start: 0, end, score: lines as f64 });
    found
}

/// The line rules with offsets of the text as it is; lower-casing changes neither line ends nor what the rules look at.
fn original_lines(text: &Text<'_>, mut found: Found) -> Found {
    let end = text.chars() as u64;
    let (mut lines, mut start) = (0u64, 0u64);
    for line in text.as_str().split('\n') {
        let stop = (start + line.chars().count() as u64 + 1).min(end);
        let span = Span { start, end: stop, score: 1.0 };
        let (no_end, few) = judge(line);
        if no_end {
            found.push(NO_PUNCTUATION, span);
        }
        if few {
            found.push(FEW_WORDS, span);
        }
        lines += 1;
        start = stop;
    }
    found.push("line_count", Span { start: 0, end, score: lines as f64 });
    found
}

fn set_flags(found: &mut Found, flags: &[(&'static str, bool)], end: u64) {
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        found.push(name, Span { start: 0, end, score: 1.0 });
    }
}
