//! Generation accuracy: the model answers problems, a verifier judges.
//!
//! Per instance it keeps prompt, response and score; the means come from the records.

use std::collections::BTreeMap;

use data::problem::Problem;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::chat::{Chat, ChatError};
use crate::generate::{Sampling, generate};
use crate::model::Model;
use crate::reward::{Reward, RewardError};

/// One problem as answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// The problem's id.
    pub id: String,
    /// The problem's family.
    pub family: String,
    /// The last user turn.
    pub prompt: String,
    /// The gold answer, if the problem has one.
    pub answer: String,
    /// What the model said.
    pub response: String,
    /// The verifier's score in `[0, 1]`.
    pub score: f64,
    /// Number of generated tokens, EOS included.
    pub n_tokens: usize,
    /// Whether the model ended its answer itself.
    pub stopped: bool,
}

/// Problems cannot be answered or judged.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A text cannot be encoded or decoded.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A problem cannot be judged.
    #[error("problem `{id}`: {source}")]
    Reward {
        /// The problem.
        id: String,
        /// Why not.
        source: RewardError,
    },
}

/// Has the model answer each problem once.
///
/// # Errors
/// If a text cannot be encoded or a problem cannot be judged.
pub fn answer(
    model: &Model,
    chat: &Chat,
    problems: &[Problem],
    sampling: &Sampling,
    reward: &dyn Reward,
    seed: u64,
) -> Result<Vec<AnswerRecord>, AnswerError> {
    let prompts = problems.iter().map(|p| chat.prompt(&p.messages)).collect::<Result<Vec<_>, _>>()?;
    let samples = generate(model, &prompts, 1, sampling, chat.eos(), seed);
    problems
        .par_iter()
        .zip(samples)
        .map(|(problem, mut samples)| {
            let sample = samples.swap_remove(0);
            let response = chat.decode(sample.text_ids())?;
            let score = reward.score(problem, &response);
            let score = score.map_err(|source| AnswerError::Reward { id: problem.id.clone(), source })?;
            Ok(AnswerRecord {
                id: problem.id.clone(),
                family: problem.family.clone(),
                prompt: problem.prompt().to_string(),
                answer: problem.answer.clone(),
                response,
                score,
                n_tokens: sample.ids.len(),
                stopped: sample.stopped,
            })
        })
        .collect()
}

/// Metrics by name: `accuracy` (mean score), `stopped` (share of answers the model ended), `n_tokens` (mean length).
pub fn metrics(records: &[AnswerRecord]) -> BTreeMap<String, Estimate> {
    let mean = |value: &dyn Fn(&AnswerRecord) -> f64| Estimate::mean(&records.iter().map(value).collect::<Vec<_>>());
    BTreeMap::from([
        ("accuracy".to_string(), mean(&|r| r.score)),
        ("stopped".to_string(), mean(&|r| f64::from(u8::from(r.stopped)))),
        ("n_tokens".to_string(), mean(&|r| r.n_tokens as f64)),
    ])
}

/// The mean score of each family.
pub fn accuracy_by_family(records: &[AnswerRecord]) -> BTreeMap<String, Estimate> {
    let mut scores: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for record in records {
        scores.entry(record.family.clone()).or_default().push(record.score);
    }
    scores.into_iter().map(|(family, scores)| (family, Estimate::mean(&scores))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_are_means_of_scores() {
        let record = |family: &str, score: f64| AnswerRecord {
            id: String::new(),
            family: family.to_string(),
            prompt: String::new(),
            answer: String::new(),
            response: String::new(),
            score,
            n_tokens: 3,
            stopped: score > 0.0,
        };
        let records = [record("a", 1.0), record("a", 0.0), record("b", 1.0)];
        assert!((metrics(&records)["accuracy"].value - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(metrics(&records)["n_tokens"].value, 3.0);
        let by_family = accuracy_by_family(&records);
        assert_eq!((by_family["a"].value, by_family["a"].n), (0.5, 2));
        assert_eq!(by_family["b"].stderr, None);
    }
}
