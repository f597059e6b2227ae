//! Terms of one or several words, each with a label, found in running text in lower case. Also: documents by category of terms.
//! Knows words, not what labels mean.

use super::records::Record;
use super::table::{Plot, Table};
use super::tally::Tally;
use super::words::for_each_folded;
use crate::error::DataError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// A list of terms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lexicon {
    /// Term and label.
    pub(crate) terms: Vec<(String, String)>,
    /// The rest of a term's words and its number, by its first word.
    starts: HashMap<String, Vec<(Vec<String>, usize)>>,
}

/// The words of a text that terms are compared with.
pub(crate) fn folded(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for_each_folded(text, &mut String::new(), |word| words.push(word.to_owned()));
    words
}

impl Lexicon {
    pub(crate) fn new(terms: impl IntoIterator<Item = (String, String)>) -> Lexicon {
        let mut lexicon = Lexicon::default();
        for (term, label) in terms {
            if let Some((first, rest)) = folded(&term).split_first() {
                lexicon.starts.entry(first.clone()).or_default().push((rest.to_vec(), lexicon.terms.len()));
                lexicon.terms.push((term, label));
            }
        }
        lexicon
    }

    /// Reads lines `term,label`. Blank lines and those that begin with `#` are skipped; the last comma divides.
    pub(crate) fn read(path: &Path) -> Result<Lexicon, DataError> {
        let text = fs_err::read_to_string(path)?;
        let mut terms = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (term, label) = line
                .rsplit_once(',')
                .filter(|(term, label)| !folded(term).is_empty() && !label.trim().is_empty())
                .ok_or_else(|| {
                    let message = "there is no term with a label; write `term,label`".to_owned();
                    DataError::Line { path: path.to_path_buf(), line: index as u64 + 1, message }
                })?;
            terms.push((term.trim().to_owned(), label.trim().to_owned()));
        }
        if terms.is_empty() {
            return Err(DataError::format(path, "it has no term; write `term,label` lines"));
        }
        Ok(Lexicon::new(terms))
    }

    /// The numbers of the terms in a text, once for each occurrence.
    pub(crate) fn find(&self, words: &[String]) -> Vec<usize> {
        let mut found = Vec::new();
        for (at, word) in words.iter().enumerate() {
            for (rest, term) in self.starts.get(word).into_iter().flatten() {
                if words[at + 1..].starts_with(rest) {
                    found.push(*term);
                }
            }
        }
        found
    }
}

/// The part of `toxicity` that is by lexicon.
pub(crate) struct Terms {
    lexicon: Arc<Lexicon>,
    documents: u64,
    any: u64,
    by_label: BTreeMap<String, u64>,
    by_term: BTreeMap<usize, u64>,
}

impl Terms {
    pub(crate) fn new(lexicon: Arc<Lexicon>) -> Terms {
        Terms { lexicon, documents: 0, any: 0, by_label: BTreeMap::new(), by_term: BTreeMap::new() }
    }
}

impl Tally for Terms {
    fn fresh(&self) -> Self {
        Terms::new(self.lexicon.clone())
    }

    fn add(&mut self, record: &Record<'_>, _: u64) {
        self.documents += 1;
        let found: BTreeSet<usize> = self.lexicon.find(&folded(&record.document.text)).into_iter().collect();
        let labels: BTreeSet<&str> = found.iter().map(|&term| self.lexicon.terms[term].1.as_str()).collect();
        self.any += u64::from(!found.is_empty());
        for label in labels {
            *self.by_label.entry(label.to_owned()).or_default() += 1;
        }
        for term in found {
            *self.by_term.entry(term).or_default() += 1;
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        self.documents += later.documents;
        self.any += later.any;
        for (label, count) in later.by_label {
            *self.by_label.entry(label).or_default() += count;
        }
        for (term, count) in later.by_term {
            *self.by_term.entry(term).or_default() += count;
        }
        Ok(())
    }

    fn tables(self, rows: usize) -> Result<Vec<Table>, DataError> {
        let documents = self.documents.max(1) as f64;
        let row = |name: &str, count: u64| vec![name.into(), count.into(), (count as f64 / documents).into()];
        let labels = self.by_label.iter().map(|(label, &count)| row(label, count)).chain([row("(any)", self.any)]);
        let mut terms: Vec<(usize, u64)> = self.by_term.into_iter().collect();
        terms.sort_by_key(|&(term, count)| (std::cmp::Reverse(count), term));
        terms.truncate(rows);
        let lexicon = self.lexicon;
        Ok(vec![
            Table::new("toxicity_lexicon", "Documents with terms of the lexicon", &["category", "count", "share"])
                .note("Documents with at least one term of a category, in any case and at word boundaries.")
                .plot(Plot::Bars { label: 0, value: 1 })
                .rows(labels),
            Table::new("toxicity_terms", "Terms of the lexicon", &["term", "category", "count"])
                .note("Documents with the term.")
                .plot(Plot::Bars { label: 0, value: 2 })
                .rows(terms.into_iter().map(|(term, count)| {
                    let (term, label) = &lexicon.terms[term];
                    vec![term.as_str().into(), label.as_str().into(), count.into()]
                })),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_several_words() {
        let lexicon = Lexicon::new([("Bad word".to_owned(), "x".to_owned()), ("bad".to_owned(), "y".to_owned())]);
        assert_eq!(lexicon.find(&folded("A BAD, word. badly bad")), [0, 1, 1]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.csv");
        std::fs::write(&path, "# list\na, b,label\n").unwrap();
        assert_eq!(Lexicon::read(&path).unwrap().terms, [("a, b".to_owned(), "label".to_owned())]);
        std::fs::write(&path, "no label\n").unwrap();
        assert!(Lexicon::read(&path).unwrap_err().to_string().contains("l.csv:1: there is no term"));
    }
}
