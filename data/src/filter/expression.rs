//! Conditions and spans written as text: JSONPath when the text begins with `$`, jq otherwise; or as a prefix says, `jsonpath:`, `jq:`.
//! Knows the line of a document; does not know what becomes of it.

use super::jq::Jq;
use super::jsonpath::JsonPath;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A compiled text.
#[derive(Debug)]
pub struct Expression(Kind);

#[derive(Debug)]
enum Kind {
    JsonPath(JsonPath),
    Jq(Jq),
}

impl Expression {
    /// Compiles a text; the error shows where it is wrong.
    pub fn parse(text: &str) -> Result<Expression, String> {
        let text = text.trim();
        if let Some(program) = text.strip_prefix("jq:") {
            return Jq::compile(program).map(|jq| Expression(Kind::Jq(jq)));
        }
        let path = text.strip_prefix("jsonpath:").map(str::trim).or_else(|| text.starts_with('$').then_some(text));
        match path {
            Some(path) => JsonPath::parse(path).map(|path| Expression(Kind::JsonPath(path))),
            None => Jq::compile(text).map(|jq| Expression(Kind::Jq(jq))),
        }
    }

    /// Attributes that the text names.
    pub fn attributes(&self) -> Vec<String> {
        match &self.0 {
            Kind::JsonPath(path) => path.attributes(),
            Kind::Jq(jq) => jq.attributes.clone(),
        }
    }

    /// Whether it holds, for a rule that keeps: of several values of a jq program, all must be true.
    pub(super) fn holds(&self, line: &[u8]) -> Result<bool, String> {
        match &self.0 {
            Kind::JsonPath(path) => Ok(!path.find(&view(path, line)?).is_empty()),
            Kind::Jq(jq) => jq.all(line),
        }
    }

    /// Whether it holds, for a rule that drops: of several values of a jq program, one must be true.
    pub(super) fn any(&self, line: &[u8]) -> Result<bool, String> {
        match &self.0 {
            Kind::JsonPath(_) => self.holds(line),
            Kind::Jq(jq) => jq.any(line),
        }
    }

    /// The spans it selects, as `(start, end, score)`.
    pub(super) fn spans(&self, line: &[u8]) -> Result<Vec<(u64, u64, f64)>, String> {
        let found: Vec<Value> = match &self.0 {
            Kind::JsonPath(path) => path.find(&view(path, line)?).into_iter().cloned().collect(),
            Kind::Jq(jq) => jq.spans(line)?,
        };
        let mut spans = Vec::new();
        for value in found {
            match value {
                Value::Null => {}
                Value::Array(items) if items.iter().all(Value::is_array) => {
                    for item in &items {
                        spans.push(span(item)?);
                    }
                }
                one => spans.push(span(&one)?),
            }
        }
        Ok(spans)
    }
}

fn span(value: &Value) -> Result<(u64, u64, f64), String> {
    let wrong = || format!("{value} is no span [start, end, score]");
    let [start, end, score] = value.as_array().map(Vec::as_slice).ok_or_else(wrong)? else { return Err(wrong()) };
    let whole = |value: &Value| {
        value.as_u64().or_else(|| value.as_f64().filter(|at| at.fract() == 0.0 && *at >= 0.0).map(|at| at as u64))
    };
    Ok((whole(start).ok_or_else(wrong)?, whole(end).ok_or_else(wrong)?, score.as_f64().ok_or_else(wrong)?))
}

/// The fields of a document that a path can reach. Others, such as the text, are not decoded.
fn view(path: &JsonPath, line: &[u8]) -> Result<Value, String> {
    let Some(fields) = path.fields() else { return serde_json::from_slice(line).map_err(|error| error.to_string()) };
    let raw: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut map = serde_json::Map::new();
    for name in fields {
        if let Some(value) = raw.get(name.as_str()) {
            map.insert(name.clone(), serde_json::from_str(value.get()).map_err(|error| error.to_string())?);
        }
    }
    Ok(Value::Object(map))
}
