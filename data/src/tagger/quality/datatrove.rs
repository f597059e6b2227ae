//! The filters of datatrove 0.10 for English: Gopher quality, Gopher repetition, FineWeb quality.
//! Knows their definitions; words are those of `words`.

use super::repeated::{Numbered, duplicates};
use super::words::words;
use super::{Rule, at_least, at_most};
use crate::tagger::Text;
use crate::tagger::code::is_line_end;
use crate::tagger::python::{any_alpha, class, in_ranges, is_space, strip};
use std::sync::LazyLock;

pub(super) static RULES: [Rule; 23] = [
    at_least("non_symbol_words", 50.0),
    at_most("non_symbol_words", 100_000.0),
    at_least("mean_word_length", 3.0),
    at_most("mean_word_length", 10.0),
    at_most("hashes_per_word", 0.1),
    at_most("ellipses_per_word", 0.1),
    at_most("bullet_lines", 0.9),
    at_most("ellipsis_lines", 0.3),
    at_least("alphabetic_words", 0.8),
    at_least("distinct_stop_words", 2.0),
    at_most("duplicate_paragraphs", 0.3),
    at_most("characters_in_duplicate_paragraphs", 0.2),
    at_most("duplicate_lines", 0.3),
    at_most("characters_in_duplicate_lines", 0.2),
    at_most("top_2gram", 0.20),
    at_most("top_3gram", 0.18),
    at_most("top_4gram", 0.16),
    at_most("duplicate_5grams", 0.15),
    at_most("duplicate_6grams", 0.14),
    at_most("duplicate_7grams", 0.13),
    at_most("duplicate_8grams", 0.12),
    at_most("duplicate_9grams", 0.11),
    at_most("duplicate_10grams", 0.10),
];

pub(super) static FINEWEB: [Rule; 4] = [
    at_least("fineweb_punctuated_lines", 0.12),
    at_most("fineweb_short_lines", 0.67),
    at_most("fineweb_duplicate_characters", 0.01),
    at_most("fineweb_newlines_per_word", 0.3),
];

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// datatrove's table of punctuation: marks of several scripts, and control characters but the newline.
fn is_punctuation(c: char) -> bool {
    const MARKS: &str = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»";
    if c.is_ascii() {
        c != '\n' && (c.is_ascii_control() || MARKS.contains(c)) && c != '\u{7f}' || c == '\u{7f}'
    } else {
        matches!(c, '\u{80}'..='\u{9f}') || MARKS.contains(c)
    }
}

/// Values by rule; a text without words or lines has no values that divide by them.
pub(super) fn measure(text: &Text<'_>, fineweb: bool) -> Vec<(String, f64)> {
    let string = text.as_str();
    let chars = text.chars() as f64;
    let words = words(string);
    let mut values: Vec<(String, f64)> = Vec::with_capacity(27);
    let mut set = |name: &str, part: f64, whole: f64| {
        if whole > 0.0 {
            values.push((name.to_owned(), part / whole));
        }
    };
    let n_words = words.len() as f64;
    let (mut solid, mut length, mut alphabetic, mut stop) = (0u32, 0usize, 0u32, [false; 8]);
    for word in &words {
        if !word.chars().all(is_punctuation) {
            solid += 1;
            length += word.chars().count();
        }
        alphabetic += u32::from(any_alpha(word));
        if let Some(index) = STOP_WORDS.iter().position(|stop| stop == word) {
            stop[index] = true;
        }
    }
    set("non_symbol_words", f64::from(solid), 1.0);
    set("mean_word_length", length as f64, f64::from(solid));
    let count = |needle: &str| memchr::memmem::find_iter(string.as_bytes(), needle.as_bytes()).count() as f64;
    set("hashes_per_word", count("#"), n_words);
    set("ellipses_per_word", count("...") + count("…"), n_words);
    let (mut lines, mut bullets, mut ellipses) = (0.0, 0.0, 0.0);
    for line in lines_of(string) {
        lines += 1.0;
        bullets += f64::from(u8::from(line.trim_start_matches(is_space).starts_with(['•', '-'])));
        let end = line.trim_end_matches(is_space);
        ellipses += f64::from(u8::from(end.ends_with("...") || end.ends_with('…')));
    }
    set("bullet_lines", bullets, lines);
    set("ellipsis_lines", ellipses, lines);
    set("alphabetic_words", f64::from(alphabetic), n_words);
    set("distinct_stop_words", stop.iter().filter(|met| **met).count() as f64, 1.0);

    let (all, copies, repeated) = duplicates(split_runs(strip(string), 2));
    set("duplicate_paragraphs", copies as f64, all as f64);
    set("characters_in_duplicate_paragraphs", repeated as f64, chars);
    let (all, copies, repeated) = duplicates(split_runs(string, 1));
    set("duplicate_lines", copies as f64, all as f64);
    set("characters_in_duplicate_lines", repeated as f64, chars);
    let numbered = Numbered::new(words.iter().copied());
    numbered.grams(10, |n, names| {
        if n <= 4 {
            let (times, start) = Numbered::most_common(names);
            set(&format!("top_{n}gram"), (times * numbered.joined(start, n)) as f64, chars);
        } else {
            set(&format!("duplicate_{n}grams"), numbered.jumped(names, n) as f64, chars);
        }
    });
    if fineweb {
        self::fineweb(string, n_words, &mut set);
    }
    values
}

fn fineweb(text: &str, words: f64, set: &mut impl FnMut(&str, f64, f64)) {
    static ENDS: LazyLock<Vec<(u32, u32)>> = LazyLock::new(|| class(r"[\p{Sentence_Terminal}．｡]"));
    let lines = || text.split('\n').filter(|line| !strip(line).is_empty());
    let (mut all, mut ended, mut short) = (0.0, 0.0, 0.0);
    for line in lines() {
        all += 1.0;
        ended += f64::from(u8::from(line.chars().next_back().is_some_and(|c| in_ranges(&ENDS, c))));
        short += f64::from(u8::from(line.chars().nth(30).is_none()));
    }
    // A text without lines ends none of them.
    set("fineweb_punctuated_lines", ended, f64::max(all, 1.0));
    set("fineweb_short_lines", short, all);
    let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    let (_, _, repeated) = duplicates(lines());
    set("fineweb_duplicate_characters", repeated as f64, (text.chars().count() - newlines) as f64);
    set("fineweb_newlines_per_word", newlines as f64, words);
}

/// Python's `splitlines()`.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((at, c)) = rest.char_indices().find(|(_, c)| is_line_end(*c)) else {
            return Some(std::mem::take(&mut rest));
        };
        let line = &rest[..at];
        let skip = if rest[at..].starts_with("\r\n") { 2 } else { c.len_utf8() };
        rest = &rest[at + skip..];
        Some(line)
    })
}

/// What `re.split` leaves at runs of `least` newlines or more.
fn split_runs(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let here = rest?;
        let mut from = 0;
        while let Some(at) = memchr::memchr(b'\n', &here.as_bytes()[from..]).map(|at| from + at) {
            let run = here[at..].len() - here[at..].trim_start_matches('\n').len();
            if run >= least {
                rest = Some(&here[at + run..]);
                return Some(&here[..at]);
            }
            from = at + run;
        }
        rest = None;
        Some(here)
    })
}
