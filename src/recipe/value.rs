//! Values across the border: what a script holds and what a parameter is. It does not know which parameter is meant.

use std::collections::BTreeMap;

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map};

use plan::Value;

use super::handle::Handle;

/// Why a script's value cannot be a parameter.
#[derive(Debug)]
pub(super) enum NotPlain {
    /// It holds an artifact.
    Artifact(String),
    /// It holds a value of a type that parameters do not have, or that is nested too deep.
    Type(String),
    /// It holds a closure that cannot travel.
    Closure(super::closure::Refusal),
}

/// How closures become text.
pub(super) type Canonical<'a> = &'a dyn Fn(&FnPtr) -> Result<String, super::closure::Refusal>;

/// Lists and maps inside each other that a parameter may have; JSON is read to twice this depth.
const MOST_DEPTH: usize = 60;

/// A script's value as a parameter.
pub(super) fn to_value(value: &Dynamic, canonical: Canonical<'_>) -> Result<Value, NotPlain> {
    plain(value, canonical, MOST_DEPTH)
}

fn plain(value: &Dynamic, canonical: Canonical<'_>, depth: usize) -> Result<Value, NotPlain> {
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(value) = value.as_bool() {
        return Ok(Value::Bool(value));
    }
    if let Ok(value) = value.as_int() {
        return Ok(Value::Int(value));
    }
    if let Ok(value) = value.as_float() {
        return Ok(Value::Float(value));
    }
    if let Ok(value) = value.as_char() {
        return Ok(Value::Str(value.to_string()));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(Value::Str(text.to_string()));
    }
    let inner = |item: &Dynamic| match depth.checked_sub(1) {
        Some(depth) => plain(item, canonical, depth),
        None => Err(NotPlain::Type(format!("lists or maps more than {MOST_DEPTH} deep inside each other"))),
    };
    if let Some(items) = value.read_lock::<Array>() {
        return items.iter().map(inner).collect::<Result<_, _>>().map(Value::List);
    }
    if let Some(map) = value.read_lock::<Map>() {
        let entries = map.iter().map(|(name, item)| Ok((name.to_string(), inner(item)?)));
        return entries.collect::<Result<BTreeMap<_, _>, _>>().map(Value::Map);
    }
    if let Some(pointer) = value.read_lock::<FnPtr>() {
        return canonical(&pointer).map(Value::Script).map_err(NotPlain::Closure);
    }
    if let Some(handle) = value.read_lock::<Handle>() {
        return Err(NotPlain::Artifact(handle.described()));
    }
    Err(NotPlain::Type(plain_type(value.type_name()).to_owned()))
}

/// A parameter as a script's value; closures become their text.
pub(super) fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Str(value) | Value::Script(value) => value.clone().into(),
        Value::List(items) => Dynamic::from_array(items.iter().map(to_dynamic).collect()),
        Value::Map(map) => Dynamic::from_map(map.iter().map(|(name, item)| (name.as_str().into(), to_dynamic(item))).collect()),
    }
}

/// A type's name without its path.
pub(super) fn plain_type(name: &str) -> &str {
    let head = name.split('<').next().unwrap_or(name);
    match head.rsplit("::").next().unwrap_or(head) {
        "Range" | "RangeInclusive" => "a range",
        "Vec" => "a blob",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Dynamic {
        (0..levels).fold(Dynamic::from(1_i64), |inner, _| Dynamic::from_array(vec![inner]))
    }

    #[test]
    fn what_is_a_parameter_can_be_written_and_read() {
        let value = |levels| to_value(&nested(levels), &|_| Ok(String::new()));
        let deepest = value(MOST_DEPTH).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&serde_json::to_string(&deepest).unwrap()).unwrap(), deepest);
        assert!(matches!(value(MOST_DEPTH + 1), Err(NotPlain::Type(what)) if what.contains("deep inside each other")));
    }
}
