//! Taggers look at a document and say what they see, as scored spans; they never change it.
//! A tagger knows one text at a time; the loop over a corpus and its order are here, what becomes of the attributes is not.
//!
//! Names, types, spans and rounding are those of the Dolma toolkit (Soldaini et al. 2024), so that attribute files can be exchanged.

mod c4;
mod gopher;
mod language;
mod length;
mod pii;
mod python;
mod summary;
mod text;

use crate::document::{Document, DocumentWriter, Span, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use std::path::Path;

pub(crate) use python::{class, in_ranges, is_space};
pub use summary::summary;
pub use text::Text;

/// What a tagger emits under one type, and thus how a summary turns it into a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One span over the whole document whose score is the value; absent means 0.
    Score,
    /// One span of score 1 over the whole document, or none.
    Flag,
    /// Any number of spans; the value is how many.
    Spans,
}

/// One type of attribute a tagger emits.
#[derive(Clone, Copy, Debug)]
pub struct Emitted {
    /// Dolma's name of the type.
    pub name: &'static str,
    /// Name of the number in a summary.
    pub field: &'static str,
    /// How the spans become that number.
    pub shape: Shape,
}

/// The spans of a document, each under its type, in the order of emission.
pub type Found = Vec<(&'static str, Span)>;

/// Something that measures a text.
pub trait Tagger: Send + Sync {
    /// Dolma's name, with its version: `gopher_v1`.
    fn name(&self) -> &'static str;

    /// The short name under which a summary shows the numbers: `gopher`.
    fn group(&self) -> &'static str;

    /// The types it may emit.
    fn types(&self) -> &'static [Emitted];

    /// Looks at a document. `text` is the document's text with its words and lines found once for all taggers.
    fn tag(&self, document: &Document, text: &Text<'_>) -> Found;
}

/// All taggers of this program, in the order in which they are listed to a user. The first of a group is what the group's short
/// name stands for.
pub fn standard() -> Vec<Box<dyn Tagger>> {
    vec![
        Box::new(gopher::Gopher::V1),
        Box::new(gopher::Gopher::V2),
        Box::new(c4::C4::V2),
        Box::new(c4::C4::V1),
        Box::new(pii::FastPii),
        Box::new(pii::Pii::V2),
        Box::new(pii::Pii::V1),
        Box::new(pii::Pii::WithCountsV2),
        Box::new(language::Language),
        Box::new(length::Length::Chars),
        Box::new(length::Length::Bytes),
        Box::new(length::Length::WhitespaceTokens),
        Box::new(length::Length::Words),
    ]
}

/// Finds taggers by full or short name: `gopher_v1`, or `gopher` for the first of that group.
///
/// Fails with all names when one is not known.
pub fn taggers(names: &[impl AsRef<str>]) -> Result<Vec<Box<dyn Tagger>>, DataError> {
    names
        .iter()
        .map(|name| {
            let name = name.as_ref();
            standard().into_iter().find(|tagger| tagger.name() == name || tagger.group() == name).ok_or_else(|| {
                let known: Vec<_> = standard().iter().map(|tagger| tagger.name()).collect();
                DataError::Params(format!("there is no tagger `{name}`; the taggers are {}", known.join(", ")))
            })
        })
        .collect()
}

/// Adds to a document's attributes what the taggers find in it. Scores are rounded to five decimals as in Dolma.
pub fn tag_document(document: &mut Document, taggers: &[Box<dyn Tagger>]) {
    let mut tagged = Vec::new();
    {
        let text = Text::new(&document.text);
        for tagger in taggers {
            tagged.push((tagger.name(), tagger.tag(document, &text)));
        }
    }
    for (tagger, found) in tagged {
        let prefix = format!("{tagger}__{tagger}__");
        document.attributes.retain(|key, _| !key.starts_with(&prefix));
        for (name, mut span) in found {
            span.score = python::round5(span.score);
            match document.attributes.get_mut([&prefix, name].concat().as_str()) {
                Some(spans) => spans.push(span),
                None => {
                    document.attributes.insert([&prefix, name].concat(), vec![span]);
                }
            }
        }
    }
}

/// Tags every document of `input` into `output`. Documents are tagged in parallel; their order does not change.
pub fn tag(input: &Path, output: &Path, taggers: &[Box<dyn Tagger>], observer: &dyn Observer) -> Result<Totals, DataError> {
    let mut writer = DocumentWriter::create(output)?;
    for_each_batch(input, observer, |mut batch| {
        batch.documents.par_iter_mut().for_each(|document| tag_document(document, taggers));
        writer.write(&batch.documents)
    })?;
    let totals = writer.finish()?;
    observer.metric("documents", totals.documents as f64);
    Ok(totals)
}

#[cfg(test)]
mod tests;
