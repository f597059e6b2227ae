//! What a preset's rules would drop of a corpus: by rule, in documents and bytes, alone and together with others.
//! Knows the flags that a preset's tagger left in attributes; drops nothing.

use super::quality::{BROKEN, Preset};
use super::{Compat, Tagger, tag_document};
use crate::document::{Document, DocumentWriter, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What one rule would drop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleReport {
    /// The rule with its side: `word_count_too_low`.
    pub rule: String,
    /// Documents that break it.
    pub dropped: Totals,
    /// Documents that break it and no other.
    pub alone: Totals,
    /// Ids of the first documents that break it, at most three.
    pub examples: Vec<String>,
}

/// What the rules of a preset would drop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    /// Whose rules.
    pub preset: String,
    /// All documents.
    pub read: Totals,
    /// Documents that break any rule.
    pub dropped: Totals,
    /// Every rule, in the preset's order.
    pub rules: Vec<RuleReport>,
}

/// Examples kept of each rule.
const EXAMPLES: usize = 3;

/// Tags every document of `input` into `output` with a preset's values and flags, and adds up what its rules would drop. Holds one
/// batch of documents.
pub fn quality(
    input: &Path,
    output: &Path,
    preset: Preset,
    compat: Compat,
    observer: &dyn Observer,
) -> Result<QualityReport, DataError> {
    let taggers: Vec<Box<dyn Tagger>> = vec![Box::new(preset)];
    let prefix = format!("{0}__{0}__", preset.name());
    let rules: Vec<(String, String)> = preset.rules().map(|(_, flag)| (flag.to_owned(), [&prefix, flag].concat())).collect();
    let broken = [&prefix, BROKEN].concat();
    let mut report = QualityReport {
        preset: preset.label().to_owned(),
        rules: rules.iter().map(|(rule, _)| RuleReport { rule: rule.clone(), ..RuleReport::default() }).collect(),
        ..QualityReport::default()
    };
    let mut writer = DocumentWriter::create(output)?;
    for_each_batch(input, observer, |mut batch| {
        batch.documents.par_iter_mut().for_each(|document| tag_document(document, &taggers, compat));
        batch.documents.iter().for_each(|document| report.add(document, &rules, &broken));
        writer.write(&batch.documents)
    })?;
    writer.finish()?;
    observer.metric("would_drop_documents", report.dropped.documents as f64);
    Ok(report)
}

impl QualityReport {
    fn add(&mut self, document: &Document, rules: &[(String, String)], broken: &str) {
        self.read.add(document);
        let count = document.attributes.get(broken).and_then(|spans| spans.first()).map_or(0.0, |span| span.score);
        if count == 0.0 {
            return;
        }
        self.dropped.add(document);
        for (rule, (_, key)) in self.rules.iter_mut().zip(rules) {
            if document.attributes.contains_key(key) {
                rule.dropped.add(document);
                if count == 1.0 {
                    rule.alone.add(document);
                }
                if rule.examples.len() < EXAMPLES {
                    rule.examples.push(document.id.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{documents, read, write};

    #[test]
    fn counts_by_rule_alone_and_together() {
        let (short, again) = ("Too short to stay.", "buy it now ".repeat(60));
        let (input, output) = (write(&documents(&[short, &again, short])), tempfile::tempdir().unwrap());
        let report = quality(input.path(), output.path(), Preset::Dolma, Compat::None, &()).unwrap();
        let rule = |name: &str| report.rules.iter().find(|rule| rule.rule == name).unwrap();
        assert_eq!((report.read.documents, report.dropped.documents), (3, 3));
        let low = rule("word_count_too_low");
        assert_eq!((low.dropped.documents, low.dropped.bytes, low.examples.len()), (2, 36, 2));
        assert_eq!(rule("fraction_of_characters_in_duplicate_5grams_too_high").dropped.documents, 1);
        assert!(report.rules.iter().all(|rule| rule.alone.documents <= rule.dropped.documents));
        assert_eq!(read(output.path()).len(), 3);
    }
}
