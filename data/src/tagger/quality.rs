//! Rule sets by name: what published pipelines would drop a document for. The same name of a rule means different things in them, so a
//! report always says whose rule it is.
//! Knows how each set measures; drops nothing.
//!
//! | preset | words | word length | stop words | bullets | repeated n-grams |
//! |---|---|---|---|---|---|
//! | `dolma` | `str.split()` | median | 2 in all | `*` `-` | every occurrence, overlaps too |
//! | `datatrove`, `fineweb` | as spaCy cuts English | mean | 2 distinct | `•` `-` | left to right, without overlaps |
//! | `olmo3` | Unicode segments | mean, in bytes | 2 in all | `●` `•` `*` `-` | the words they cover |
//!
//! Sources: Soldaini et al. 2024 and Dolma's published mixing configurations; datatrove 0.10 (Penedo et al. 2024 for the rules of
//! FineWeb); the Olmo 3 report for `olmo3`. Left out: rules that edit the text (lines dropped by C4's and Olmo 3's rules), language
//! and addresses, which have taggers of their own.

mod datatrove;
mod olmo3;
mod repeated;
mod words;

use super::gopher::Gopher;
use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::Document;
use std::sync::LazyLock;

/// A rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Gopher's rules as Dolma 1.5 and 1.7 applied them.
    Dolma,
    /// Gopher's quality and repetition filters of datatrove.
    Datatrove,
    /// Those, and FineWeb's own rules.
    Fineweb,
    /// The heuristic filters of Dolma 3.
    Olmo3,
}

/// What a rule asks of its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The value is at least this.
    AtLeast(f64),
    /// The value is at most this.
    AtMost(f64),
}

/// A rule with its threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Name: that of the value in attributes.
    pub name: &'static str,
    /// What is asked.
    pub bound: Bound,
}

impl Rule {
    /// Whether a value breaks the rule.
    pub fn breaks(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(least) => value < least,
            Bound::AtMost(most) => value > most,
        }
    }
}

const fn at_least(name: &'static str, bound: f64) -> Rule {
    Rule { name, bound: Bound::AtLeast(bound) }
}

const fn at_most(name: &'static str, bound: f64) -> Rule {
    Rule { name, bound: Bound::AtMost(bound) }
}

/// In the order in which Gopher's tagger emits them. Dolma's configurations spell the first three without the final s, so that they
/// never fire there.
static DOLMA: [Rule; 18] = [
    at_most("fraction_of_characters_in_most_common_2grams", 0.20),
    at_most("fraction_of_characters_in_most_common_3grams", 0.18),
    at_most("fraction_of_characters_in_most_common_4grams", 0.16),
    at_most("fraction_of_characters_in_duplicate_5grams", 0.15),
    at_most("fraction_of_characters_in_duplicate_6grams", 0.14),
    at_most("fraction_of_characters_in_duplicate_7grams", 0.13),
    at_most("fraction_of_characters_in_duplicate_8grams", 0.12),
    at_most("fraction_of_characters_in_duplicate_9grams", 0.11),
    at_most("fraction_of_characters_in_duplicate_10grams", 0.10),
    at_least("word_count", 50.0),
    at_least("median_word_length", 3.0),
    at_most("symbol_to_word_ratio", 0.1),
    at_least("fraction_of_words_with_alpha_character", 0.8),
    at_least("required_word_count", 2.0),
    at_most("fraction_of_lines_starting_with_bullet_point", 0.9),
    at_most("fraction_of_lines_ending_with_ellipsis", 0.3),
    at_most("fraction_of_duplicate_lines", 0.3),
    at_most("fraction_of_characters_in_duplicate_lines", 0.3),
];

/// Upper bounds of values that have a lower one too.
static DOLMA_UPPER: [Rule; 2] = [at_most("word_count", 100_000.0), at_most("median_word_length", 10.0)];

/// The types a preset emits: each value, a flag for each broken rule, and how many were broken.
struct Names {
    types: Vec<Emitted>,
    rules: Vec<(Rule, &'static str)>,
}

impl Names {
    fn new(rules: impl Iterator<Item = Rule>) -> Names {
        let mut names = Names { types: Vec::new(), rules: Vec::new() };
        for rule in rules {
            let side = if matches!(rule.bound, Bound::AtLeast(_)) { "low" } else { "high" };
            // As many as there are rules, once for the life of the program.
            let flag: &'static str = Box::leak(format!("{}_too_{side}", rule.name).into_boxed_str());
            if !names.types.iter().any(|known| known.name == rule.name) {
                names.types.push(Emitted { name: rule.name, field: rule.name, shape: Shape::Score });
            }
            names.types.push(Emitted { name: flag, field: flag, shape: Shape::Flag });
            names.rules.push((rule, flag));
        }
        names.types.push(Emitted { name: BROKEN, field: BROKEN, shape: Shape::Score });
        names
    }
}

/// Type of the number of rules broken.
pub const BROKEN: &str = "broken_rules";

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 4] = [Preset::Dolma, Preset::Datatrove, Preset::Fineweb, Preset::Olmo3];

    /// Name in recipes.
    pub const fn label(self) -> &'static str {
        match self {
            Preset::Dolma => "dolma",
            Preset::Datatrove => "datatrove",
            Preset::Fineweb => "fineweb",
            Preset::Olmo3 => "olmo3",
        }
    }

    /// The rules with their thresholds, and the type of the flag that says one is broken.
    pub fn rules(self) -> impl Iterator<Item = (Rule, &'static str)> {
        self.names().rules.iter().copied()
    }

    fn names(self) -> &'static Names {
        static ALL: LazyLock<[Names; 4]> = LazyLock::new(|| {
            [
                Names::new(DOLMA.iter().chain(&DOLMA_UPPER).copied()),
                Names::new(datatrove::RULES.iter().copied()),
                Names::new(datatrove::RULES.iter().chain(&datatrove::FINEWEB).copied()),
                Names::new(olmo3::RULES.iter().copied()),
            ]
        });
        &ALL[self as usize]
    }
}

impl Tagger for Preset {
    fn name(&self) -> &str {
        match self {
            Preset::Dolma => "quality_dolma_v1",
            Preset::Datatrove => "quality_datatrove_v1",
            Preset::Fineweb => "quality_fineweb_v1",
            Preset::Olmo3 => "quality_olmo3_v1",
        }
    }

    fn group(&self) -> &'static str {
        match self {
            Preset::Dolma => "quality_dolma",
            Preset::Datatrove => "quality_datatrove",
            Preset::Fineweb => "quality_fineweb",
            Preset::Olmo3 => "quality_olmo3",
        }
    }

    fn types(&self) -> &'static [Emitted] {
        &self.names().types
    }

    fn tag(&self, document: &Document, text: &Text<'_>) -> Found {
        let values = match self {
            Preset::Dolma => Gopher::V1.tag(document, text).spans().map(|(name, span)| (name.to_owned(), span.score)).collect(),
            Preset::Datatrove => datatrove::measure(text, false),
            Preset::Fineweb => datatrove::measure(text, true),
            Preset::Olmo3 => olmo3::measure(text),
        };
        judge(*self, text, &values)
    }
}

/// Values, then a flag for each rule they break. A rule without a value (an n-gram longer than the text) holds.
fn judge(preset: Preset, text: &Text<'_>, values: &[(String, f64)]) -> Found {
    let mut found = Found::new();
    let mut broken = 0.0;
    for (rule, flag) in preset.rules() {
        let Some((_, value)) = values.iter().find(|(name, _)| name == rule.name) else { continue };
        if found.get(rule.name).is_empty() {
            found.push(rule.name, text.whole(*value));
        }
        let silent = preset == Preset::Dolma && text.is_dolma() && rule.name.contains("most_common");
        if rule.breaks(*value) && !silent {
            found.push(flag, text.whole(1.0));
            broken += 1.0;
        }
    }
    found.push(BROKEN, text.whole(broken));
    found
}

#[cfg(test)]
mod tests;
