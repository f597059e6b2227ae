//! Replaces spans of a text, such as personal data a tagger found, by a placeholder.
//! Knows attributes and offsets; finds nothing by itself.
//!
//! The rules are those of Dolma's mixer: spans are taken in the order of their starts, a span that begins inside one already replaced
//! is skipped, and a span counts when its score is at least `min_score`.

use crate::document::{Document, DocumentWriter, Span};
use crate::error::DataError;
use crate::filter::FilterReport;
use crate::observe::Observer;
use crate::tagger::{Tagger, Text};
use crate::transform::for_each_batch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What replaces the spans of one attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Key of the attribute: `<experiment>__<tagger>__<type>`.
    pub attribute: String,
    /// Spans of a lower score stay.
    pub min_score: f64,
    /// The text put in place; `{}` in it stands for the covered text.
    pub with: String,
}

/// Dolma's placeholders for the spans of a tagger of personal data (`pii_regex_with_counts_fast_v2` made Dolma).
pub fn pii_replacements(tagger: &dyn Tagger) -> Vec<Replacement> {
    [("EMAIL_ADDRESS", " |||EMAIL_ADDRESS||| "), ("PHONE_NUMBER", " |||PHONE_NUMBER||| "), ("IP_ADDRESS", " |||IP_ADDRESS||| ")]
        .into_iter()
        .map(|(name, with)| Replacement {
            attribute: format!("{0}__{0}__{name}", tagger.name()),
            min_score: 0.5,
            with: with.to_owned(),
        })
        .collect()
}

/// Masks every document of `input` into `output`. A document whose text changed loses its attributes; tag again to have new ones.
pub fn mask(
    input: &Path,
    output: &Path,
    replacements: &[Replacement],
    observer: &dyn Observer,
) -> Result<FilterReport, DataError> {
    let mut report = FilterReport::default();
    let mut writer = DocumentWriter::create(output)?;
    for_each_batch(input, observer, |mut batch| {
        batch.documents.iter().for_each(|document| report.read.add(document));
        let masked: Vec<Option<String>> =
            batch.documents.par_iter().map(|document| mask_document(document, replacements)).collect::<Result<_, _>>()?;
        for (document, text) in batch.documents.iter_mut().zip(masked) {
            if let Some(text) = text {
                report.changed += 1;
                document.replace_text(text);
            }
        }
        writer.write(&batch.documents)
    })?;
    report.kept = writer.finish()?;
    observer.metric("masked_documents", report.changed as f64);
    debug_assert_eq!(report.kept.documents, report.read.documents);
    Ok(report)
}

/// The text with its spans replaced, or `None` when there is nothing to replace. Fails on a span that leaves the text.
pub fn mask_document(document: &Document, replacements: &[Replacement]) -> Result<Option<String>, DataError> {
    let mut spans: Vec<(Span, &str)> = Vec::new();
    for replacement in replacements {
        for span in document.attributes.get(&replacement.attribute).into_iter().flatten() {
            if span.score >= replacement.min_score && span.start < span.end {
                spans.push((*span, &replacement.with));
            }
        }
    }
    if spans.is_empty() {
        return Ok(None);
    }
    spans.sort_by_key(|(span, _)| span.start);
    let length = Text::new(&document.text).chars() as u64;
    if let Some((span, _)) = spans.iter().find(|(span, _)| span.end > length) {
        return Err(DataError::Document {
            id: document.id.clone(),
            message: format!(
                "a span ends at {}, but the text has {length} characters; were the attributes made for it?",
                span.end
            ),
        });
    }
    let mut text = String::with_capacity(document.text.len());
    let mut rest = document.text.char_indices();
    let mut position = 0u64;
    // The byte at which a code point starts, walking forward only.
    let mut byte_at = |target: u64, position: &mut u64| {
        let mut last = rest.offset();
        while *position < target && rest.next().is_some() {
            *position += 1;
            last = rest.offset();
        }
        last
    };
    let mut copied = 0;
    for (span, with) in spans {
        if span.start < position {
            continue;
        }
        let start = byte_at(span.start, &mut position);
        let end = byte_at(span.end, &mut position);
        text.push_str(&document.text[copied..start]);
        text.push_str(&with.replace("{}", &document.text[start..end]));
        copied = end;
    }
    text.push_str(&document.text[copied..]);
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tagger::{tag_document, taggers};
    use proptest::prelude::*;

    fn masked(text: &str) -> String {
        let taggers = taggers(&["pii"]).unwrap();
        let mut document = Document::new("d", text, "");
        tag_document(&mut document, &taggers, crate::tagger::Compat::Dolma12);
        mask_document(&document, &pii_replacements(&*taggers[0])).unwrap().unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn masks_as_dolma_does() {
        assert_eq!(masked("é write to a@b.org now"), "é write to |||EMAIL_ADDRESS||| now");
        assert_eq!(masked("call 555-123-4567, or 10.0.0.1\n"), "call |||PHONE_NUMBER||| , or  |||IP_ADDRESS||| \n");
        assert_eq!(masked("nothing here"), "nothing here");
    }

    #[test]
    fn overlaps_scores_and_the_covered_text() {
        let mut document = Document::new("d", "0123456789", "");
        let spans = [(2, 4, 1.0), (3, 6, 1.0), (4, 5, 1.0), (8, 10, 0.4)].map(Span::from);
        document.attributes.insert("k".into(), spans.to_vec());
        let replacement = |with: &str| [Replacement { attribute: "k".into(), min_score: 0.5, with: with.into() }];
        assert_eq!(mask_document(&document, &replacement("<{}>")).unwrap().unwrap(), "01<23><4>56789");
        assert_eq!(mask_document(&document, &replacement("")).unwrap().unwrap(), "0156789");
        document.text = "0".into();
        assert!(mask_document(&document, &replacement("")).unwrap_err().to_string().contains("has 1 characters"));
    }

    proptest! {
        #[test]
        fn any_spans_are_safe(text in "[aé日]{0,12}", spans in proptest::collection::vec((0u64..14, 0u64..14), 0..6)) {
            let length = text.chars().count() as u64;
            let mut document = Document::new("d", text.clone(), "");
            document.attributes.insert("k".into(), spans.iter().map(|&(a, b)| Span::from((a, b, 1.0))).collect());
            let replacement = [Replacement { attribute: "k".into(), min_score: 0.5, with: "{}".into() }];
            match mask_document(&document, &replacement) {
                Ok(masked) => prop_assert_eq!(masked.unwrap_or_else(|| text.clone()), text),
                Err(_) => prop_assert!(spans.iter().any(|&(a, b)| a < b && b > length)),
            }
        }
    }
}
