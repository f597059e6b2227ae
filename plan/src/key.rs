//! The canonical preimage of a step and its key.
//!
//! | in the key | not in the key |
//! |---|---|
//! | kind, the kind's VERSION | name, site, resources, place |
//! | every parameter, defaults filled in | device, thread count, log cadence, clock |
//! | content digests of the inputs, in port order | keys and names of the steps that made them |
//! | path and digest of files read from outside | where the store, the recipe and the program stand |
//!
//! Inputs enter by what they contain, so an upstream step that reruns and yields the same bytes cuts the rebuild short.
//! This file does not know where preimages are kept.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, Hasher, Key, Value};

/// Format of the preimage encoding; a change gives every step a new key.
pub const FORMAT: u32 = 1;

/// One input of a preimage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDigest {
    /// Port name; for files from outside, port and path.
    pub port: String,
    /// Content digest.
    pub digest: Digest,
}

/// Everything that decides a step's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preimage {
    /// [`FORMAT`].
    pub format: u32,
    /// Step kind.
    pub kind: String,
    /// The kind's VERSION.
    pub version: u32,
    /// Parameters, defaults filled in.
    pub params: Value,
    /// Input digests in port order.
    pub inputs: Vec<InputDigest>,
}

impl Preimage {
    /// The key: BLAKE3 of the one canonical encoding.
    pub fn key(&self) -> Key {
        let mut hasher = Hasher::new("workbench key");
        hasher.field(&self.format.to_le_bytes()).field(self.kind.as_bytes()).field(&self.version.to_le_bytes());
        let mut params = Vec::new();
        self.params.encode(&mut params);
        hasher.field(&params).field(&(self.inputs.len() as u64).to_le_bytes());
        for input in &self.inputs {
            hasher.field(input.port.as_bytes()).field(input.digest.as_bytes());
        }
        Key::from_bytes(hasher.finish())
    }

    /// What changed from `before` to `self`, field by field; empty when the keys are equal.
    pub fn differences(&self, before: &Preimage) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.format != before.format {
            found.push(Difference::Format { before: before.format, after: self.format });
        }
        if self.kind != before.kind {
            found.push(Difference::Kind { before: before.kind.clone(), after: self.kind.clone() });
        }
        if self.version != before.version {
            found.push(Difference::Version { before: before.version, after: self.version });
        }
        compare("", Some(&before.params), Some(&self.params), &mut found);
        for index in 0..self.inputs.len().max(before.inputs.len()) {
            let (old, new) = (before.inputs.get(index), self.inputs.get(index));
            if old != new {
                let port = new.or(old).map(|input| input.port.clone()).unwrap_or_default();
                found.push(Difference::Input { port, before: old.map(|i| i.digest), after: new.map(|i| i.digest) });
            }
        }
        found
    }
}

/// One field in which two preimages differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Difference {
    /// The encoding of keys changed.
    Format {
        /// Format before.
        before: u32,
        /// Format now.
        after: u32,
    },
    /// The step is of another kind.
    Kind {
        /// Kind before.
        before: String,
        /// Kind now.
        after: String,
    },
    /// The kind's code changed its results.
    Version {
        /// VERSION before.
        before: u32,
        /// VERSION now.
        after: u32,
    },
    /// A parameter changed, appeared or went.
    Param {
        /// Dotted path of the parameter.
        path: String,
        /// Value before.
        before: Option<Value>,
        /// Value now.
        after: Option<Value>,
    },
    /// An input has other content.
    Input {
        /// Port.
        port: String,
        /// Digest before.
        before: Option<Digest>,
        /// Digest now.
        after: Option<Digest>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown<T>(value: Option<&T>, text: impl Fn(&T) -> String) -> String {
            value.map_or_else(|| "(absent)".to_owned(), text)
        }
        match self {
            Self::Format { before, after } => write!(f, "key format: {before} -> {after}"),
            Self::Kind { before, after } => write!(f, "kind: {before} -> {after}"),
            Self::Version { before, after } => write!(f, "version of the kind: {before} -> {after}"),
            Self::Param { path, before, after } => {
                let text = |value: &Value| {
                    let text = value.to_string();
                    if text.chars().count() > 160 { format!("{}…", text.chars().take(159).collect::<String>()) } else { text }
                };
                write!(f, "param {path}: {} -> {}", shown(before.as_ref(), text), shown(after.as_ref(), text))
            }
            Self::Input { port, before, after } => {
                write!(f, "input {port}: {} -> {}", shown(before.as_ref(), Digest::short), shown(after.as_ref(), Digest::short))
            }
        }
    }
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if let (Some(Value::Map(old)), Some(Value::Map(new))) = (before, after) {
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            compare(&path, old.get(name), new.get(name), found);
        }
    } else if before != after {
        found.push(Difference::Param { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preimage(lr: f64, version: u32) -> Preimage {
        Preimage {
            format: FORMAT,
            kind: "sft".into(),
            version,
            params: Value::map([("optim", Value::map([("lr", Value::Float(lr))])), ("epochs", Value::Int(2))]),
            inputs: vec![InputDigest { port: "model".into(), digest: Digest::from_bytes([1; 32]) }],
        }
    }

    #[test]
    fn the_key_is_pinned() {
        assert_eq!(preimage(1e-3, 1).key().short(), "74207a5a58f9");
    }

    #[test]
    fn differences_name_the_parameter() {
        let found = preimage(3e-4, 1).differences(&preimage(1e-3, 1));
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["param optim.lr: 0.001 -> 0.0003"]);
        assert!(preimage(1e-3, 1).differences(&preimage(1e-3, 1)).is_empty());
        assert_eq!(preimage(1e-3, 2).differences(&preimage(1e-3, 1)).len(), 1);
    }

    #[test]
    fn a_changed_input_is_named_by_its_port() {
        let mut other = preimage(1e-3, 1);
        other.inputs[0].digest = Digest::from_bytes([2; 32]);
        assert!(other.differences(&preimage(1e-3, 1))[0].to_string().starts_with("input model: 010101010101 -> 0202"));
        assert_ne!(other.key(), preimage(1e-3, 1).key());
    }
}
