//! Log-probabilities of continuations, batched.
//!
//! Knows token ids only. Rows of similar length go through the model together, padded on the right, where causal
//! attention cannot see; the result does not depend on which rows share a batch beyond float rounding.

use rayon::prelude::*;

use crate::batch::{Batch, IGNORED, Tokens};
use crate::head::Counted;
use crate::model::Model;
use crate::model::parameters::host;

/// Tokens per forward pass, padding included.
const BATCH_TOKENS: usize = 4096;
/// Rows of logits held at once.
const LOGIT_ROWS: usize = 512;

/// A continuation to score after a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    ids: Vec<u32>,
    n_scored: usize,
}

impl Request {
    /// `continuation` after `context`; the context is cut from the left so that both fit into `max_length` positions
    /// (the last token is predicted, never read), and at least one token stays to predict from.
    pub(super) fn new(context: &[u32], continuation: &[u32], max_length: usize) -> Request {
        let mut ids = context.to_vec();
        ids.extend_from_slice(continuation);
        let excess = ids.len().saturating_sub(max_length + 1);
        ids.drain(..excess);
        let n_scored = continuation.len().min(ids.len().saturating_sub(1));
        Request { ids, n_scored }
    }
}

/// What the model says about one continuation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    pub(super) sum_logprob: f64,
    pub(super) n_tokens: usize,
    pub(super) is_greedy: bool,
}

/// Scores every request, in order.
pub(super) fn score_requests(model: &Model, requests: &[Request]) -> Vec<Score> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (requests[i].ids.len(), i));
    let mut scores = vec![Score { sum_logprob: 0.0, n_tokens: 0, is_greedy: true }; requests.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && (end + 1 - start) * requests[order[end]].ids.len() <= BATCH_TOKENS {
            end += 1;
        }
        let members = &order[start..end];
        let rows: Vec<&Request> = members.iter().map(|&i| &requests[i]).collect();
        for (&i, score) in members.iter().zip(score_rows(model, &rows)) {
            scores[i] = score;
        }
        start = end;
    }
    scores
}

fn score_rows(model: &Model, rows: &[&Request]) -> Vec<Score> {
    let length = rows.iter().map(|row| row.ids.len() - 1).max().unwrap_or(0);
    if length == 0 {
        return rows.iter().map(|_| Score { sum_logprob: 0.0, n_tokens: 0, is_greedy: true }).collect();
    }
    let mut ids = Vec::with_capacity(rows.len() * length);
    let mut targets = Vec::with_capacity(rows.len() * length);
    for row in rows {
        let n_read = row.ids.len() - 1;
        ids.extend_from_slice(&row.ids[..n_read]);
        ids.resize(ids.len() + length - n_read, 0);
        let first_scored = n_read - row.n_scored;
        targets.extend(std::iter::repeat_n(IGNORED, first_scored));
        targets.extend_from_slice(&row.ids[first_scored + 1..]);
        targets.resize(ids.len(), IGNORED);
    }
    let scored = score_targets(model, &Batch::new(Tokens::new(ids, length), targets));
    let mut scored = scored.into_iter();
    rows.iter()
        .map(|row| {
            let mut total = Score { sum_logprob: 0.0, n_tokens: row.n_scored, is_greedy: true };
            for token in scored.by_ref().take(row.n_scored) {
                total.sum_logprob += token.logprob;
                total.is_greedy &= token.is_greedy;
            }
            total
        })
        .collect()
}

/// One scored token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TokenScore {
    /// Natural logarithm of its probability.
    pub(super) logprob: f64,
    /// Whether it has the highest probability (the lowest id on ties).
    pub(super) is_greedy: bool,
}

/// The score of every target of a batch that is not ignored, in order.
pub(super) fn score_targets(model: &Model, batch: &Batch) -> Vec<TokenScore> {
    let Some(counted) = Counted::of(model, batch) else { return Vec::new() };
    let targets = counted.targets();
    let mut scores = Vec::with_capacity(targets.len());
    for first in (0..targets.len()).step_by(LOGIT_ROWS) {
        let range = first..targets.len().min(first + LOGIT_ROWS);
        let targets = &targets[range.clone()];
        let logits = host(counted.logits(model, range));
        let rows = logits.par_chunks(logits.len() / targets.len()).zip(targets);
        scores.extend(rows.map(|(row, &target)| score_row(row, target as usize)).collect::<Vec<_>>());
    }
    scores
}

fn score_row(logits: &[f32], target: usize) -> TokenScore {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    let max = f64::from(logits[best]);
    let total: f64 = logits.iter().map(|logit| (f64::from(*logit) - max).exp()).sum();
    TokenScore { logprob: f64::from(logits[target]) - max - total.ln(), is_greedy: best == target }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_cut_from_the_left() {
        let request = Request::new(&[1, 2, 3], &[4, 5], 3);
        assert_eq!(request, Request { ids: vec![2, 3, 4, 5], n_scored: 2 });
        let long = Request::new(&[1], &[4, 5, 6], 1);
        assert_eq!(long, Request { ids: vec![5, 6], n_scored: 1 });
    }

    #[test]
    fn a_row_of_logits_is_a_log_softmax() {
        let token = score_row(&[0.0, 1.0, 0.0], 1);
        assert!(token.is_greedy);
        assert!((token.logprob - (1.0_f64.exp() / (2.0 + 1.0_f64.exp())).ln()).abs() < 1e-6);
        assert!(!score_row(&[1.0, 1.0], 1).is_greedy);
    }
}
