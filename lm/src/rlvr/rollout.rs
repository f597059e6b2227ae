//! Rollouts: groups of sampled answers with their rewards and advantages.
//!
//! Decides which answers the learner sees; does not touch the model's parameters.

use data::problem::Problem;
use rayon::prelude::*;

use super::objective::Advantage;
use super::{RlvrConfig, RlvrError, ZeroVariance};
use crate::chat::Chat;
use crate::generate::{Sample, generate};
use crate::model::Model;
use crate::random::Stream;
use crate::reward::Reward;

/// The answers to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// Name of the verifier that judged.
    pub(super) verifier: String,
    /// Ids of the prompt, BOS included.
    pub(super) prompt: Vec<u32>,
    /// The answers.
    pub(super) samples: Vec<Sample>,
    /// The verifier's scores in `[0, 1]`.
    pub(super) scores: Vec<f64>,
    /// `score * verification_reward`, or the reward of an answer that did not stop.
    pub(super) rewards: Vec<f64>,
    /// Advantages by the configured rule.
    pub(super) advantages: Vec<f64>,
}

impl Group {
    /// Whether all rewards are equal, so that no answer is better than another.
    pub(super) fn is_flat(&self) -> bool {
        self.rewards.iter().all(|reward| *reward == self.rewards[0])
    }

    /// The mean score.
    pub(super) fn solve_rate(&self) -> f64 {
        self.scores.iter().sum::<f64>() / self.scores.len() as f64
    }
}

/// Samples and judges one group per problem. `draw` names the random numbers of this call.
pub(super) fn roll_out(
    model: &Model,
    chat: &Chat,
    problems: &[&Problem],
    reward: &dyn Reward,
    config: &RlvrConfig,
    draw: Draw,
) -> Result<Vec<Group>, RlvrError> {
    let prompts = problems.iter().map(|p| chat.prompt(&p.messages)).collect::<Result<Vec<_>, _>>()?;
    let seed = draw.seed(config.seed);
    let samples = generate(model, &prompts, config.samples_per_prompt, &config.sampling, chat.eos(), seed);
    problems
        .par_iter()
        .zip(prompts)
        .zip(samples)
        .map(|((problem, prompt), samples)| {
            let mut scores = Vec::with_capacity(samples.len());
            let mut rewards = Vec::with_capacity(samples.len());
            for sample in &samples {
                let text = chat.decode(sample.text_ids())?;
                let score = reward.score(problem, &text);
                let score = score.map_err(|source| RlvrError::Reward { id: problem.id.clone(), source })?;
                scores.push(score);
                rewards.push(match config.non_stop_reward {
                    Some(fixed) if !sample.stopped => fixed,
                    _ => score * config.verification_reward,
                });
            }
            let advantages = advantages(config.objective.advantage, &rewards);
            Ok(Group { verifier: problem.dataset.clone(), prompt, samples, scores, rewards, advantages })
        })
        .collect()
}

fn advantages(rule: Advantage, rewards: &[f64]) -> Vec<f64> {
    rule.of(rewards)
}

/// Which rollout of a run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    /// The step, from 1.
    pub(super) step: u64,
    /// How often this step has sampled before.
    pub(super) round: usize,
}

impl Draw {
    fn seed(self, seed: u64) -> u64 {
        let words = Stream::new(seed, "rollout").words(u128::from(self.step) << 64 | self.round as u128);
        u64::from(words[0]) << 32 | u64::from(words[1])
    }
}

/// The groups the learner gets.
pub(super) fn keep(groups: Vec<Group>, rule: ZeroVariance) -> Vec<Group> {
    match rule {
        ZeroVariance::Keep => groups,
        ZeroVariance::Drop => groups.into_iter().filter(|group| !group.is_flat()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(rewards: &[f64]) -> Group {
        Group {
            verifier: "number".into(),
            prompt: vec![0, 5],
            samples: rewards.iter().map(|_| Sample::default()).collect(),
            scores: rewards.iter().map(|r| r / 10.0).collect(),
            rewards: rewards.to_vec(),
            advantages: Advantage::Centred.of(rewards),
        }
    }

    #[test]
    fn flat_groups_are_dropped() {
        let groups = vec![group(&[0.0, 0.0]), group(&[10.0, 0.0]), group(&[10.0, 10.0])];
        let kept = keep(groups.clone(), ZeroVariance::Drop);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].solve_rate(), 0.5);
        assert_eq!(keep(groups, ZeroVariance::Keep).len(), 3);
    }

    #[test]
    fn every_step_and_round_draws_other_numbers() {
        let seed = |step, round| Draw { step, round }.seed(1);
        assert_ne!(seed(1, 0), seed(2, 0));
        assert_ne!(seed(1, 0), seed(1, 1));
        assert_eq!(seed(3, 2), seed(3, 2));
    }
}
