//! Drops documents in which a short piece is repeated over and over. Knows tokens of UAX 29; the same rule on token ids is the loader's.
//!
//! The rule of OLMo-mix-1124 and of OLMo-core's instance filter: a run of `repeats` or more copies of an n-gram of 1 to `period` tokens.
//! White space does not count.

use super::{Condition, Rule, Sense, Test};
use crate::document::Document;
use crate::wordbreak::for_each_token;
use xxhash_rust::xxh3::xxh3_64;

/// A rule that drops documents with a run of at least `repeats` copies of 1 to `period` tokens.
pub fn repetition_rule<'a>(repeats: usize, period: usize) -> Rule<'a> {
    let test: Condition<'a> = Box::new(move |document: &Document| Ok(repeats_of(&document.text, period) >= repeats));
    Rule { name: "repetition".to_owned(), sense: Sense::Drop, test: Test::Function(test) }
}

/// The most copies, in a row, of any piece of 1 to `period` tokens.
fn repeats_of(text: &str, period: usize) -> usize {
    let mut tokens = Vec::with_capacity(text.len() / 5);
    for_each_token(text, |range| tokens.push(xxh3_64(&text.as_bytes()[range])));
    let mut most = usize::from(!tokens.is_empty());
    for step in 1..=period.min(tokens.len().saturating_sub(1)) {
        let mut run = 0;
        for at in step..tokens.len() {
            run = if tokens[at] == tokens[at - step] { run + 1 } else { 0 };
            most = most.max(run / step + 1);
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_in_a_row_are_counted() {
        assert_eq!(repeats_of("", 13), 0);
        assert_eq!(repeats_of("a b c", 13), 1);
        assert_eq!(repeats_of(&"ha ".repeat(32), 13), 32);
        assert_eq!(repeats_of(&format!("x {} y", "one two three ".repeat(31)), 13), 31);
        assert_eq!(repeats_of(&"a b c d e ".repeat(40), 4), 1, "the period is too long");
    }

    #[test]
    fn the_rule_drops_at_the_limit() {
        let rule = repetition_rule(32, 13);
        let Test::Function(test) = &rule.test else { unreachable!() };
        let holds = |count: usize| test(&Document::new("d", "spam, ".repeat(count), "s")).unwrap();
        assert!(!holds(31) && holds(32) && rule.sense == Sense::Drop);
    }
}
