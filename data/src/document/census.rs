//! How much of what a documents artifact holds: by source and by licence.
//! Knows three fields; texts are measured where they stand, attributes passed over.

use super::lines::{LineBatch, LineReader};
use super::{Totals, document_files, named};
use crate::error::DataError;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Documents and bytes of text by `source`.
    pub sources: BTreeMap<String, Totals>,
    /// Documents by the metadata field `license`, where that is a text.
    pub licences: BTreeMap<String, u64>,
}

impl Census {
    /// In all.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.sources.values().for_each(|source| totals += *source);
        totals
    }

    fn merge(mut self, other: Census) -> Census {
        for (source, totals) in other.sources {
            *self.sources.entry(source).or_default() += totals;
        }
        for (licence, documents) in other.licences {
            *self.licences.entry(licence).or_default() += documents;
        }
        self
    }
}

/// Counts the documents of an artifact, in parallel and in the memory of a batch.
pub fn census(dir: &Path) -> Result<Census, DataError> {
    let mut census = Census::default();
    for batch in LineReader::open(named(dir, document_files(dir)?), usize::MAX)? {
        let batch = batch.and_then(LineBatch::strict)?;
        let part = batch
            .lines()
            .map(|(line, bytes)| {
                serde_json::from_slice::<Counted<'_>>(bytes).map_err(|error| DataError::Line {
                    path: batch.path.clone(),
                    line,
                    message: format!("not a document: {error}"),
                })
            })
            .try_fold(Census::default, |mut census, counted| {
                let Counted { source, bytes, licence } = counted?;
                match census.sources.get_mut(&*source) {
                    Some(totals) => *totals += Totals { documents: 1, bytes },
                    None => drop(census.sources.insert(source.into_owned(), Totals { documents: 1, bytes })),
                }
                if let Some(licence) = licence {
                    *census.licences.entry(licence).or_default() += 1;
                }
                Ok::<_, DataError>(census)
            })
            .try_reduce(Census::default, |a, b| Ok(a.merge(b)))?;
        census = census.merge(part);
    }
    Ok(census)
}

/// What is counted of a document.
#[derive(Default)]
struct Counted<'a> {
    source: Cow<'a, str>,
    bytes: u64,
    licence: Option<String>,
}

impl<'de> Deserialize<'de> for Counted<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted<'de>, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Counted<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a document")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counted<'de>, A::Error> {
                let mut counted = Counted::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match &*key {
                        "text" => counted.bytes = map.next_value::<Length>()?.0,
                        "source" => counted.source = map.next_value::<Option<Cow<'de, str>>>()?.unwrap_or_default(),
                        "metadata" => counted.licence = map.next_value::<Option<Licence>>()?.and_then(|licence| licence.0),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(counted)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The length of a text in UTF-8, without keeping it.
struct Length(u64);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Length, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Length;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Length, E> {
                Ok(Length(text.len() as u64))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The licence among metadata.
struct Licence(Option<String>);

impl<'de> Deserialize<'de> for Licence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Licence, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Licence;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("metadata")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Licence, A::Error> {
                let mut licence = None;
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == "license" {
                        licence = map.next_value::<serde_json::Value>()?.as_str().map(str::to_owned);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Licence(licence))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::testing::{documents, write};

    #[test]
    fn counts_what_reading_whole_documents_counts() {
        let mut all = documents(&["one", "zw\"ei\nünï", "", "four"]);
        all[1].metadata.insert("license".into(), "MIT".into());
        all[2].metadata.insert("license".into(), 3.into());
        all[3] = Document::new("d3", "four", "sour\"ce");
        let census = census(write(&all).path()).unwrap();
        let mut totals = Totals::default();
        all.iter().for_each(|document| totals.add(document));
        assert_eq!(census.totals(), totals);
        assert_eq!(census.sources["test"], Totals { documents: 3, bytes: 14 });
        assert_eq!(census.sources["sour\"ce"], Totals { documents: 1, bytes: 4 });
        assert_eq!(census.licences, BTreeMap::from([("MIT".to_owned(), 1)]));
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("a.jsonl"), "{\"text\":1}").unwrap();
        assert!(super::census(dir.path()).unwrap_err().to_string().contains("a.jsonl:1: not a document"));
    }
}
