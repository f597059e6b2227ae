//! Keeps documents by rules, edits their texts, replaces spans.
//! Does not know where rules and functions come from; they run in parallel and must be pure, the order of documents does not change.

mod expression;
mod jq;
mod jsonpath;
mod repetition;
mod replace;
mod rules;

use crate::document::{Document, DocumentWriter, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use jq::Jq;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use expression::Expression;
pub use repetition::repetition_rule;
pub use replace::{SpanReplacement, replace_spans};
pub use rules::{Condition, Example, Rule, RuleReport, RulesReport, Sense, Test, filter};

/// An edit: the new text of a document.
pub type Edit<'a> = &'a (dyn Fn(&Document) -> Result<String, String> + Sync);

/// What an edit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Documents whose text was changed.
    pub changed: u64,
}

impl FilterReport {
    /// Documents dropped, and bytes of text gone (0 when texts grew).
    pub fn removed(&self) -> Totals {
        Totals { documents: self.read.documents - self.kept.documents, bytes: self.read.bytes.saturating_sub(self.kept.bytes) }
    }
}

/// Replaces every text by what `edit` makes of it. Documents left with nothing but space are dropped; a document whose text changed
/// loses its attributes, whose offsets no longer hold.
pub fn map(input: &Path, output: &Path, edit: Edit<'_>, observer: &dyn Observer) -> Result<FilterReport, DataError> {
    let mut report = FilterReport::default();
    let mut writer = DocumentWriter::create(output)?;
    for_each_batch(input, observer, |batch| {
        batch.documents.iter().for_each(|document| report.read.add(document));
        let texts: Vec<Result<String, String>> = batch.documents.par_iter().map(edit).collect();
        let mut kept = Vec::with_capacity(texts.len());
        for (mut document, text) in batch.documents.into_iter().zip(texts) {
            let text = text.map_err(|message| DataError::Document { id: document.id.clone(), message })?;
            report.changed += u64::from(text != document.text);
            document.replace_text(text);
            if !document.text.trim().is_empty() {
                kept.push(document);
            }
        }
        writer.write(&kept)
    })?;
    report.kept = writer.finish()?;
    observer.metric("kept_documents", report.kept.documents as f64);
    observer.metric("kept_bytes", report.kept.bytes as f64);
    observer.metric("removed_documents", (report.read.documents - report.kept.documents) as f64);
    Ok(report)
}

/// Names that follow `.attributes` in a jq program, as `.name` or `["name"]`.
fn attributes_in_jq(program: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, marker) in program.match_indices(".attributes") {
        let rest = program[at + marker.len()..].trim_start_matches('?');
        let quoted = rest.strip_prefix(".\"").or_else(|| rest.strip_prefix("[\"")).and_then(|rest| rest.split_once('"'));
        let bare = rest.strip_prefix('.').map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            &rest[..end]
        });
        if let Some(name) = quoted.map(|(name, _)| name).or(bare).filter(|name| !name.is_empty()) {
            found.push(name.to_owned());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests;
