//! Errors of the language itself, syntax and runtime, as mistakes. It does not know steps beyond their handles' type name.

use rhai::{EvalAltResult, ParseError, Position};

use super::mistake::Mistake;
use super::text::site;

/// A syntax error.
pub(super) fn syntax(label: &str, error: &ParseError) -> Mistake {
    let ParseError(kind, position) = error;
    Mistake::new(site(label, *position), sentence(&format!("syntax: {kind}")))
}

/// What the evaluation stopped at.
pub(super) struct Failure {
    /// The mistake.
    pub(super) mistake: Mistake,
    /// Name of the function that was not found, if that is the reason.
    pub(super) missing_function: Option<String>,
    /// Whether it can be the consequence of a value that was replaced by a placeholder.
    pub(super) about_types: bool,
}

/// A runtime error of the text called `label`.
pub(super) fn runtime(label: &str, error: &EvalAltResult) -> Failure {
    let (mut file, mut inner, mut trail) = (label.to_owned(), error, Vec::new());
    loop {
        match inner {
            EvalAltResult::ErrorInFunctionCall(name, source, cause, position) => {
                let called = if name.starts_with("anon$") { "a closure".to_owned() } else { format!("`{name}`") };
                let at = site(&file, *position);
                if at.line > 0 {
                    trail.push(format!("in {called}, called at {at}"));
                }
                if !source.is_empty() {
                    file.clone_from(source);
                }
                inner = cause;
            }
            EvalAltResult::ErrorInModule(name, cause, position) => {
                trail.push(format!("imported at {}", site(&file, *position)));
                if !name.is_empty() {
                    file.clone_from(name);
                }
                inner = cause;
            }
            _ => break,
        }
    }
    let mut missing_function = None;
    let message = match inner {
        EvalAltResult::ErrorRuntime(value, _) if value.is_string() => value.to_string(),
        EvalAltResult::ErrorRuntime(value, _) => format!("thrown: {value}"),
        EvalAltResult::ErrorParsing(kind, _) => format!("syntax: {kind}"),
        EvalAltResult::ErrorVariableNotFound(name, _) => format!("unknown variable `{name}`"),
        EvalAltResult::ErrorPropertyNotFound(name, _) => format!("the map has no entry `{name}`"),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            let (name, types) = signature.split_once(" (").unwrap_or((signature, ")"));
            missing_function = Some(name.to_owned());
            format!("no function `{name}` takes ({}", types.replace("&str | ImmutableString | String", "string"))
        }
        EvalAltResult::ErrorModuleNotFound(name, _) => format!("there is no module `{name}`"),
        EvalAltResult::ErrorTooManyOperations(_) => "the recipe takes too many operations; is there an endless loop?".to_owned(),
        EvalAltResult::ErrorTerminated(reason, _) => reason.to_string(),
        EvalAltResult::ErrorDataRace(..) => {
            "a closure uses the variable whose method it is given to; let another variable hold the value first".to_owned()
        }
        EvalAltResult::ErrorStackOverflow(_) => "functions call each other too deeply".to_owned(),
        other => {
            // The position is shown by the mistake itself.
            let text = other.to_string();
            text.rsplit_once(" (line ").map_or(text.as_str(), |(head, _)| head).to_owned()
        }
    };
    let position = if inner.position().is_none() { error.position() } else { inner.position() };
    let position = if position.is_none() { Position::NONE } else { position };
    let mut mistake = Mistake::new(site(&file, position), sentence(&message));
    trail.reverse();
    if !trail.is_empty() {
        mistake.message = format!("{} ({})", mistake.message, trail.join("; "));
    }
    let about_types = matches!(
        inner,
        EvalAltResult::ErrorFunctionNotFound(..)
            | EvalAltResult::ErrorMismatchDataType(..)
            | EvalAltResult::ErrorMismatchOutputType(..)
            | EvalAltResult::ErrorIndexingType(..)
            | EvalAltResult::ErrorFor(..)
            | EvalAltResult::ErrorDotExpr(..)
            | EvalAltResult::ErrorVariableNotFound(..)
            | EvalAltResult::ErrorModuleNotFound(..)
    );
    Failure { mistake, missing_function, about_types }
}

/// With a small first letter and no final period, as all messages.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}
