//! A guess whether a text is English, another language or program code, from function words, scripts and punctuation.
//!
//! It is a few hundred words and counts, not a trained classifier: good enough to keep foreign pages out of an English corpus and
//! to tell prose from source code, unreliable below some twenty words, blind to languages outside its lists (they share the
//! value `other` or lend their weight to a relative), and its values are weights that sum to 1, not calibrated probabilities.
//! Knows no other tagger.

use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::{Document, Span};
use std::collections::HashMap;
use std::sync::LazyLock;

/// `language_v1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Language;

const fn score(name: &'static str) -> Emitted {
    Emitted { name, field: name, shape: Shape::Score }
}
const TYPES: [Emitted; 9] =
    [score("en"), score("de"), score("fr"), score("es"), score("it"), score("pt"), score("nl"), score("other"), score("code")];

/// Frequent function words per language, in the order of [`TYPES`].
const FUNCTION_WORDS: [&str; 7] = [
    "the of and to a in is that it for on are as with be this by from or an at not which have has was but you can if will all more \
     when there their they we its than then these into only other some so no do does what who how may should must would been were \
     use used using each such any also your our one two new where here because while after before between both either",
    "der die das und ist ein eine einen einem einer nicht mit von zu den dem des im für auf auch sich als wird werden oder aus bei \
     nach an es sie wie sind kann nur noch wenn über durch zum zur dass daß aber hat haben diese dieser dieses können mehr war",
    "le la les des du de et un une est dans pour que qui par pas sur au aux ce cette ces avec il elle ne se en plus sont ou être \
     comme vous nous leur son sa ses peut mais si tout fait été aussi lors même sans ont très",
    "el la los las de del y en un una que es por con para se no al lo su sus como más pero este esta estos son o si puede ser está \
     también cuando sobre entre sin hay ha fue muy donde esto todos desde cada usted",
    "il lo la i gli le di del della dei delle e in un una che è per con non si da al alla come più ma questo questa sono o se può \
     essere anche nel nella sul tra fra quando ogni ha hanno stato dal dalla loro suo",
    "o a os as de do da dos das e em um uma que é por com para não se no na nos nas ao como mais mas este esta isto são ou pode ser \
     está também quando sobre entre sem há foi muito onde pelo pela seu sua você ele",
    "de het een en van in is dat op te voor met zijn niet aan er door als ook bij of naar om uit dit die deze wordt worden kan maar \
     over nog tot heeft hebben meer geen wel dan je we u hun welke zich werd",
];

/// The languages that have a word among their function words, as bits.
static WORDS: LazyLock<HashMap<&'static str, u8, ahash::RandomState>> = LazyLock::new(|| {
    let mut words = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    for (language, list) in FUNCTION_WORDS.iter().enumerate() {
        for word in list.split_whitespace() {
            *words.entry(word).or_insert(0u8) |= 1 << language;
        }
    }
    words
});

/// Only the beginning is looked at: code points after this many bytes hardly change the guess.
const LOOK_BYTES: usize = 16 << 10;

impl Tagger for Language {
    fn name(&self) -> &str {
        "language_v1"
    }

    fn group(&self) -> &'static str {
        "language"
    }

    fn types(&self) -> &'static [Emitted] {
        &TYPES
    }

    fn tag(&self, _: &Document, text: &Text<'_>) -> Found {
        let weights = weights(text.as_str());
        let end = text.chars() as u64;
        let mut found = Found::new();
        TYPES.iter().zip(weights).for_each(|(emitted, score)| found.push(emitted.name, Span { start: 0, end, score }));
        found
    }
}

/// Weights of the languages, of other languages and of code, in the order of [`TYPES`]; all zero for a text without letters.
fn weights(text: &str) -> [f64; 9] {
    let mut cut = text.len().min(LOOK_BYTES);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let text = &text[..cut];
    let mut weights = [0.0; 9];
    let letters = Letters::of(text);
    if letters.latin + letters.foreign == 0 {
        return weights;
    }
    let (hits, words) = function_words(text);
    let code = code_weight(text, hits.iter().cloned().fold(0.0, f64::max) / words.max(1.0));
    let natural = 1.0 - code;
    let latin = letters.latin as f64 / (letters.latin + letters.foreign) as f64;
    // Function words are a quarter to a half of running text in their language; what they leave unexplained is `other`.
    let sum: f64 = hits.iter().sum();
    let unexplained = (0.08 * words - sum).max(0.0) + 0.5;
    // Squared, so that the words two languages share do not keep the second one alive.
    let squares: f64 = hits.iter().map(|hit| hit * hit).sum();
    let known = latin * sum / (sum + unexplained);
    for (weight, hit) in weights.iter_mut().zip(hits) {
        *weight = if squares > 0.0 { natural * known * hit * hit / squares } else { 0.0 };
    }
    weights[7] = natural * if squares > 0.0 { 1.0 - known } else { 1.0 };
    weights[8] = code;
    weights
}

struct Letters {
    latin: usize,
    foreign: usize,
}

impl Letters {
    /// Letters of the Latin script and of all others. An ideograph says as much as two letters.
    fn of(text: &str) -> Letters {
        let mut letters = Letters { latin: 0, foreign: 0 };
        if text.is_ascii() {
            letters.latin = text.bytes().filter(u8::is_ascii_alphabetic).count();
            return letters;
        }
        for c in text.chars() {
            match c as u32 {
                0x41..=0x5a | 0x61..=0x7a | 0xc0..=0x24f | 0x1e00..=0x1eff => letters.latin += 1,
                0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af => letters.foreign += 2,
                0x250..=0x2ff | 0x2000..=0x2bff | 0x3000..=0x303f => {}
                0x370.. if c.is_alphabetic() => letters.foreign += 1,
                _ => {}
            }
        }
        letters
    }
}

/// How many words are function words of each language (a word of several languages counts in part for each), and the number of
/// words made of letters.
fn function_words(text: &str) -> ([f64; 7], f64) {
    let mut hits = [0.0; 7];
    let mut words = 0.0;
    let mut lower = String::new();
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        words += 1.0;
        if word.len() > 12 {
            continue;
        }
        let languages = if word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            WORDS.get(word)
        } else {
            lower.clear();
            lower.extend(word.chars().flat_map(char::to_lowercase));
            WORDS.get(lower.as_str())
        };
        if let Some(&languages) = languages {
            let share = 1.0 / f64::from(languages.count_ones());
            for (language, hit) in hits.iter_mut().enumerate() {
                *hit += if languages >> language & 1 == 1 { share } else { 0.0 };
            }
        }
    }
    (hits, words)
}

/// Punctuation that prose has little of.
const SYMBOLS: &[u8] = b"{}[]();=<>_&|+$%\\";

/// How much a text looks like program code: punctuation that prose has little of, and line ends and indents of code, against the
/// share of function words.
fn code_weight(text: &str, function_words: f64) -> f64 {
    let (mut symbols, mut visible) = (0usize, 0usize);
    for byte in text.bytes() {
        visible += usize::from(byte > b' ');
        symbols += usize::from(SYMBOLS.contains(&byte));
    }
    let (mut lines, mut code_ends) = (0usize, 0usize);
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        lines += 1;
        code_ends += usize::from(line.ends_with(['{', '}', ';', '(', ')', ',', '[', ']', '=', '>']));
    }
    let density = symbols as f64 / visible.max(1) as f64;
    let ends = code_ends as f64 / lines.max(1) as f64;
    // A logistic over three shares; the constants put README files near 0.1 and source files near 0.95.
    let score = 45.0 * density + 5.0 * ends - 12.0 * function_words - 3.2;
    1.0 / (1.0 + (-score).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(text: &str) -> &'static str {
        let weights = weights(text);
        let best = weights.iter().enumerate().fold(0, |best, (i, weight)| if *weight > weights[best] { i } else { best });
        TYPES[best].name
    }

    #[test]
    fn tells_languages_and_code_apart() {
        let texts = [
            ("en", "The quick brown fox jumps over the lazy dog, and then it is time for all of us to go home and sleep."),
            ("de", "Der schnelle braune Fuchs springt über den faulen Hund, und dann ist es Zeit, dass wir nach Hause gehen."),
            ("fr", "Le renard brun saute par-dessus le chien paresseux, et il est temps pour nous de rentrer dans la maison."),
            ("es", "El rápido zorro marrón salta sobre el perro perezoso, y es hora de que todos se vayan a la casa."),
            (
                "it",
                "La volpe marrone salta sopra il cane pigro, ed è ora che tutti noi andiamo a casa per dormire con gli altri.",
            ),
            (
                "pt",
                "A rápida raposa marrom pula sobre o cão preguiçoso, e é hora de todos irem para a casa, mas não com os outros.",
            ),
            ("nl", "De snelle bruine vos springt over de luie hond, en dan is het tijd dat we naar huis gaan om te slapen."),
            ("other", "Быстрая коричневая лиса прыгает через ленивую собаку."),
            ("other", "素早い茶色の狐がのろまな犬を飛び越える。"),
            ("code", "fn main() {\n    let mut x = vec![1, 2];\n    x.push(3);\n    println!(\"{}\", x.len());\n}\n"),
            ("code", "#include <stdio.h>\nint main(void) { return foo_bar(&x[0], y->z); }\n"),
        ];
        for (expected, text) in texts {
            assert_eq!(best(text), expected, "{text} {:?}", weights(text));
        }
    }

    #[test]
    fn weights_sum_to_one_or_nothing() {
        for text in ["the end", "x", "日本 the", "if (x) { return; }", "Größe", &"é".repeat(9000)] {
            assert!((weights(text).iter().sum::<f64>() - 1.0).abs() < 1e-12, "{text}");
        }
        assert_eq!(weights(" 12 34 ++ "), [0.0; 9]);
    }
}
