//! Held-out bits per byte by source.
//!
//! Documents are scored one by one, so nothing leaks from one into the next: BOS, then the document's tokens in windows
//! of `window` positions that move by `stride`. Each window predicts the tokens no earlier window has predicted; with
//! `stride == window` the predictions are disjoint and see at least one token of context (lm-evaluation-harness'
//! `loglikelihood_rolling`), a smaller stride gives each later token at least `window - stride` tokens of context.
//! The value of a source is `-sum(log p) / (ln 2 * sum(bytes))`, the sum over all its documents, so it does not depend on
//! the tokenizer's idea of a token. EOS is not predicted: it has no bytes.

use std::collections::BTreeMap;

use data::DataError;
use data::shard::TokenFiles;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Estimate;
use super::scoring::{Request, score_requests};
use crate::chat::{Chat, ChatError};
use crate::model::Model;

/// A held-out document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredDocument {
    /// Unique within its source.
    pub id: String,
    /// Where it comes from.
    pub source: String,
    /// Its tokens, without BOS and EOS.
    pub ids: Vec<u32>,
    /// Length of its text in UTF-8 bytes.
    pub n_bytes: usize,
}

/// Held-out documents cannot be read from token files.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// The token files cannot be read.
    #[error(transparent)]
    Tokens(#[from] DataError),
    /// The tokenizer cannot turn the ids back into text.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

/// The first documents of every source of a tokens artifact, until a source has given `max_tokens` (all of them for
/// `None`). Bytes are counted on the decoded text.
///
/// # Errors
/// If the files cannot be read or the ids are not the tokenizer's.
pub fn documents(tokens: &TokenFiles, chat: &Chat, max_tokens: Option<u64>) -> Result<Vec<ScoredDocument>, DocumentsError> {
    let mut out = Vec::new();
    for source in &tokens.meta().sources {
        let name = &source.source;
        let mut taken = 0;
        for (number, place) in tokens.source(name).map_or(Ok(Vec::new()), |range| tokens.documents(range))?.iter().enumerate() {
            if max_tokens.is_some_and(|max| taken >= max) {
                break;
            }
            taken += place.end - place.start;
            // The last id of a document is EOS.
            let ids = tokens.tokens(place.start..place.end - 1)?;
            out.push(ScoredDocument { id: format!("{name}:{number}"), source: name.clone(), ids, n_bytes: 0 });
        }
    }
    out.par_iter_mut().try_for_each(|document| {
        document.n_bytes = chat.decode(&document.ids)?.len();
        Ok::<(), ChatError>(())
    })?;
    Ok(out)
}

/// The windows documents are read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// Positions the model sees at once.
    pub window: usize,
    /// How far the window moves; at most `window`.
    pub stride: usize,
}

/// One document as scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerplexityRecord {
    /// The document's id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Sum of the log-probabilities of its tokens (natural logarithm).
    pub sum_logprob: f64,
    /// Number of its tokens.
    pub n_tokens: usize,
    /// Number of its bytes.
    pub n_bytes: usize,
}

/// Scores documents; empty ones are skipped.
///
/// # Panics
/// If the stride is 0 or larger than the window.
pub fn score(model: &Model, documents: &[ScoredDocument], bos: u32, windows: Windows) -> Vec<PerplexityRecord> {
    let mut requests = Vec::new();
    let mut owners = Vec::new();
    let documents: Vec<&ScoredDocument> = documents.iter().filter(|document| !document.ids.is_empty()).collect();
    for (owner, document) in documents.iter().enumerate() {
        let mut ids = vec![bos];
        ids.extend_from_slice(&document.ids);
        for (context, predicted) in spans(ids.len(), windows) {
            requests.push(Request::new(&ids[context..predicted.start], &ids[predicted], windows.window));
            owners.push(owner);
        }
    }
    let mut records: Vec<PerplexityRecord> = documents
        .iter()
        .map(|document| PerplexityRecord {
            id: document.id.clone(),
            source: document.source.clone(),
            sum_logprob: 0.0,
            n_tokens: document.ids.len(),
            n_bytes: document.n_bytes,
        })
        .collect();
    for (owner, score) in owners.into_iter().zip(score_requests(model, &requests)) {
        records[owner].sum_logprob += score.sum_logprob;
    }
    records
}

/// For `n` tokens (BOS first): where each window's context starts, and which tokens it predicts.
fn spans(n: usize, windows: Windows) -> Vec<(usize, std::ops::Range<usize>)> {
    let Windows { window, stride } = windows;
    assert!(stride > 0 && stride <= window, "the stride must lie in 1..={window}, not {stride}");
    let mut out = Vec::new();
    let mut start = 1;
    while start < n {
        let end = if start == 1 { n.min(window + 1) } else { n.min(start + stride) };
        out.push((end.saturating_sub(window + 1), start..end));
        start = end;
    }
    out
}

/// `bits_per_byte` over everything, `bits_per_byte/SOURCE` for each source, and `ce_loss` (nats per token).
pub fn metrics(records: &[PerplexityRecord]) -> BTreeMap<String, Estimate> {
    let ratio = |records: &[&PerplexityRecord], scale: f64, length: fn(&PerplexityRecord) -> usize| {
        let losses: Vec<f64> = records.iter().map(|r| -r.sum_logprob * scale).collect();
        let lengths: Vec<f64> = records.iter().map(|r| length(r) as f64).collect();
        Estimate::ratio(&losses, &lengths)
    };
    let mut by_source: BTreeMap<&str, Vec<&PerplexityRecord>> = BTreeMap::new();
    for record in records {
        by_source.entry(&record.source).or_default().push(record);
    }
    let all: Vec<&PerplexityRecord> = records.iter().collect();
    let bits = std::f64::consts::LOG2_E;
    let mut out = BTreeMap::from([
        ("bits_per_byte".to_string(), ratio(&all, bits, |r| r.n_bytes)),
        ("ce_loss".to_string(), ratio(&all, 1.0, |r| r.n_tokens)),
    ]);
    for (source, records) in by_source {
        out.insert(format!("bits_per_byte/{source}"), ratio(&records, bits, |r| r.n_bytes));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_are_pinned() {
        assert_eq!(spans(4, Windows { window: 8, stride: 8 }), vec![(0, 1..4)]);
        assert_eq!(spans(8, Windows { window: 3, stride: 3 }), vec![(0, 1..4), (3, 4..7), (4, 7..8)]);
        assert_eq!(spans(8, Windows { window: 4, stride: 2 }), vec![(0, 1..5), (2, 5..7), (3, 7..8)]);
        assert_eq!(spans(1, Windows { window: 4, stride: 2 }), vec![]);
    }

    #[test]
    fn bits_per_byte_is_the_quotient_of_sums() {
        let record = |source: &str, nats: f64, n_bytes: usize| PerplexityRecord {
            id: String::new(),
            source: source.to_string(),
            sum_logprob: -nats,
            n_tokens: n_bytes / 2,
            n_bytes,
        };
        let ln2 = std::f64::consts::LN_2;
        let all = metrics(&[record("a", 10.0 * ln2, 10), record("a", 30.0 * ln2, 10), record("b", 8.0 * ln2, 4)]);
        assert!((all["bits_per_byte/a"].value - 2.0).abs() < 1e-12);
        assert!((all["bits_per_byte/b"].value - 2.0).abs() < 1e-12);
        assert!((all["bits_per_byte"].value - 2.0).abs() < 1e-12);
        assert!((all["ce_loss"].value - 4.0 * ln2).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn every_token_is_predicted_once_inside_its_window(n in 1..200_usize, window in 1..40_usize, back in 0..40_usize) {
            let windows = Windows { window, stride: window.saturating_sub(back).max(1) };
            let mut next = 1;
            for (context, predicted) in spans(n, windows) {
                prop_assert_eq!(predicted.start, next);
                prop_assert!(predicted.end > predicted.start && context < predicted.start);
                prop_assert!(predicted.end - 1 - context <= window);
                next = predicted.end;
            }
            prop_assert_eq!(next, n.max(1));
        }
    }
}
