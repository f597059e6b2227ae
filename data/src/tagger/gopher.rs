//! The quality and repetition statistics of Gopher (Rae et al. 2021, appendix A.1.1) as Dolma computes them.
//! Knows words and lines; keeps and drops nothing.

use super::python::any_alpha;
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};
use std::collections::HashMap;

/// The two versions differ in what a line is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gopher {
    /// `gopher_v1`: lines are cut at every newline.
    V1,
    /// `gopher_v2`: lines are cut at runs of newlines, so no line but the first and the last is empty.
    V2,
}

const fn score(name: &'static str) -> Emitted {
    Emitted { name, field: name, shape: Shape::Score }
}

const TYPES: [Emitted; 19] = [
    score("fraction_of_characters_in_most_common_2grams"),
    score("fraction_of_characters_in_most_common_3grams"),
    score("fraction_of_characters_in_most_common_4grams"),
    score("fraction_of_characters_in_duplicate_5grams"),
    score("fraction_of_characters_in_duplicate_6grams"),
    score("fraction_of_characters_in_duplicate_7grams"),
    score("fraction_of_characters_in_duplicate_8grams"),
    score("fraction_of_characters_in_duplicate_9grams"),
    score("fraction_of_characters_in_duplicate_10grams"),
    score("character_count"),
    score("word_count"),
    score("median_word_length"),
    score("symbol_to_word_ratio"),
    score("fraction_of_words_with_alpha_character"),
    score("required_word_count"),
    score("fraction_of_lines_starting_with_bullet_point"),
    score("fraction_of_lines_ending_with_ellipsis"),
    score("fraction_of_duplicate_lines"),
    score("fraction_of_characters_in_duplicate_lines"),
];

const REQUIRED: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

impl Tagger for Gopher {
    fn name(&self) -> &str {
        match self {
            Gopher::V1 => "gopher_v1",
            Gopher::V2 => "gopher_v2",
        }
    }

    fn group(&self) -> &'static str {
        "gopher"
    }

    fn types(&self) -> &'static [Emitted] {
        &TYPES
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let end = text.chars() as u64;
        let mut found = Found::new();
        let mut emit = |index: usize, score: f64| found.push(TYPES[index].name, Span { start: 0, end, score });
        if end == 0 {
            (9..19).for_each(|index| emit(index, 0.0));
            return found;
        }
        let words = text.words();
        let n_words = words.len().max(1) as f64;
        let characters: usize = words.iter().map(|word| word.chars).sum();
        let characters = characters.max(1) as f64;
        repetition(text, characters, &mut emit);
        emit(9, end as f64);
        emit(10, words.len() as f64);
        emit(11, median(words.iter().map(|word| word.chars).collect()));
        let (mut symbols, mut alpha, mut required) = (0, 0, 0);
        for word in words {
            let string = text.word(word);
            symbols += u32::from(string.contains('#') || string.contains('…'));
            alpha += u32::from(any_alpha(string));
            required += u32::from(string.len() <= 4 && REQUIRED.contains(&string));
        }
        emit(12, f64::from(symbols) / n_words);
        emit(13, f64::from(alpha) / n_words);
        emit(14, f64::from(required));
        // Dolma divides the characters of repeated lines, spaces included, by those of words alone, which can exceed 1.
        let characters = text.is_dolma().then_some(characters);
        self.lines(text.as_str(), characters, &mut emit);
        found
    }
}

impl Gopher {
    /// Statistics 15 to 18. `characters` is what the last is a share of; of all characters in lines when there is none.
    fn lines(self, text: &str, characters: Option<f64>, emit: &mut impl FnMut(usize, f64)) {
        let (mut lines, mut bullets, mut ellipses) = (0u32, 0u32, 0u32);
        let mut counts: HashMap<&str, u32, ahash::RandomState> = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let mut count = |line| {
            lines += 1;
            bullets += u32::from(matches!(str::as_bytes(line).first(), Some(b'*' | b'-')));
            ellipses += u32::from(line.ends_with('…'));
            *counts.entry(line).or_default() += 1;
        };
        match self {
            Gopher::V1 => text.split('\n').for_each(&mut count),
            Gopher::V2 => {
                // A run of newlines is one cut; a cut at either end leaves an empty line there.
                let inner = text.trim_matches('\n');
                if text.starts_with('\n') {
                    count("");
                }
                if !inner.is_empty() {
                    inner.split('\n').filter(|line| !line.is_empty()).for_each(&mut count);
                }
                if text.ends_with('\n') {
                    count("");
                }
            }
        }
        let (mut repeated, mut repeated_characters, mut all_characters) = (0u64, 0u64, 0u64);
        for (line, &count) in &counts {
            let length = u64::from(count) * line.chars().count() as u64;
            all_characters += length;
            if count > 1 {
                repeated += u64::from(count);
                repeated_characters += length;
            }
        }
        let lines = f64::from(lines.max(1));
        emit(15, f64::from(bullets) / lines);
        emit(16, f64::from(ellipses) / lines);
        emit(17, repeated as f64 / lines);
        emit(18, repeated_characters as f64 / characters.unwrap_or(all_characters.max(1) as f64));
    }
}

/// The middle length; the mean of the two middle ones for an even count; 0 for none.
fn median(mut lengths: Vec<usize>) -> f64 {
    if lengths.is_empty() {
        return 0.0;
    }
    let middle = lengths.len() / 2;
    let even = lengths.len().is_multiple_of(2);
    let (below, &mut upper, _) = lengths.select_nth_unstable(middle);
    match below.iter().max() {
        Some(&lower) if even => (lower + upper) as f64 / 2.0,
        _ => upper as f64,
    }
}

/// Statistics 0 to 8: for n = 2, 3, 4 the share of characters in the most common n-gram (the first seen among equals), for
/// n = 5..10 the share of characters in n-grams that occur more than once (every occurrence counted, overlaps too).
///
/// An n-gram is named by the number of its first n−1 words and its last word, which is exact; and since an n-gram can only be
/// repeated where both its (n−1)-grams are, only those positions are looked at.
fn repetition(text: &Text<'_>, characters: f64, emit: &mut impl FnMut(usize, f64)) {
    let words = text.words();
    let mut before = Vec::with_capacity(words.len() + 1);
    before.push(0usize);
    let mut sum = 0;
    let mut ids: HashMap<&str, u32, ahash::RandomState> =
        HashMap::with_capacity_and_hasher(words.len() / 2, ahash::RandomState::with_seeds(1, 2, 3, 4));
    let mut word_ids = Vec::with_capacity(words.len());
    let mut word_counts: Vec<u32> = Vec::new();
    for word in words {
        sum += word.chars;
        before.push(sum);
        let next = ids.len() as u32;
        let id = *ids.entry(text.word(word)).or_insert(next);
        if id == next {
            word_counts.push(0);
        }
        word_counts[id as usize] += 1;
        word_ids.push(id);
    }
    let length = |start: usize, n: usize| before[start + n] - before[start];
    // Positions whose n-gram is repeated, with the number of that n-gram.
    let mut repeated: Vec<(u32, u32)> =
        (0..words.len() as u32).map(|i| (i, word_ids[i as usize])).filter(|&(_, id)| word_counts[id as usize] > 1).collect();
    let mut grams: HashMap<u64, u32, ahash::RandomState> = HashMap::with_hasher(ahash::RandomState::with_seeds(5, 6, 7, 8));
    let mut counts: Vec<(u32, u32)> = Vec::new();
    let mut next: Vec<(u32, u32)> = Vec::new();
    for n in 2..=10usize {
        if words.len() < n {
            break;
        }
        grams.clear();
        counts.clear();
        next.clear();
        for pair in repeated.windows(2) {
            let [(start, prefix), (follower, _)] = [pair[0], pair[1]];
            if follower != start + 1 || start as usize + n > words.len() {
                continue;
            }
            let key = u64::from(prefix) << 32 | u64::from(word_ids[start as usize + n - 1]);
            let id = *grams.entry(key).or_insert(counts.len() as u32);
            if id as usize == counts.len() {
                counts.push((0, start));
            }
            counts[id as usize].0 += 1;
            next.push((start, id));
        }
        if n <= 4 {
            // The first position stands for all n-grams that occur once.
            let (count, start) =
                counts.iter().fold((1, 0), |best, &(count, start)| if count > best.0 { (count, start) } else { best });
            emit(n - 2, f64::from(count) * length(start as usize, n) as f64 / characters);
        }
        next.retain(|&(_, id)| counts[id as usize].0 > 1);
        std::mem::swap(&mut repeated, &mut next);
        if n >= 5 {
            let all: usize = (0..=words.len() - n).map(|start| length(start, n)).sum();
            let shared: usize = repeated.iter().map(|&(start, _)| length(start as usize, n)).sum();
            emit(n - 2, shared as f64 / all.max(1) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn plain(text: &Text<'_>, n: usize) -> Option<f64> {
        let words: Vec<&str> = text.words().iter().map(|word| text.word(word)).collect();
        let characters: usize = words.iter().map(|word| word.chars().count()).sum();
        let mut order: Vec<&[&str]> = Vec::new();
        let mut counts: HashMap<&[&str], usize> = HashMap::new();
        for gram in words.windows(n) {
            *counts.entry(gram).or_insert_with(|| {
                order.push(gram);
                0
            }) += 1;
        }
        let size = |gram: &[&str]| gram.iter().map(|word| word.chars().count()).sum::<usize>();
        let first = order.first()?;
        Some(if n <= 4 {
            let best = order.iter().fold(first, |best, gram| if counts[gram] > counts[best] { gram } else { best });
            (counts[best] * size(best)) as f64 / characters.max(1) as f64
        } else {
            let all: usize = counts.iter().map(|(gram, count)| count * size(gram)).sum();
            let shared: usize = counts.iter().filter(|(_, count)| **count > 1).map(|(gram, count)| count * size(gram)).sum();
            shared as f64 / all.max(1) as f64
        })
    }

    proptest! {
        #[test]
        fn repetition_is_its_definition(text in "(a|bb|ccc|dé| |  ){0,80}") {
            let view = Text::new(&text);
            let characters: usize = view.words().iter().map(|word| word.chars).sum();
            let mut got = [None; 9];
            repetition(&view, characters.max(1) as f64, &mut |index, value| got[index] = Some(value));
            for n in 2..=10 {
                prop_assert_eq!(got[n - 2], plain(&view, n), "n = {}", n);
            }
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3, 1, 2]), 2.0);
        assert_eq!(median(vec![4, 1, 2, 3]), 2.5);
    }
}
