//! The attributes of a document: span lists by key, in the order in which they were found, as Dolma's files have them.
//! Knows no tagger.

use super::Span;
use indexmap::IndexMap;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Deref, DerefMut};

type Inner = IndexMap<String, Vec<Span>, ahash::RandomState>;

/// Attributes by key `<experiment>__<tagger>__<type>`, each a list of spans in the order they were found. Keys keep the order in
/// which they were added, also through files; two sets are equal when they hold the same, in whatever order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Inner);

impl Attributes {
    /// None.
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes an attribute out; the order of the others stays.
    pub fn remove(&mut self, key: &str) -> Option<Vec<Span>> {
        self.0.shift_remove(key)
    }
}

impl Deref for Attributes {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl DerefMut for Attributes {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.0
    }
}

impl Extend<(String, Vec<Span>)> for Attributes {
    fn extend<T: IntoIterator<Item = (String, Vec<Span>)>>(&mut self, entries: T) {
        self.0.extend(entries);
    }
}

impl FromIterator<(String, Vec<Span>)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (String, Vec<Span>)>>(entries: T) -> Attributes {
        Attributes(entries.into_iter().collect())
    }
}

impl<const N: usize> From<[(String, Vec<Span>); N]> for Attributes {
    fn from(entries: [(String, Vec<Span>); N]) -> Attributes {
        entries.into_iter().collect()
    }
}

impl IntoIterator for Attributes {
    type Item = (String, Vec<Span>);
    type IntoIter = indexmap::map::IntoIter<String, Vec<Span>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = (&'a String, &'a Vec<Span>);
    type IntoIter = indexmap::map::Iter<'a, String, Vec<Span>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a mut Attributes {
    type Item = (&'a String, &'a mut Vec<Span>);
    type IntoIter = indexmap::map::IterMut<'a, String, Vec<Span>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, spans) in self {
            map.serialize_entry(key, spans)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of attributes, each a list of [start, end, score]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut attributes = Attributes::new();
                while let Some((key, spans)) = map.next_entry()? {
                    attributes.insert(key, spans);
                }
                Ok(attributes)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_keys_through_json() {
        let json = r#"{"z":[[0,1,1.0]],"a":[],"m":[[-1,2,0.5]]}"#;
        let mut attributes: Attributes = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&attributes).unwrap(), json);
        attributes.remove("z");
        attributes.insert("b".into(), Vec::new());
        assert_eq!(attributes.keys().collect::<Vec<_>>(), ["a", "m", "b"]);
        assert!(serde_json::from_str::<Attributes>("[1]").unwrap_err().to_string().contains("a map of attributes"));
    }
}
