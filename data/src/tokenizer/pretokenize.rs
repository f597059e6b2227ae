//! Splits text into the words that BPE works in, as the regular expressions of GPT-4 and dolma2 and of GPT-2 do, without a regular
//! expression.
//! Knows characters only, no vocabulary.

use crate::tagger::{class, in_ranges};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// How runs of digits are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digits {
    /// Every digit is a word of its own, so that numbers of any length are written alike; best for arithmetic.
    #[default]
    Individual,
    /// Runs of up to three digits from the left, as in GPT-4 and dolma2.
    Triples,
}

impl Digits {
    /// The regular expression, in the dialect of the `tokenizers` library.
    pub(crate) fn pattern(self) -> String {
        let number = match self {
            Digits::Individual => r"\p{N}",
            Digits::Triples => r"\p{N}{1,3}",
        };
        let before = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
        let after = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        [before, number, after].concat()
    }
}

/// Which pattern words are cut by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Splits {
    /// That of GPT-4 and dolma2.
    Modern(Digits),
    /// That of GPT-2, GPT-NeoX and the first OLMo: contractions in lower case only, digits in runs, only a space goes before a word.
    Gpt2,
}

/// The pre-tokenizer of a `tokenizer.json`.
pub(crate) fn definition(digits: Digits) -> Value {
    json!({
        "type": "Sequence",
        "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": digits.pattern() }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        ],
    })
}

/// Whether a tokenizer is one that [`pieces`] splits for: a known pattern, byte level, BPE, no normalizer, no added tokens but special
/// ones.
pub(crate) fn recognise(tokenizer: &tokenizers::Tokenizer) -> Option<Splits> {
    let special_only = tokenizer.get_added_tokens_decoder().values().all(|token| token.special);
    let bpe = matches!(tokenizer.get_model(), tokenizers::models::ModelWrapper::BPE(bpe) if bpe.dropout.is_none());
    if tokenizer.get_normalizer().is_some() || tokenizer.get_truncation().is_some() || !special_only || !bpe {
        return None;
    }
    let found = serde_json::to_value(tokenizer.get_pre_tokenizer()?).ok()?;
    if found["type"] == "ByteLevel" {
        return (found["add_prefix_space"] == false && found["use_regex"] == true).then_some(Splits::Gpt2);
    }
    let (split, level) = (&found["pretokenizers"][0], &found["pretokenizers"][1]);
    let whole = matches!((split["behavior"].as_str()?, split["invert"].as_bool()?), ("Isolated", _) | ("Removed", true));
    let plain = level["type"] == "ByteLevel" && level["add_prefix_space"] == false && level["use_regex"] == false;
    if found["pretokenizers"].as_array()?.len() != 2 || split["type"] != "Split" || !whole || !plain {
        return None;
    }
    let pattern = split["pattern"]["Regex"].as_str()?;
    [Digits::Individual, Digits::Triples].into_iter().find(|digits| digits.pattern() == pattern).map(Splits::Modern)
}

/// What the pattern distinguishes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    /// `\s` but for the next.
    Space,
    /// `\r` or `\n`.
    Newline,
    Other,
}

/// Classes of the basic multilingual plane, and the ranges that decide beyond it.
struct Classes {
    basic: Vec<Class>,
    letters: Vec<(u32, u32)>,
    numbers: Vec<(u32, u32)>,
}

static CLASSES: LazyLock<Classes> = LazyLock::new(|| {
    let (letters, numbers) = (class(r"\p{L}"), class(r"\p{N}"));
    let mut basic = vec![Class::Other; 0x10000];
    for (ranges, class) in [(&letters, Class::Letter), (&numbers, Class::Number), (&class(r"\s"), Class::Space)] {
        for &(low, high) in ranges.iter().filter(|(low, _)| *low < 0x10000) {
            basic[low as usize..=(high as usize).min(0xffff)].fill(class);
        }
    }
    basic['\r' as usize] = Class::Newline;
    basic['\n' as usize] = Class::Newline;
    Classes { basic, letters, numbers }
});

impl Classes {
    /// Class and width of the character at a byte offset; `None` at the end.
    fn at(&self, text: &str, i: usize) -> Option<(Class, usize)> {
        let byte = *text.as_bytes().get(i)?;
        if byte < 0x80 {
            return Some((self.basic[byte as usize], 1));
        }
        let c = text[i..].chars().next()?;
        let class = match self.basic.get(c as usize) {
            Some(class) => *class,
            None if in_ranges(&self.letters, c) => Class::Letter,
            None if in_ranges(&self.numbers, c) => Class::Number,
            None => Class::Other,
        };
        Some((class, c.len_utf8()))
    }

    /// The end of a run of one class that starts at `i`.
    fn run(&self, text: &str, mut i: usize, class: Class) -> usize {
        while let Some((here, width)) = self.at(text, i)
            && here == class
        {
            i += width;
        }
        i
    }
}

/// The words of a text, in order; together they are the text.
pub(crate) fn pieces(text: &str, splits: Splits) -> impl Iterator<Item = &str> {
    let classes = &*CLASSES;
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == text.len() {
            return None;
        }
        let end = match splits {
            Splits::Modern(digits) => piece_end(classes, text, start, digits),
            Splits::Gpt2 => gpt2_end(classes, text, start),
        };
        let piece = &text[start..end];
        start = end;
        Some(piece)
    })
}

/// One past the word that starts at `start`: the alternatives of the pattern, in their order.
fn piece_end(classes: &Classes, text: &str, start: usize, digits: Digits) -> usize {
    let Some((first, width)) = classes.at(text, start) else { return text.len() };
    let second = start + width;
    if let Some(end) = contraction_end(text, start) {
        return end;
    }
    match first {
        Class::Letter => return classes.run(text, second, Class::Letter),
        Class::Number => {
            let mut end = second;
            if digits == Digits::Triples {
                for _ in 0..2 {
                    match classes.at(text, end) {
                        Some((Class::Number, width)) => end += width,
                        _ => break,
                    }
                }
            }
            return end;
        }
        Class::Space | Class::Other if matches!(classes.at(text, second), Some((Class::Letter, _))) => {
            return classes.run(text, second, Class::Letter);
        }
        Class::Space | Class::Newline | Class::Other => {}
    }
    let spaced =
        first == Class::Space && text.as_bytes()[start] == b' ' && matches!(classes.at(text, second), Some((Class::Other, _)));
    if first == Class::Other || spaced {
        let end = classes.run(text, second, Class::Other);
        return classes.run(text, end, Class::Newline);
    }
    space_end(classes, text, start, true)
}

/// One past a run of space that starts at `start`: where it counts, up to the last newline of the run; else all but the last
/// character, which goes with the word that follows.
fn space_end(classes: &Classes, text: &str, start: usize, newlines: bool) -> usize {
    let (mut end, mut last, mut after_newline) = (start, start, None);
    while let Some((class, width)) = classes.at(text, end)
        && matches!(class, Class::Space | Class::Newline)
    {
        last = end;
        end += width;
        if newlines && class == Class::Newline {
            after_newline = Some(end);
        }
    }
    match after_newline {
        Some(end) => end,
        None if end == text.len() || last == start => end,
        None => last,
    }
}

/// One past the word that starts at `start` by GPT-2's pattern
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
fn gpt2_end(classes: &Classes, text: &str, start: usize) -> usize {
    let Some((first, width)) = classes.at(text, start) else { return text.len() };
    let bytes = &text.as_bytes()[start..];
    match bytes {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => return start + 2,
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => return start + 3,
        _ => {}
    }
    let (class, from) = match classes.at(text, start + width) {
        Some((second, more)) if bytes[0] == b' ' => (second, start + width + more),
        _ => (first, start + width),
    };
    match class {
        Class::Letter | Class::Number | Class::Other => classes.run(text, from, class),
        Class::Space | Class::Newline => space_end(classes, text, start, false),
    }
}

/// One past an English contraction that starts at `start`, in any case.
fn contraction_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes[start] != b'\'' {
        return None;
    }
    let first = bytes.get(start + 1)?.to_ascii_lowercase();
    let second = bytes.get(start + 2).map_or(0, u8::to_ascii_lowercase);
    match (first, second) {
        (b's' | b't' | b'm' | b'd', _) => Some(start + 2),
        (b'r' | b'v', b'e') | (b'l', b'l') => Some(start + 3),
        // U+017F, the long s, is an s to a case-insensitive pattern.
        (0xc5, 0xbf) => Some(start + 3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pattern::Pattern;

    /// What the library's regular expression gives.
    fn expected<'a>(text: &'a str, regex: &tokenizers::utils::SysRegex) -> Vec<&'a str> {
        regex
            .find_matches(text)
            .unwrap()
            .into_iter()
            .map(|((start, end), _)| &text[start..end])
            .filter(|piece| !piece.is_empty())
            .collect()
    }

    const ALL: [Splits; 3] = [Splits::Modern(Digits::Individual), Splits::Modern(Digits::Triples), Splits::Gpt2];

    fn regex(splits: Splits) -> tokenizers::utils::SysRegex {
        let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        match splits {
            Splits::Modern(digits) => tokenizers::utils::SysRegex::new(&digits.pattern()).unwrap(),
            Splits::Gpt2 => tokenizers::utils::SysRegex::new(gpt2).unwrap(),
        }
    }

    #[test]
    fn every_character_is_classed_as_by_the_library() {
        let mut differ = Vec::new();
        for splits in [Splits::Modern(Digits::Triples), Splits::Gpt2] {
            let regex = regex(splits);
            for c in '\0'..=char::MAX {
                let text = format!("a{c}b1{c}'{c}!{c} {c}x");
                if pieces(&text, splits).collect::<Vec<_>>() != expected(&text, &regex) {
                    differ.push((splits, c));
                }
            }
        }
        // Characters that a newer Unicode version assigned in one of the two only.
        assert_eq!(differ.len(), 0, "{:?}", &differ[..differ.len().min(50)]);
    }

    #[test]
    fn pieces_by_example() {
        let text = "I'm  12345 years\n\n old,\tso what?!\r\n";
        let individual: Vec<_> = pieces(text, Splits::Modern(Digits::Individual)).collect();
        let expected = ["I", "'m", " ", " ", "1", "2", "3", "4", "5", " years", "\n\n", " old", ",", "\tso", " what", "?!\r\n"];
        assert_eq!(individual, expected);
        assert_eq!(pieces("12345", Splits::Modern(Digits::Triples)).collect::<Vec<_>>(), ["123", "45"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_same_as_the_regular_expression(text in "('(s|S|re|LL|Ve|x)|[a-cA-Z]|[0-9]|é|日|٣|²| |  |\t|\n|\r|\u{a0}|\u{2028}|!|_|-|😀|\u{301}){0,24}") {
            for splits in ALL {
                prop_assert_eq!(pieces(&text, splits).collect::<Vec<_>>(), expected(&text, &regex(splits)));
            }
        }
    }
}
