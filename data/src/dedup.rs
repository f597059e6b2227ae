//! Exact removal of repeated documents, or of repeated paragraphs: the first occurrence in document order stays.
//! Knows texts only; near-duplicates, attributes and metadata do not count.
//!
//! Texts are hashed in parallel and the hashes are entered one after another in document order, so the outcome is that of a single
//! thread. A hash has 128 bits; memory is about 20 bytes per distinct text or paragraph.

use crate::document::{Document, DocumentWriter, Totals};
use crate::error::DataError;
use crate::hash::{ContentSet, content};
use crate::observe::Observer;
use crate::transform::for_each_batch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DedupBy {
    /// Whole texts.
    Document,
    /// The pieces of a text between separators. A piece that repeats an earlier one, of the same or another document, is removed
    /// together with the separator after it; a document of which nothing but space is left is dropped.
    Paragraph {
        /// What ends a paragraph: `"\n"` in Dolma, `"\n\n"` for Markdown.
        separator: String,
        /// Pieces of fewer bytes (without surrounding space) are left alone: closing brackets, bullets, rules.
        min_bytes: usize,
    },
}

impl DedupBy {
    /// Paragraphs as Dolma cuts them: at newlines, empty ones skipped.
    pub fn paragraph() -> DedupBy {
        DedupBy::Paragraph { separator: "\n".to_owned(), min_bytes: 1 }
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupReport {
    /// What came in.
    pub read: Totals,
    /// What is left.
    pub kept: Totals,
    /// Paragraphs removed (0 when whole documents are compared).
    pub removed_paragraphs: u64,
}

impl DedupReport {
    /// Documents dropped, and bytes of text gone in all.
    pub fn removed(&self) -> Totals {
        self.read - self.kept
    }
}

/// Removes repetitions from `input` into `output`.
pub fn dedup(input: &Path, output: &Path, by: &DedupBy, observer: &dyn Observer) -> Result<DedupReport, DataError> {
    if let DedupBy::Paragraph { separator, .. } = by
        && separator.is_empty()
    {
        return Err(DataError::Params("the paragraph separator must not be empty".to_owned()));
    }
    let mut writer = DocumentWriter::create(output)?;
    let mut seen = ContentSet::default();
    let mut report = DedupReport::default();
    for_each_batch(input, observer, |batch| {
        batch.documents.iter().for_each(|document| report.read.add(document));
        let kept = match by {
            DedupBy::Document => by_document(batch.documents, &mut seen),
            DedupBy::Paragraph { separator, min_bytes } => {
                by_paragraph(batch.documents, separator, *min_bytes, &mut seen, &mut report.removed_paragraphs)
            }
        };
        writer.write(&kept)
    })?;
    report.kept = writer.finish()?;
    let removed = report.removed();
    observer.metric("removed_documents", removed.documents as f64);
    observer.metric("removed_bytes", removed.bytes as f64);
    observer.metric("removed_paragraphs", report.removed_paragraphs as f64);
    Ok(report)
}

fn by_document(documents: Vec<Document>, seen: &mut ContentSet) -> Vec<Document> {
    let hashes: Vec<u128> = documents.par_iter().map(|document| content(document.text.as_bytes())).collect();
    documents.into_iter().zip(hashes).filter(|(_, hash)| seen.insert(*hash)).map(|(document, _)| document).collect()
}

fn by_paragraph(
    documents: Vec<Document>,
    separator: &str,
    min_bytes: usize,
    seen: &mut ContentSet,
    removed: &mut u64,
) -> Vec<Document> {
    // A paragraph that is too short to be compared has no hash.
    let hashes: Vec<Vec<Option<u128>>> = documents
        .par_iter()
        .map(|document| {
            let hash = |piece: &str| (piece.trim().len() >= min_bytes.max(1)).then(|| content(piece.as_bytes()));
            document.text.split(separator).map(hash).collect()
        })
        .collect();
    let repeated: Vec<Vec<bool>> = hashes
        .into_iter()
        .map(|hashes| hashes.into_iter().map(|hash| hash.is_some_and(|hash| !seen.insert(hash))).collect())
        .collect();
    *removed += repeated.iter().flatten().filter(|&&repeated| repeated).count() as u64;
    documents
        .into_par_iter()
        .zip(repeated)
        .filter_map(|(mut document, repeated)| {
            if !repeated.contains(&true) {
                return Some(document);
            }
            let mut text = String::with_capacity(document.text.len());
            for (piece, repeated) in document.text.split_inclusive(separator).zip(&repeated) {
                if !repeated {
                    text.push_str(piece);
                }
            }
            document.replace_text(text);
            (!document.text.trim().is_empty()).then_some(document)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{documents, read, threads, write};
    use proptest::prelude::*;

    fn run(texts: &[&str], by: &DedupBy) -> (Vec<String>, DedupReport) {
        let (input, output) = (write(&documents(texts)), tempfile::tempdir().unwrap());
        let report = dedup(input.path(), output.path(), by, &()).unwrap();
        (read(output.path()).into_iter().map(|document| document.text).collect(), report)
    }

    #[test]
    fn first_document_stays() {
        let (texts, report) = run(&["a", "b", "a", "a ", "b"], &DedupBy::Document);
        assert_eq!(texts, ["a", "b", "a "]);
        assert_eq!(report.removed(), Totals { documents: 2, bytes: 2 });
    }

    #[test]
    fn first_paragraph_stays_and_empty_documents_go() {
        let (texts, report) = run(&["x\n\ny\nx", "x\ny", "x\n}\n}\nz"], &DedupBy::paragraph());
        assert_eq!(texts, ["x\n\ny\n", "}\nz"]);
        assert_eq!((report.removed_paragraphs, report.removed().documents), (5, 1));
        let by = DedupBy::Paragraph { separator: "\n\n".into(), min_bytes: 3 };
        assert_eq!(run(&["long one\n\nab\n\nlong one", "ab\n\nlong one\n\ntail"], &by).0, ["long one\n\nab\n\n", "ab\n\ntail"]);
    }

    #[test]
    fn changed_documents_lose_their_attributes() {
        let mut documents = documents(&["same\nsame"]);
        documents[0].attributes.insert("a__a__a".into(), vec![]);
        let (input, output) = (write(&documents), tempfile::tempdir().unwrap());
        dedup(input.path(), output.path(), &DedupBy::paragraph(), &()).unwrap();
        assert!(read(output.path())[0].attributes.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_same_for_any_number_of_threads(texts in proptest::collection::vec("[ab\\n]{0,6}", 0..60)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            for by in [DedupBy::Document, DedupBy::paragraph()] {
                let one = threads(1, || run(&texts, &by));
                prop_assert_eq!(&one, &threads(4, || run(&texts, &by)));
                let mut lines: Vec<&str> = match by {
                    DedupBy::Document => one.0.iter().map(String::as_str).collect(),
                    DedupBy::Paragraph { .. } => one.0.iter().flat_map(|text| text.split('\n')).filter(|line| !line.trim().is_empty()).collect(),
                };
                let n = lines.len();
                lines.sort_unstable();
                lines.dedup();
                prop_assert_eq!(lines.len(), n);
            }
        }
    }
}
