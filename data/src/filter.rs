//! Keeps documents by a condition, or edits their texts, with functions the caller gives.
//! Does not know where the functions come from; they run in parallel and must be pure, the order of documents does not change.

use crate::document::{Document, DocumentWriter, Totals};
use crate::error::DataError;
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A condition on a document; an error stops the operation and is reported with the document's id.
pub type Condition<'a> = &'a (dyn Fn(&Document) -> Result<bool, String> + Sync);

/// An edit: the new text of a document.
pub type Edit<'a> = &'a (dyn Fn(&Document) -> Result<String, String> + Sync);

/// What a filter or an edit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Documents whose text was changed (0 for a filter).
    pub changed: u64,
}

impl FilterReport {
    /// Documents dropped, and bytes of text gone (0 when texts grew).
    pub fn removed(&self) -> Totals {
        Totals { documents: self.read.documents - self.kept.documents, bytes: self.read.bytes.saturating_sub(self.kept.bytes) }
    }
}

/// Copies the documents for which `keep` holds.
pub fn filter(input: &Path, output: &Path, keep: Condition<'_>, observer: &dyn Observer) -> Result<FilterReport, DataError> {
    let mut report = FilterReport::default();
    let mut writer = DocumentWriter::create(output)?;
    for_each_batch(input, observer, |batch| {
        let mut documents = batch.documents;
        documents.iter().for_each(|document| report.read.add(document));
        let verdicts: Vec<Result<bool, String>> = documents.par_iter().map(keep).collect();
        let mut kept = Vec::with_capacity(documents.len());
        for (document, verdict) in documents.drain(..).zip(verdicts) {
            match verdict {
                Ok(true) => kept.push(document),
                Ok(false) => {}
                Err(message) => return Err(DataError::Document { id: document.id, message }),
            }
        }
        writer.write(&kept)
    })?;
    finish(report, writer, observer)
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
    finish(report, writer, observer)
}

fn finish(mut report: FilterReport, writer: DocumentWriter, observer: &dyn Observer) -> Result<FilterReport, DataError> {
    report.kept = writer.finish()?;
    observer.metric("kept_documents", report.kept.documents as f64);
    observer.metric("kept_bytes", report.kept.bytes as f64);
    observer.metric("removed_documents", (report.read.documents - report.kept.documents) as f64);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{documents, read, write};

    #[test]
    fn keeps_what_the_condition_holds_for() {
        let (input, output) = (write(&documents(&["aa", "b", "aaa"])), tempfile::tempdir().unwrap());
        let report = filter(input.path(), output.path(), &|document| Ok(document.text.contains("aa")), &()).unwrap();
        assert_eq!(read(output.path()).iter().map(|document| document.id.as_str()).collect::<Vec<_>>(), ["d0", "d2"]);
        assert_eq!((report.read.documents, report.kept), (3, Totals { documents: 2, bytes: 5 }));
    }

    #[test]
    fn an_error_names_the_first_document_that_fails() {
        let (input, output) = (write(&documents(&["a", "b", "b"])), tempfile::tempdir().unwrap());
        let keep = |document: &Document| if document.text == "b" { Err("no such field `x`".to_owned()) } else { Ok(true) };
        let error = filter(input.path(), output.path(), &keep, &()).unwrap_err();
        assert_eq!(error.to_string(), "document `d1`: no such field `x`");
    }

    #[test]
    fn edits_texts_and_drops_empty_ones() {
        let (input, output) = (write(&documents(&["keep", "x", " X"])), tempfile::tempdir().unwrap());
        let report = map(input.path(), output.path(), &|document| Ok(document.text.replace('x', "")), &()).unwrap();
        assert_eq!(read(output.path()).into_iter().map(|document| document.text).collect::<Vec<_>>(), ["keep", " X"]);
        assert_eq!((report.changed, report.kept.documents), (1, 2));
    }

    struct Stopped;
    impl Observer for Stopped {
        fn should_stop(&self) -> bool {
            true
        }
    }

    #[test]
    fn stops_when_asked() {
        let (input, output) = (write(&documents(&["a"])), tempfile::tempdir().unwrap());
        assert!(matches!(filter(input.path(), output.path(), &|_| Ok(true), &Stopped), Err(DataError::Cancelled)));
    }
}
