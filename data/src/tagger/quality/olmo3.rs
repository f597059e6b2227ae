//! The heuristic filters of Dolma 3 (the Olmo 3 report, "all-dressed" order), which datamap applies.
//! Knows their definitions. Words are Unicode segments with a letter or digit, except where lengths are meant.

use super::repeated::Numbered;
use super::{Rule, at_least, at_most};
use crate::tagger::Text;
use crate::tagger::python::{any_alpha, strip};
use std::collections::HashMap;
use unicode_segmentation::UnicodeSegmentation;

pub(super) static RULES: [Rule; 23] = [
    at_least("characters", 150.0),
    at_least("words", 50.0),
    at_most("words", 100_000.0),
    at_least("mean_word_bytes", 3.0),
    at_most("mean_word_bytes", 10.0),
    at_most("symbols_per_word", 0.1),
    at_most("bullet_lines", 0.9),
    at_most("ellipsis_lines", 0.3),
    at_most("words_without_letter", 0.2),
    at_least("stop_words", 2.0),
    at_most("duplicate_lines", 0.3),
    at_most("duplicate_paragraphs", 0.3),
    at_most("characters_in_duplicate_lines", 0.2),
    at_most("characters_in_duplicate_paragraphs", 0.2),
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

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// Values by rule; those that divide by what the text does not have are absent.
pub(super) fn measure(text: &Text<'_>) -> Vec<(String, f64)> {
    let string = text.as_str();
    let mut values: Vec<(String, f64)> = Vec::with_capacity(23);
    let mut set = |name: &str, part: f64, whole: f64| {
        if whole > 0.0 {
            values.push((name.to_owned(), part / whole));
        }
    };
    set("characters", text.chars() as f64, 1.0);
    let words: Vec<&str> = string.unicode_words().collect();
    set("words", words.len() as f64, 1.0);
    let spaced = text.words();
    let n_spaced = spaced.len() as f64;
    set("mean_word_bytes", spaced.iter().map(|word| word.bytes.len()).sum::<usize>() as f64, n_spaced);
    let count = |needle: &str| memchr::memmem::find_iter(string.as_bytes(), needle.as_bytes()).count() as f64;
    set("symbols_per_word", count("#") + count("…") + count("...") + count(". . ."), n_spaced);
    let lines: Vec<&str> = string.split('\n').map(strip).filter(|line| !line.is_empty()).collect();
    let share = |holds: &dyn Fn(&str) -> bool| lines.iter().filter(|line| holds(line)).count() as f64;
    set("bullet_lines", share(&|line| line.starts_with(['●', '•', '*', '-'])), lines.len() as f64);
    set("ellipsis_lines", share(&|line| ["…", "...", ". . ."].iter().any(|end| line.ends_with(end))), lines.len() as f64);
    let plain = spaced.iter().filter(|word| !any_alpha(text.word(word))).count();
    set("words_without_letter", plain as f64, n_spaced);
    let stop =
        words.iter().filter(|word| word.len() <= 4 && STOP_WORDS.iter().any(|stop| word.eq_ignore_ascii_case(stop))).count();
    set("stop_words", stop as f64, 1.0);

    let paragraphs: Vec<&str> = string.split("\n\n").map(strip).filter(|paragraph| !paragraph.is_empty()).collect();
    for (name, pieces) in [("lines", &lines), ("paragraphs", &paragraphs)] {
        let (copies, chars, all) = repeated(pieces);
        set(&format!("duplicate_{name}"), copies as f64, pieces.len() as f64);
        set(&format!("characters_in_duplicate_{name}"), chars as f64, all as f64);
    }
    let numbered = Numbered::new(words.iter().copied());
    let total = numbered.total() as f64;
    numbered.grams(10, |n, names| {
        if n <= 4 {
            let (times, start) = Numbered::most_common(names);
            // A text in which no n-gram returns repeats nothing.
            let chars = if times > 1 { times * (numbered.joined(start, n) + 1 - n) } else { 0 };
            set(&format!("top_{n}gram"), chars as f64, total);
        } else {
            set(&format!("duplicate_{n}grams"), numbered.covered(names, n) as f64, total);
        }
    });
    values
}

/// Pieces that occur more than once, all copies counted; their code points, and those of all pieces.
fn repeated(pieces: &[&str]) -> (usize, usize, usize) {
    let mut counts: HashMap<&str, usize, ahash::RandomState> = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    pieces.iter().for_each(|piece| *counts.entry(piece).or_default() += 1);
    counts.iter().fold((0, 0, 0), |(copies, chars, all), (piece, &count)| {
        let length = count * piece.chars().count();
        if count > 1 { (copies + count, chars + length, all + length) } else { (copies, chars, all + length) }
    })
}
