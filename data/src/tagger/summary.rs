//! Flat numbers out of a document's attributes, for conditions such as `doc.gopher.word_count >= 50`.
//! Knows how each tagger's types become numbers; an attribute of an unknown tagger is summarised by its shape.

use super::{Emitted, Shape, standard};
use crate::document::{Document, Span};
use std::collections::BTreeMap;
use std::sync::LazyLock;

struct Known {
    group: &'static str,
    types: &'static [Emitted],
}

static KNOWN: LazyLock<BTreeMap<String, Known>> = LazyLock::new(|| {
    standard().iter().map(|tagger| (tagger.name().to_owned(), Known { group: tagger.group(), types: tagger.types() })).collect()
});

/// The numbers of all taggers whose attributes the document carries: group (`gopher`) → field (`word_count`) → value.
///
/// A score is its value, a flag 1 or 0, and a type with any number of spans is their count; types a tagger did not emit are 0, so
/// that every field is always there. `pii` always has `count`. Of two versions of one tagger, the one listed first by
/// [`standard`] wins. Attributes of taggers this program does not know appear under the tagger's name: one span over the
/// whole text gives its score, anything else the number of spans.
pub fn summary(document: &Document) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut by_tagger: BTreeMap<&str, BTreeMap<&str, &[Span]>> = BTreeMap::new();
    for (key, spans) in &document.attributes {
        let (tagger, name) = parts(key);
        by_tagger.entry(tagger).or_default().insert(name, spans);
    }
    let mut groups: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    // In the order of `standard`, so that the first version wins.
    for tagger in standard_names() {
        let (Some(found), Some(known)) = (by_tagger.get(tagger.as_str()), KNOWN.get(tagger)) else { continue };
        let fields = groups.entry(known.group.to_owned()).or_default();
        for emitted in known.types {
            let spans = found.get(emitted.name).copied().unwrap_or_default();
            let value = match emitted.shape {
                Shape::Score => spans.first().map_or(0.0, |span| span.score),
                Shape::Flag => f64::from(u8::from(!spans.is_empty())),
                Shape::Spans => spans.len() as f64,
            };
            fields.entry(emitted.field.to_owned()).or_insert(value);
        }
        if known.group == "pii" && !fields.contains_key("count") {
            let spans = known.types.iter().filter(|emitted| emitted.shape == Shape::Spans);
            let count = spans.map(|emitted| found.get(emitted.name).map_or(0, |spans| spans.len())).sum::<usize>();
            fields.insert("count".to_owned(), count as f64);
        }
    }
    let length = document.text.chars().count() as u64;
    for (tagger, found) in by_tagger.iter().filter(|(tagger, _)| !KNOWN.contains_key(**tagger)) {
        let fields = groups.entry((*tagger).to_owned()).or_default();
        for (name, spans) in found {
            let value = match spans {
                [whole] if whole.start == 0 && whole.end == length => whole.score,
                _ => spans.len() as f64,
            };
            fields.insert((*name).to_owned(), value);
        }
    }
    groups
}

fn standard_names() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| standard().iter().map(|tagger| tagger.name().to_owned()).collect());
    &NAMES
}

/// Tagger and type of a key `<experiment>__<tagger>__<type>`. A key of fewer parts is its own type, under its first part.
fn parts(key: &str) -> (&str, &str) {
    let Some((experiment, rest)) = key.split_once("__") else { return (key, key) };
    match rest.split_once("__") {
        Some((tagger, name)) if !tagger.is_empty() => (tagger, name),
        _ => (experiment, rest),
    }
}
