//! [`Value`]: the canonical form of parameters and their only byte encoding. It does not know which step a value belongs to or
//! which script it came from.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value as Json, json};

/// A parameter value. Maps are sorted; equal values have equal encodings.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction; `-0.0` and every NaN are encoded as one each.
    Float(f64),
    /// Text.
    Str(String),
    /// A closure, as the canonical source of its syntax tree with captured constants in place.
    Script(String),
    /// An ordered list.
    List(Vec<Value>),
    /// Named values, sorted by name.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// A map from pairs.
    pub fn map<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(pairs.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// The entry of a map, if this is a map that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(map) => map.get(name),
            _ => None,
        }
    }

    /// What a person calls this type of value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "bool",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::Str(_) => "string",
            Self::Script(_) => "closure",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// Appends the canonical encoding: a type tag, then fixed-size or length-prefixed content.
    pub fn encode(&self, out: &mut Vec<u8>) {
        fn text(out: &mut Vec<u8>, tag: u8, text: &str) {
            out.push(tag);
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        }
        match self {
            Self::Null => out.push(0),
            Self::Bool(value) => out.extend([1, u8::from(*value)]),
            Self::Int(value) => {
                out.push(2);
                out.extend(value.to_le_bytes());
            }
            Self::Float(value) => {
                out.push(3);
                out.extend(canonical(*value).to_bits().to_le_bytes());
            }
            Self::Str(value) => text(out, 4, value),
            Self::Script(value) => text(out, 5, value),
            Self::List(items) => {
                out.push(6);
                out.extend((items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(map) => {
                out.push(7);
                out.extend((map.len() as u64).to_le_bytes());
                for (name, value) in map {
                    text(out, 4, name);
                    value.encode(out);
                }
            }
        }
    }

    /// JSON that reads back as the same value: scripts are `{"$script": ...}`, non-finite numbers `{"$float": "NaN"}`, and maps that
    /// look like one of these `{"$map": {...}}`.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::Float(value) if value.is_finite() => json!(canonical(*value)),
            Self::Float(value) => json!({ "$float": value.to_string() }),
            Self::Str(value) => json!(value),
            Self::Script(value) => json!({ "$script": value }),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(map) => {
                let entries = Json::Object(map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect());
                let looks_like_another = map.len() == 1 && map.keys().any(|name| MARKS.contains(&name.as_str()));
                if looks_like_another { json!({ "$map": entries }) } else { entries }
            }
        }
    }

    /// The value that [`to_json`](Self::to_json) wrote; integers beyond `i64` become floats.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => number.as_i64().map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int),
            Json::String(value) => Self::Str(value.clone()),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(map) if map.len() == 1 && map.get("$script").is_some_and(Json::is_string) => {
                Self::Script(map["$script"].as_str().unwrap_or_default().to_owned())
            }
            Json::Object(map) if map.len() == 1 && map.get("$float").is_some_and(Json::is_string) => {
                Self::Float(map["$float"].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN))
            }
            Json::Object(map) => match map.get(MAP).and_then(Json::as_object) {
                Some(entries) if map.len() == 1 => Self::from_entries(entries),
                _ => Self::from_entries(map),
            },
        }
    }

    fn from_entries(entries: &serde_json::Map<String, Json>) -> Self {
        Self::Map(entries.iter().map(|(name, value)| (name.clone(), Self::from_json(value))).collect())
    }
}

/// The name that marks a map which looks like another value.
const MAP: &str = "$map";
/// Names that give an object of one entry another meaning.
const MARKS: [&str; 3] = ["$script", "$float", MAP];

fn canonical(value: f64) -> f64 {
    if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    }
}

/// As a recipe would write it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("()"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Str(value) => write!(f, "{value:?}"),
            Self::Script(value) => f.write_str(value),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("#{")?;
                for (index, (name, value)) in map.iter().enumerate() {
                    write!(f, "{}{name}: {value}", if index > 0 { ", " } else { " " })?;
                }
                f.write_str(if map.is_empty() { "}" } else { " }" })
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Json::deserialize(deserializer).map(|json| Self::from_json(&json))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Float),
            ".{0,8}".prop_map(Value::Str),
            "[a-z|= ]{0,8}".prop_map(Value::Script),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map("[a-z]{1,4}|[$](script|float|map)", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    proptest! {
        #[test]
        fn json_keeps_the_encoding(value in values()) {
            let text = serde_json::to_string(&value.to_json()).unwrap();
            let back = Value::from_json(&serde_json::from_str(&text).unwrap());
            prop_assert_eq!(bytes(&back), bytes(&value));
        }

        #[test]
        fn different_values_have_different_encodings(a in values(), b in values()) {
            let same_text = format!("{a:?}").replace("-0.0", "0.0") == format!("{b:?}").replace("-0.0", "0.0");
            prop_assert_eq!(bytes(&a) == bytes(&b), same_text);
        }
    }

    #[test]
    fn a_map_that_looks_like_another_value_stays_a_map() {
        for inner in [Value::Str("1".into()), Value::Script("|a0| a0".into()), Value::map([("$map", Value::map::<&str>([]))])] {
            for name in MARKS {
                let value = Value::map([(name, inner.clone())]);
                let text = serde_json::to_string(&value).unwrap();
                assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{text}");
            }
        }
    }

    #[test]
    fn zero_has_one_encoding() {
        assert_eq!(bytes(&Value::Float(-0.0)), bytes(&Value::Float(0.0)));
        assert_ne!(bytes(&Value::Int(1)), bytes(&Value::Float(1.0)));
    }
}
