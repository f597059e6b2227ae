//! Scores of given token ids: the logits of every position and the log-probability of every next token, in bounded memory.
//!
//! Knows no file: rows of logits go to a sink as they are computed.

use std::ops::ControlFlow;

use crate::batch::{Batch, Tokens};
use crate::model::Model;
use crate::model::parameters::host;

/// Tokens whose hidden states are computed together, unless one row is longer.
const TOKENS_AT_ONCE: usize = 1 << 14;
/// Logits held at once.
const LOGITS_AT_ONCE: usize = 1 << 25;

/// An id that the model has no embedding for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}, position {position}: id {id} is outside the model's vocabulary of {vocab_size}")]
pub struct IdError {
    /// Row, from 0.
    pub row: usize,
    /// Position in the row, from 0.
    pub position: usize,
    /// What was found.
    pub id: i64,
    /// Ids there are.
    pub vocab_size: usize,
}

/// Rows of `length` ids as a model takes them.
///
/// # Errors
/// The first id that is not in the vocabulary.
///
/// # Panics
/// When the ids are not whole rows.
pub fn tokens(ids: &[i64], length: usize, vocab_size: usize) -> Result<Tokens, IdError> {
    let check = |(index, id): (usize, &i64)| match u32::try_from(*id) {
        Ok(small) if (small as usize) < vocab_size => Ok(small),
        _ => Err(IdError { row: index / length, position: index % length, id: *id, vocab_size }),
    };
    Ok(Tokens::new(ids.iter().enumerate().map(check).collect::<Result<_, _>>()?, length))
}

/// Log-probabilities of every row's tokens after its first: `[n_sequences, length - 1]`, row after row, in nats.
///
/// With a sink, the logits go to it piece by piece, last axis fastest, as `[n_sequences, length, V]` in all; when it breaks,
/// the rest is not computed.
pub fn score(model: &Model, tokens: &Tokens, mut sink: Option<&mut dyn FnMut(&[f32]) -> ControlFlow<()>>) -> Vec<f32> {
    let (length, vocab_size) = (tokens.length, model.config().vocab_size);
    let mut scores = Vec::with_capacity(tokens.n_sequences * (length - 1));
    for piece in Batch::next_token(tokens.clone()).micro_batches((TOKENS_AT_ONCE / length).max(1)) {
        let Some(sink) = sink.as_deref_mut() else {
            let all = host(model.token_log_probs(&piece));
            scores.extend(all.chunks_exact(length).flat_map(|row| &row[..length - 1]));
            continue;
        };
        let hidden = model.hidden(&piece.tokens);
        let n = piece.tokens.len();
        for start in (0..n).step_by((LOGITS_AT_ONCE / vocab_size).max(1)) {
            let rows = (LOGITS_AT_ONCE / vocab_size).max(1).min(n - start);
            let logits = host(model.head(hidden.clone().narrow(0, start, rows)));
            for (position, logits) in (start..).zip(logits.chunks_exact(vocab_size)) {
                if position % length + 1 < length {
                    scores.push(log_probability(logits, piece.targets[position] as usize));
                }
            }
            if sink(&logits).is_break() {
                return scores;
            }
        }
    }
    scores
}

/// `logits[target] - ln(sum(exp(logits)))`.
fn log_probability(logits: &[f32], target: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
    (f64::from(logits[target] - largest) - sum.ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::device;

    #[test]
    fn with_and_without_logits_the_scores_agree() {
        let model = Model::init(&ModelConfig::olmo2("pico").unwrap(), 3, &device::cpu()).unwrap();
        let ids: Vec<i64> = (0..60).map(|i| i * 37 % 512).collect();
        let tokens = tokens(&ids, 20, 512).unwrap();
        let mut logits = Vec::new();
        let scores = score(
            &model,
            &tokens,
            Some(&mut |piece: &[f32]| {
                logits.extend_from_slice(piece);
                ControlFlow::Continue(())
            }),
        );
        assert_eq!((scores.len(), logits.len()), (3 * 19, 60 * 512));
        assert_eq!(logits, host(model.logits(&tokens)));
        for (a, b) in scores.iter().zip(score(&model, &tokens, None)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_placed() {
        let error = tokens(&[1, 2, 3, 4, 9, 5], 3, 9).unwrap_err();
        assert_eq!((error.row, error.position, error.id), (1, 1, 9));
        assert!(tokens(&[0, -1], 2, 9).unwrap_err().to_string().contains("row 0, position 1: id -1"));
    }
}
