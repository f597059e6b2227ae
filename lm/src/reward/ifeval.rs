//! Instruction-following constraints under their IFEval ids (Zhou et al. 2023), with open-instruct's pass rules.
//!
//! The ground truth is a list holding one dictionary `{instruction_id: [...], kwargs: [...]}`, as JSON or as a Python
//! literal. Two ids are not offered, because they need a language detector and a sentence model
//! (`language:response_language`, `length_constraints:number_sentences`); a ground truth with those is an error.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{RewardError, literal};

/// A constraint's parameters.
struct Kwargs<'a> {
    id: &'a str,
    values: &'a Value,
}

impl<'a> Kwargs<'a> {
    fn get(&self, key: &str) -> Result<&'a Value, String> {
        match self.values.get(key) {
            Some(value) if !value.is_null() => Ok(value),
            _ => Err(format!("`{}` needs `{key}`", self.id)),
        }
    }

    fn text(&self, key: &str) -> Result<&'a str, String> {
        self.get(key)?.as_str().ok_or_else(|| format!("`{key}` of `{}` must be text", self.id))
    }

    fn number(&self, key: &str) -> Result<usize, String> {
        let value = self.get(key)?.as_f64().ok_or_else(|| format!("`{key}` of `{}` must be a number", self.id))?;
        Ok(value as usize)
    }

    fn texts(&self, key: &str) -> Result<Vec<&'a str>, String> {
        let list = self.get(key)?.as_array().ok_or_else(|| format!("`{key}` of `{}` must be a list", self.id))?;
        list.iter().map(|v| v.as_str().ok_or_else(|| format!("`{key}` of `{}` must hold texts", self.id))).collect()
    }

    /// `count` stands in the relation that `relation_key` names to the number of `number_key`.
    fn relation(&self, count: usize, number_key: &str, relation_key: &str) -> Result<bool, String> {
        let wanted = self.number(number_key)?;
        match self.text(relation_key)? {
            "less than" => Ok(count < wanted),
            "at least" => Ok(count >= wanted),
            other => Err(format!("`{relation_key}` must be `less than` or `at least`, not `{other}`")),
        }
    }
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a valid pattern"));
    };
}
pattern!(WORD, r"\w+");
pattern!(PLACEHOLDER, r"\[.*?\]");
pattern!(BULLET_STAR, r"(?m)^\s*\*[^*].*$");
pattern!(BULLET_DASH, r"(?m)^\s*-.*$");
pattern!(HIGHLIGHT, r"\*[^\n*]*\*");
pattern!(HIGHLIGHT_TWO, r"\*\*[^\n*]*\*\*");
pattern!(TITLE, r"<<[^\n]+?>>");
pattern!(PARAGRAPH, r"\s?\*\*\*\s?");
pattern!(THINKING, r"(?s)^.*</think>");

/// The fraction of the constraints in `ground_truth` that the response satisfies.
pub(super) fn fraction(response: &str, ground_truth: &str) -> Result<f64, RewardError> {
    let fail = |problem: String| RewardError::GroundTruth { verifier: "ifeval", ground_truth: ground_truth.to_string(), problem };
    let label = literal::parse(ground_truth).map_err(fail)?;
    let label = label.as_array().and_then(|list| list.first()).unwrap_or(&label);
    let ids = label.get("instruction_id").and_then(Value::as_array);
    let ids = ids.ok_or_else(|| fail("needs `instruction_id`".to_string()))?;
    let kwargs = label.get("kwargs").and_then(Value::as_array);
    let kwargs = kwargs.ok_or_else(|| fail("needs `kwargs`".to_string()))?;
    if ids.is_empty() || ids.len() != kwargs.len() {
        return Err(fail(format!("{} instruction ids but {} kwargs", ids.len(), kwargs.len())));
    }
    let text = THINKING.replace(response, "").replace("<answer>", "").replace("</answer>", "");
    let text = text.trim();
    let mut passed = 0;
    for (id, values) in ids.iter().zip(kwargs) {
        let id = id.as_str().ok_or_else(|| fail("an instruction id must be text".to_string()))?;
        if holds(text, &Kwargs { id, values }).map_err(fail)? && !text.is_empty() {
            passed += 1;
        }
    }
    Ok(f64::from(passed) / ids.len() as f64)
}

fn holds(text: &str, kwargs: &Kwargs<'_>) -> Result<bool, String> {
    let lower = text.to_lowercase();
    Ok(match kwargs.id {
        "keywords:existence" => {
            let mut all = true;
            for keyword in kwargs.texts("keywords")? {
                all &= insensitive(keyword)?.is_match(text);
            }
            all
        }
        "keywords:frequency" => {
            let n = insensitive(kwargs.text("keyword")?)?.find_iter(text).count();
            kwargs.relation(n, "frequency", "relation")?
        }
        "keywords:forbidden_words" => {
            let mut none = true;
            for word in kwargs.texts("forbidden_words")? {
                none &= !insensitive(&format!(r"\b{word}\b"))?.is_match(text);
            }
            none
        }
        "keywords:letter_frequency" => {
            let letter = kwargs.text("letter")?.to_lowercase();
            kwargs.relation(lower.matches(&letter).count(), "let_frequency", "let_relation")?
        }
        "length_constraints:number_words" => kwargs.relation(WORD.find_iter(text).count(), "num_words", "relation")?,
        "length_constraints:number_paragraphs" => is_n_paragraphs(text, kwargs.number("num_paragraphs")?),
        "length_constraints:nth_paragraph_first_word" => {
            let paragraphs: Vec<&str> = text.split("\n\n").filter(|p| !p.trim().is_empty()).collect();
            let nth = kwargs.number("nth_paragraph")?;
            let word = paragraphs.get(nth.wrapping_sub(1)).and_then(|p| p.split_whitespace().next()).unwrap_or("");
            let word = word.trim_start_matches(['\'', '"']);
            let word = word.split(['.', ',', '?', '!', '\'', '"']).next().unwrap_or("");
            paragraphs.len() == kwargs.number("num_paragraphs")?
                && word.to_lowercase() == kwargs.text("first_word")?.to_lowercase()
        }
        "detectable_content:number_placeholders" => PLACEHOLDER.find_iter(text).count() >= kwargs.number("num_placeholders")?,
        "detectable_content:postscript" => {
            let marker = kwargs.text("postscript_marker")?;
            match marker {
                "P.S." => insensitive(r"p\.\s?s\.")?.is_match(text),
                "P.P.S" => insensitive(r"p\.\s?p\.\s?s")?.is_match(text),
                other => lower.contains(&other.to_lowercase()),
            }
        }
        "detectable_format:number_bullet_lists" => {
            let n = BULLET_STAR.find_iter(text).count() + BULLET_DASH.find_iter(text).count();
            n == kwargs.number("num_bullets")?
        }
        "detectable_format:constrained_response" => {
            ["My answer is yes.", "My answer is no.", "My answer is maybe."].iter().any(|o| text.contains(o))
        }
        "detectable_format:number_highlighted_sections" => {
            let one = HIGHLIGHT.find_iter(text).filter(|m| !m.as_str().trim_matches('*').trim().is_empty());
            let two = HIGHLIGHT_TWO.find_iter(text).filter(|m| !m.as_str().trim_matches('*').trim().is_empty());
            one.count() + two.count() >= kwargs.number("num_highlights")?
        }
        "detectable_format:multiple_sections" => {
            let splitter = regex::escape(kwargs.text("section_spliter")?);
            let sections = Regex::new(&format!(r"\s?{splitter}\s?\d+\s?")).map_err(|e| e.to_string())?;
            sections.split(text).count() > kwargs.number("num_sections")?
        }
        "detectable_format:json_format" => {
            let body = text.strip_prefix("```json").or_else(|| text.strip_prefix("```JSON"));
            let body = body.or_else(|| text.strip_prefix("```")).unwrap_or(text);
            let body = body.strip_suffix("```").unwrap_or(body);
            serde_json::from_str::<Value>(body.trim()).is_ok()
        }
        "detectable_format:title" => TITLE.find_iter(text).any(|m| !m.as_str().trim_matches(['<', '>']).trim().is_empty()),
        "combination:two_responses" => {
            let pieces: Vec<&str> = text.split("******").collect();
            let inner: Vec<&str> = pieces.iter().map(|p| p.trim()).filter(|p| !p.is_empty()).collect();
            let hole = pieces.iter().enumerate().any(|(i, p)| p.trim().is_empty() && i > 0 && i + 1 < pieces.len());
            inner.len() == 2 && inner[0] != inner[1] && !hole
        }
        "combination:repeat_prompt" => lower.trim().starts_with(kwargs.text("prompt_to_repeat")?.trim().to_lowercase().as_str()),
        "startend:end_checker" => {
            let end = kwargs.text("end_phrase")?.trim().to_lowercase();
            lower.trim().trim_matches('"').ends_with(&end)
        }
        "startend:quotation" => text.len() > 1 && text.starts_with('"') && text.ends_with('"'),
        "change_case:english_capital" => is_case(text, char::is_uppercase, char::is_lowercase),
        "change_case:english_lowercase" => is_case(text, char::is_lowercase, char::is_uppercase),
        "change_case:capital_word_frequency" => {
            let n = WORD.find_iter(text).filter(|w| is_case(w.as_str(), char::is_uppercase, char::is_lowercase));
            kwargs.relation(n.count(), "capital_frequency", "capital_relation")?
        }
        "punctuation:no_comma" => !text.contains(','),
        other => return Err(format!("the constraint `{other}` is not known")),
    })
}

fn insensitive(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("(?i){pattern}")).map_err(|e| e.to_string())
}

/// Python's `isupper`/`islower`: at least one letter of the wanted case and none of the other.
fn is_case(text: &str, wanted: fn(char) -> bool, other: fn(char) -> bool) -> bool {
    text.chars().any(wanted) && !text.chars().any(other)
}

/// Pieces between `***`; an empty first or last piece is ignored, an empty middle piece fails.
fn is_n_paragraphs(text: &str, n: usize) -> bool {
    let pieces: Vec<&str> = PARAGRAPH.split(text).collect();
    let last = pieces.len() - 1;
    let mut count = pieces.len();
    for (i, piece) in pieces.iter().enumerate() {
        if piece.trim().is_empty() {
            if i != 0 && i != last {
                return false;
            }
            count -= 1;
        }
    }
    count == n
}
