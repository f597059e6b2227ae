//! What taggers say of a corpus: languages, and how scores of quality or toxicity are distributed.
//! Knows attributes of one document at a time; makes none but a guess of the language where there is none.

use super::records::Record;
use super::table::{Cell, Plot, Table};
use super::tally::{Names, Tally};
use crate::document::{Document, Span};
use crate::error::DataError;
use crate::tagger::{Compat, Tagger, tag_document, taggers};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `language`: the best language of each document, by a tagger whose attributes it carries or that is run here.
pub(crate) struct Languages {
    tagger: Arc<Vec<Box<dyn Tagger>>>,
    prefix: Arc<str>,
    found: Names,
}

impl Languages {
    /// Fails when there is no such tagger.
    pub(crate) fn new(tagger: &str) -> Result<Languages, DataError> {
        let found = taggers(&[tagger])?;
        let name = found.first().map(|tagger| tagger.name().to_owned()).unwrap_or_default();
        Ok(Languages { prefix: format!("{name}__{name}__").into(), tagger: Arc::new(found), found: Names::default() })
    }

    /// The type with the highest score of the whole document; `un` when none is above one half.
    fn best(&self, document: &Document) -> Option<String> {
        let of = |(key, spans): (&String, &Vec<Span>)| Some((key.strip_prefix(&*self.prefix)?.to_owned(), spans.first()?.score));
        let mut scores: Vec<(String, f64)> = document.attributes.iter().filter_map(of).collect();
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let (language, score) = scores.into_iter().next()?;
        Some(if score > 0.5 { language } else { "un".to_owned() })
    }
}

impl Tally for Languages {
    fn fresh(&self) -> Self {
        Languages { tagger: self.tagger.clone(), prefix: self.prefix.clone(), found: Names::default() }
    }

    fn add(&mut self, record: &Record<'_>, words: u64) {
        let language = self.best(record.document).unwrap_or_else(|| {
            let mut copy = Document::new("", record.document.text.as_str(), "");
            tag_document(&mut copy, &self.tagger, Compat::None);
            self.best(&copy).unwrap_or_else(|| "un".to_owned())
        });
        self.found.add(&language, words);
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        self.found.merge(later.found);
        Ok(())
    }

    fn tables(self, rows: usize) -> Result<Vec<Table>, DataError> {
        let found = self.found.by_documents(rows).into_iter();
        let note = format!(
            "By `{}`; `un` where no language has more than half of the weight.",
            self.prefix.split("__").next().unwrap_or_default()
        );
        Ok(vec![
            Table::new("language", "Languages", &["language", "count", "tokens"])
                .note(note)
                .plot(Plot::Bars { label: 0, value: 1 })
                .rows(found.map(|(language, documents, words)| vec![language.into(), documents.into(), words.into()])),
        ])
    }
}

/// A distribution of scores, each rounded to three significant digits, so that what is held does not grow with the corpus.
#[derive(Default)]
struct Distribution(BTreeMap<i64, u64>);

/// A number that sorts as the score does: rounded to three digits, in units of the last.
fn rounded(score: f64) -> i64 {
    if score == 0.0 || !score.is_finite() {
        return 0;
    }
    let exponent = score.abs().log10().floor().clamp(-15.0, 15.0) as i64;
    let digits = (score.abs() / 10f64.powi(exponent as i32) * 100.0).round().clamp(100.0, 999.0) as i64;
    ((exponent + 16) * 1000 + digits) * score.signum() as i64
}

fn value(key: i64) -> f64 {
    let (exponent, digits) = (key.abs() / 1000 - 16, key.abs() % 1000);
    if key == 0 { 0.0 } else { key.signum() as f64 * digits as f64 / 100.0 * 10f64.powi(exponent as i32) }
}

impl Distribution {
    fn quantile(&self, share: f64) -> f64 {
        let total: u64 = self.0.values().sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.0.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        at.map_or(0.0, |(key, _)| value(*key))
    }
}

/// `quality`: scores of whole documents by attribute.
pub(crate) struct Scores {
    wanted: Arc<Vec<String>>,
    found: BTreeMap<String, Distribution>,
}

impl Scores {
    /// Attributes that contain one of `wanted`; all of them when there is none.
    pub(crate) fn new(wanted: &[String]) -> Scores {
        Scores { wanted: Arc::new(wanted.to_vec()), found: BTreeMap::new() }
    }
}

impl Tally for Scores {
    fn fresh(&self) -> Self {
        Scores { wanted: self.wanted.clone(), found: BTreeMap::new() }
    }

    fn add(&mut self, record: &Record<'_>, _: u64) {
        for (key, spans) in &record.document.attributes {
            let [Span { start: 0, score, .. }] = spans.as_slice() else { continue };
            if self.wanted.is_empty() || self.wanted.iter().any(|wanted| key.contains(wanted)) {
                *self.found.entry(key.clone()).or_default().0.entry(rounded(*score)).or_default() += 1;
            }
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        for (key, distribution) in later.found {
            let mine = self.found.entry(key).or_default();
            for (score, count) in distribution.0 {
                *mine.0.entry(score).or_default() += count;
            }
        }
        Ok(())
    }

    fn tables(self, _: usize) -> Result<Vec<Table>, DataError> {
        let shares = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];
        let rows = self.found.iter().map(|(key, distribution)| {
            let quantiles = shares.iter().map(|&share| Cell::Number(distribution.quantile(share)));
            [key.as_str().into(), distribution.0.values().sum::<u64>().into()].into_iter().chain(quantiles).collect()
        });
        let columns = ["attribute", "count", "min", "p5", "p25", "median", "p75", "p95", "max"];
        Ok(vec![
            Table::new("quality", "Scores of documents", &columns)
                .note("Attributes with one score for the whole document, quantiles to three digits. Tag the documents first: without attributes there are no rows.")
                .plot(Plot::Bars { label: 0, value: 5 })
                .rows(rows),
        ])
    }
}

/// The part of `toxicity` that is by classifier: documents with a span of at least the threshold.
pub(crate) struct Classified {
    attributes: Arc<Vec<String>>,
    threshold: f64,
    documents: u64,
    found: BTreeMap<String, (u64, u64)>,
}

impl Classified {
    pub(crate) fn new(attributes: &[String], threshold: f64) -> Classified {
        Classified { attributes: Arc::new(attributes.to_vec()), threshold, documents: 0, found: BTreeMap::new() }
    }
}

impl Tally for Classified {
    fn fresh(&self) -> Self {
        Classified { attributes: self.attributes.clone(), threshold: self.threshold, documents: 0, found: BTreeMap::new() }
    }

    fn add(&mut self, record: &Record<'_>, _: u64) {
        self.documents += 1;
        for attribute in self.attributes.iter() {
            let spans = record.document.attributes.iter().filter(|(key, _)| key.contains(attribute)).flat_map(|(_, spans)| spans);
            let (mut has, mut toxic) = (false, false);
            for span in spans {
                has = true;
                toxic |= span.score >= self.threshold;
            }
            let entry = self.found.entry(attribute.clone()).or_default();
            *entry = (entry.0 + u64::from(has), entry.1 + u64::from(toxic));
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        self.documents += later.documents;
        for (attribute, (has, toxic)) in later.found {
            let entry = self.found.entry(attribute).or_default();
            *entry = (entry.0 + has, entry.1 + toxic);
        }
        Ok(())
    }

    fn tables(self, _: usize) -> Result<Vec<Table>, DataError> {
        let documents = self.documents;
        let rows = self.found.into_iter().map(|(attribute, (has, toxic))| {
            let share = toxic as f64 / documents.max(1) as f64;
            vec![attribute.into(), toxic.into(), has.into(), share.into()]
        });
        Ok(vec![
            Table::new("toxicity_classifier", "Toxic documents by classifier", &["attribute", "count", "scored", "share"])
                .note(format!("Documents with a span of score {} or more.", self.threshold))
                .plot(Plot::Bars { label: 0, value: 1 })
                .rows(rows),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_three_digits_and_their_order() {
        let scores = [-1234.0, -0.00567, 0.0, 0.000_123_4, 0.5, 1.0, 9.996, 123.4, 99_900.0];
        let keys: Vec<i64> = scores.iter().map(|&score| rounded(score)).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for (score, key) in scores.iter().zip(keys) {
            assert!((value(key) - score).abs() <= score.abs() * 0.005, "{score} {}", value(key));
        }
    }
}
