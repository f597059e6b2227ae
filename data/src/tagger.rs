//! Taggers look at a document and say what they see, as scored spans; they never change it.
//! A tagger knows one text at a time; the loop over a corpus and its order are here, what becomes of the attributes is not.
//!
//! Names, types, spans and rounding are those of the Dolma toolkit (Soldaini et al. 2024), so that attribute files can be exchanged.

mod c4;
pub mod classifier;
mod code;
mod found;
mod gopher;
mod language;
mod length;
mod pii;
mod punctuation;
mod python;
pub mod quality;
mod random;
mod repetition;
pub mod report;
mod segments;
mod summary;
mod text;
mod tokens;
mod url;

use crate::document::{Attributes, Document, DocumentWriter, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

pub use found::Found;
pub(crate) use python::{class, in_ranges, is_space};
pub use summary::summary;
pub use text::{Paragraph, Text};

/// Whose rules taggers follow where Dolma's have a quirk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// What the rule was meant to be; the docs of each tagger say where that is not Dolma's.
    #[default]
    None,
    /// Dolma 1.2.1 to the last digit.
    Dolma12,
}

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

/// Something that measures a text.
pub trait Tagger: Send + Sync {
    /// Dolma's name, with its version: `gopher_v1`.
    fn name(&self) -> &str;

    /// The short name under which a summary shows the numbers: `gopher`.
    fn group(&self) -> &'static str;

    /// The types it may emit.
    fn types(&self) -> &'static [Emitted];

    /// Looks at a document. `text` is the document's text with its words and lines found once for all taggers.
    fn tag(&self, document: &Document, text: &Text<'_>) -> Found;
}

/// All taggers of this program that need nothing but the document, in the order in which they are listed to a user. The first of a
/// group is what the group's short name stands for.
pub fn standard() -> Vec<Box<dyn Tagger>> {
    standard_with(0)
}

fn standard_with(seed: u64) -> Vec<Box<dyn Tagger>> {
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
        Box::new(length::Length::Stripped),
        Box::new(length::Length::CharsByParagraph),
        Box::new(length::Length::Documents),
        Box::new(length::Length::WhitespaceTokensByParagraph),
        Box::new(segments::Segments::Whole),
        Box::new(segments::Segments::Paragraphs),
        Box::new(segments::Segments::AllParagraphs),
        Box::new(segments::Segments::ParagraphsAndSum),
        Box::new(segments::Pieces::Whole),
        Box::new(segments::Pieces::Paragraphs),
        Box::new(repetition::Repetitions::Whole),
        Box::new(repetition::Repetitions::Paragraphs),
        Box::new(punctuation::NotAlphanumeric),
        Box::new(code::RedPajama),
        Box::new(code::Copyright),
        Box::new(random::Random { seed }),
        Box::new(quality::Preset::Dolma),
        Box::new(quality::Preset::Datatrove),
        Box::new(quality::Preset::Fineweb),
        Box::new(quality::Preset::Olmo3),
    ]
}

/// What taggers need beside the documents.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Whose rules they follow.
    pub compat: Compat,
    /// For `random_number_v1`.
    pub seed: u64,
    /// The tokenizer of the `tokenizer_repetitions` taggers.
    pub tokenizer: Option<PathBuf>,
    /// Lists of domains or addresses, each with the name of its tagger; of one name, the files together are one list.
    pub lists: Vec<(String, PathBuf)>,
}

/// Names of the taggers that need a tokenizer.
pub fn with_tokenizer() -> impl Iterator<Item = &'static str> {
    tokens::Unit::ALL.into_iter().map(tokens::Unit::name)
}

/// Finds taggers by full or short name: `gopher_v1`, or `gopher` for the first of that group.
///
/// Fails with all names when one is not known.
pub fn taggers(names: &[impl AsRef<str>]) -> Result<Vec<Box<dyn Tagger>>, DataError> {
    taggers_with(names, &Needs::default())
}

/// Finds taggers by name, those included that need a tokenizer; a tagger of each list follows.
///
/// Fails with all names when one is not known, when one needs what is not given, and when a file cannot be used.
pub fn taggers_with(names: &[impl AsRef<str>], needs: &Needs) -> Result<Vec<Box<dyn Tagger>>, DataError> {
    let mut found: Vec<Box<dyn Tagger>> = Vec::new();
    for name in names {
        let name = name.as_ref();
        let unit = tokens::Unit::ALL.into_iter().find(|unit| unit.name() == name);
        if let Some(unit) = unit {
            let Some(tokenizer) = &needs.tokenizer else {
                return Err(DataError::Params(format!("the tagger `{name}` needs a tokenizer; give one as `tokenizer`")));
            };
            found.push(Box::new(tokens::TokenRepetitions::load(unit, tokenizer)?));
            continue;
        }
        let mut all = standard_with(needs.seed);
        let Some(index) = all.iter().position(|tagger| tagger.name() == name || tagger.group() == name) else {
            let mut known: Vec<_> = all.iter().map(|tagger| tagger.name().to_owned()).collect();
            known.extend(with_tokenizer().map(str::to_owned));
            return Err(DataError::Params(format!("there is no tagger `{name}`; the taggers are {}", known.join(", "))));
        };
        found.push(all.swap_remove(index));
    }
    let mut lists: Vec<&str> = Vec::new();
    for (name, _) in &needs.lists {
        if !lists.contains(&name.as_str()) {
            lists.push(name);
        }
    }
    for name in lists {
        let files: Vec<_> = needs.lists.iter().filter(|(list, _)| list == name).map(|(_, file)| file).collect();
        found.push(Box::new(url::UrlList::load(name, &files, needs.compat)?));
    }
    Ok(found)
}

/// Adds to a document's attributes what the taggers find in it, instead of what an earlier run of the same taggers found. Scores are
/// rounded to five decimals as in Dolma.
pub fn tag_document(document: &mut Document, taggers: &[Box<dyn Tagger>], compat: Compat) {
    let mut tagged = Vec::with_capacity(taggers.len());
    {
        let text = Text::with(&document.text, compat);
        for tagger in taggers {
            tagged.push((tagger.name(), tagger.tag(document, &text)));
        }
    }
    for (tagger, found) in tagged {
        insert(&mut document.attributes, tagger, found);
    }
}

fn insert(attributes: &mut Attributes, tagger: &str, found: Found) {
    let tagger = sanitised(tagger);
    let prefix = format!("{tagger}__{tagger}__");
    if !attributes.is_empty() {
        attributes.retain(|key, _| !key.starts_with(&prefix));
    }
    for (name, mut spans) in found.into_groups() {
        for span in &mut spans {
            span.score = python::round5(span.score);
        }
        attributes.insert([prefix.as_str(), &sanitised(&name)].concat(), spans);
    }
}

/// A part of a key: other characters than ASCII letters, digits and `_` become `_`.
fn sanitised(name: &str) -> std::borrow::Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(plain) { name.into() } else { name.chars().map(|c| if plain(c) { c } else { '_' }).collect() }
}

/// Tags every document of `input` into `output`. Documents are tagged in parallel; their order does not change.
pub fn tag(
    input: &Path,
    output: &Path,
    taggers: &[Box<dyn Tagger>],
    compat: Compat,
    observer: &dyn Observer,
) -> Result<Totals, DataError> {
    let mut writer = DocumentWriter::create(output)?;
    for_each_batch(input, observer, |mut batch| {
        batch.documents.par_iter_mut().for_each(|document| tag_document(document, taggers, compat));
        writer.write(&batch.documents)
    })?;
    let totals = writer.finish()?;
    observer.metric("documents", totals.documents as f64);
    Ok(totals)
}

#[cfg(test)]
mod tests;
