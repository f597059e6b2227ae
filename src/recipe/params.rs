//! `param(name, default, doc)`: what a user can set from outside. A value is typed by its default. It does not know flags.

use std::collections::BTreeMap;

use plan::{Site, Value};

use super::mistake::Mistake;
use super::session::State;
use crate::steps::params::closest;

/// A parameter that a recipe asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamUse {
    /// Name, as in `--set name=value`.
    pub name: String,
    /// Value when it is not set.
    pub default: Value,
    /// Value in this evaluation.
    pub value: Value,
    /// What it means.
    pub doc: String,
    /// Allowed values, as text; empty when anything of the default's type is allowed.
    pub choices: Vec<String>,
    /// Whether the user set it.
    pub set_by_user: bool,
    /// Where the recipe asks for it.
    pub site: Site,
}

/// The value of a parameter: set, or its default. What is wrong is noted in the state, and the default is used.
pub(super) fn ask(state: &mut State, settings: &BTreeMap<String, String>, mut asked: ParamUse) -> Value {
    if let Some(before) = state.params.iter().find(|param| param.name == asked.name) {
        if before.default != asked.default {
            let message = format!(
                "parameter `{}` is asked for twice, with the defaults {} and {}",
                asked.name, before.default, asked.default
            );
            let mistake =
                Mistake::new(asked.site, message).suggest(format!("ask for it once; it is first asked for at {}", before.site));
            let value = before.value.clone();
            state.mistake(mistake);
            return value;
        }
        return before.value.clone();
    }
    if asked.choices.is_empty() {
        asked.choices = choices(&asked.doc);
    }
    if !allowed(&asked.choices, &asked.default) {
        let message =
            format!("the default {} of parameter `{}` is not one of {}", asked.default, asked.name, asked.choices.join(" | "));
        state.mistake(Mistake::new(asked.site.clone(), message));
    }
    if let Some(text) = settings.get(&asked.name) {
        let flag = Site { file: format!("--set {}={text}", asked.name), line: 0, column: 0 };
        match read(text, &asked.default) {
            Ok(value) if allowed(&asked.choices, &value) => {
                asked.value = value;
                asked.set_by_user = true;
            }
            Ok(_) => {
                let message = format!("parameter `{}` is one of {}, not `{text}`", asked.name, asked.choices.join(" | "));
                state.mistake(Mistake::new(flag, message).meant(closest(text, asked.choices.iter().map(String::as_str))));
            }
            Err(expected) => {
                let message =
                    format!("parameter `{}` is {expected} (its default is {}), not `{text}`", asked.name, asked.default);
                state.mistake(Mistake::new(flag, message));
            }
        }
    }
    let value = asked.value.clone();
    state.params.push(asked);
    value
}

/// Settings that no parameter takes.
pub(super) fn unknown_settings(state: &mut State, settings: &BTreeMap<String, String>) {
    let names: Vec<_> = state.params.iter().map(|param| param.name.clone()).collect();
    for (name, value) in settings.iter().filter(|(name, _)| !names.contains(name)) {
        let flag = Site { file: format!("--set {name}={value}"), line: 0, column: 0 };
        let known = if names.is_empty() { "it has none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        let message = format!("the recipe has no parameter `{name}`; {known}");
        state.mistake(Mistake::new(flag, message).meant(closest(name, names.iter().map(String::as_str))));
    }
}

/// The choices a doc text lists: two or more words separated by ` | `.
fn choices(doc: &str) -> Vec<String> {
    let words: Vec<_> = doc.split(" | ").map(str::trim).collect();
    let one_word = |word: &&str| !word.is_empty() && !word.contains(char::is_whitespace);
    if words.len() > 1 && words.iter().all(one_word) { words.into_iter().map(str::to_owned).collect() } else { Vec::new() }
}

fn allowed(choices: &[String], value: &Value) -> bool {
    let text = match value {
        Value::Str(text) => text.clone(),
        other => other.to_string(),
    };
    choices.is_empty() || choices.contains(&text)
}

/// Reads a text as a value of the default's type, or tells what type that is.
fn read(text: &str, default: &Value) -> Result<Value, &'static str> {
    let number = text.replace('_', "");
    match default {
        Value::Bool(_) => text.parse().map(Value::Bool).map_err(|_| "true or false"),
        Value::Int(_) => {
            let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
            let read = number.parse().ok().or_else(|| number.parse().ok().and_then(whole));
            read.map(Value::Int).ok_or("an integer")
        }
        Value::Float(_) => number.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float).ok_or("a number"),
        Value::Str(_) | Value::Null => Ok(Value::Str(text.to_owned())),
        Value::List(items) => {
            let like = items.first().unwrap_or(&Value::Null);
            let texts =
                text.trim_start_matches('[').trim_end_matches(']').split(',').map(str::trim).filter(|text| !text.is_empty());
            texts
                .map(|text| read(text, like))
                .collect::<Result<_, _>>()
                .map(Value::List)
                .map_err(|_| "a list with commas, of values like its default's")
        }
        Value::Map(_) | Value::Script(_) => Err("a value that can only be changed in the recipe"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed_by_their_default() {
        assert_eq!(read("1_000", &Value::Int(0)), Ok(Value::Int(1000)));
        assert_eq!(read("1e6", &Value::Int(0)), Ok(Value::Int(1_000_000)));
        assert_eq!(read("1.5", &Value::Int(0)), Err("an integer"));
        assert_eq!(read("3", &Value::Float(0.1)), Ok(Value::Float(3.0)));
        assert_eq!(read("yes", &Value::Bool(true)), Err("true or false"));
        assert_eq!(read("[1, 2]", &Value::List(vec![Value::Int(7)])), Ok(Value::List(vec![Value::Int(1), Value::Int(2)])));
        assert!(read("1,x", &Value::List(vec![Value::Int(7)])).is_err());
    }

    #[test]
    fn choices_are_words_between_bars() {
        assert_eq!(choices("nano | 190M | 1B"), ["nano", "190M", "1B"]);
        assert!(choices("the size").is_empty() && choices("a size | or so").is_empty() && choices("").is_empty());
    }
}
