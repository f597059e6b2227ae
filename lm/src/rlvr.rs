//! Reinforcement learning with verifiable rewards: sample answers, let a program judge them, make the better ones
//! likelier.
//!
//! The algorithm is the synchronous form of OlmoRL (Olmo 3): groups of answers per prompt, advantages centred inside the
//! group, groups without contrast dropped, clip-higher, token-level normalisation over the batch, truncated importance
//! sampling between sampler and learner, no KL penalty unless asked for. One process samples and learns in turn, so the
//! samples are never stale.
//!
//! A run goes on from its progress directory to the same bits: problems, samples and order are counter-based.

use std::path::Path;

use data::problem::Problem;
use serde::{Deserialize, Serialize};

use crate::chat::{Chat, ChatError};
use crate::evaluate::Estimate;
use crate::evaluate::answers::{AnswerError, answer};
use crate::generate::Sampling;
use crate::model::Model;
use crate::observe::Observer;
use crate::optim::AdamWConfig;
use crate::pretrain::Saving;
use crate::reward::{Reward, RewardError, check_problems};
use crate::schedule::{Schedule, Shape};
use crate::sft::rows::permutation;
use crate::sft::saved::SavedRun;
use crate::sft::{SavedError, Start};

mod learner;
pub mod objective;
mod rollout;
#[cfg(test)]
mod tests;

use learner::Measured;
use objective::Objective;
use rollout::Group;

/// What happens to groups whose answers all got the same reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroVariance {
    /// They are left out (their advantages are zero; keeping them only dilutes the others).
    #[default]
    Drop,
    /// They stay and count in the number of tokens the loss is divided by.
    Keep,
}

/// Everything that decides what a run does to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RlvrConfig {
    /// Number of steps; each samples and learns once.
    pub steps: u64,
    /// Prompts sampled per step (and per round, see `max_rounds`).
    pub prompts_per_step: usize,
    /// Answers per prompt, the group size.
    pub samples_per_prompt: usize,
    /// Active sampling: while fewer than `prompts_per_step` groups have contrast, sample further prompts, at most this
    /// many rounds per step. 1 turns it off.
    pub max_rounds: usize,
    /// How answers are sampled. The temperature also divides the learner's logits; it must be positive.
    pub sampling: Sampling,
    /// The objective's constants.
    pub objective: Objective,
    /// What a score of 1 is worth.
    pub verification_reward: f64,
    /// If set, the reward of every answer that did not end with EOS.
    pub non_stop_reward: Option<f64>,
    /// What happens to groups without contrast.
    pub zero_variance: ZeroVariance,
    /// Updates per step; the rows of a step are divided among them.
    pub minibatches: usize,
    /// The learning-rate curve over steps.
    pub schedule: Schedule,
    /// Constants of the optimiser.
    pub optimizer: AdamWConfig,
    /// Bound of the global gradient norm.
    pub max_grad_norm: Option<f64>,
    /// Positions per packed row; longer answers get longer rows.
    pub row_length: usize,
    /// Packed rows per forward and backward pass.
    pub micro_batch_rows: usize,
    /// Names all random choices.
    pub seed: u64,
}

impl Default for RlvrConfig {
    /// Settings that suit the `nano` model and the easy problem families; published runs use learning rates near 1e-6
    /// on models a thousand times larger.
    fn default() -> Self {
        RlvrConfig {
            steps: 100,
            prompts_per_step: 32,
            samples_per_prompt: 8,
            max_rounds: 1,
            sampling: Sampling { max_new_tokens: 16, ..Sampling::default() },
            objective: Objective::default(),
            verification_reward: 10.0,
            non_stop_reward: None,
            zero_variance: ZeroVariance::Drop,
            minibatches: 1,
            schedule: Schedule { peak: 3e-4, warmup: 20, total: 100, shape: Shape::Constant, rewarm: None },
            optimizer: AdamWConfig { weight_decay: 0.0, beta2: 0.99, ..AdamWConfig::default() },
            max_grad_norm: Some(1.0),
            row_length: 128,
            micro_batch_rows: 32,
            seed: 0,
        }
    }
}

impl RlvrConfig {
    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`RlvrError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), RlvrError> {
        self.sampling.validate().map_err(RlvrError::Config)?;
        let at_least_one = [
            ("prompts_per_step", self.prompts_per_step),
            ("minibatches", self.minibatches),
            ("max_rounds", self.max_rounds),
            ("micro_batch_rows", self.micro_batch_rows),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, n)| *n == 0) {
            return Err(RlvrError::Config(format!("{name} must be at least 1")));
        }
        if self.samples_per_prompt < 2 {
            let n = self.samples_per_prompt;
            return Err(RlvrError::Config(format!("samples_per_prompt = {n} must be at least 2, a group needs contrast")));
        }
        if self.sampling.temperature == 0.0 {
            return Err(RlvrError::Config("temperature must be positive, greedy answers are all equal".into()));
        }
        Ok(())
    }
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RlvrError {
    /// A setting is out of range.
    #[error("rlvr: {0}")]
    Config(String),
    /// There are no problems.
    #[error("rlvr needs at least one problem")]
    NoProblems,
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
    /// The held-out problems cannot be answered.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// The observer asked to stop; the progress directory holds the state.
    #[error("stopped at step {step} of {total}; running again goes on from there")]
    Stopped {
        /// Steps done.
        step: u64,
        /// Steps of the run.
        total: u64,
    },
    /// The gradient is no longer a number.
    #[error("the gradient norm is {norm} at step {step}; lower the learning rate")]
    Diverged {
        /// The step, from 1.
        step: u64,
        /// The norm.
        norm: f64,
    },
}

/// What a model is trained on.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The problems to sample answers for.
    pub problems: &'a [Problem],
    /// Judges the answers.
    pub reward: &'a dyn Reward,
    /// Held-out problems to watch, if any.
    pub watch: Option<Watch<'a>>,
}

/// Held-out problems answered greedily during a run, for the curve only: they do not influence it.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The problems.
    pub problems: &'a [Problem],
    /// Every how many steps; also before the first.
    pub every: u64,
}

/// What a run keeps beside its checkpoint.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Position {
    step: u64,
    /// Prompts drawn so far; epochs of the problems follow one another.
    prompts: u64,
    /// Answers sampled so far.
    samples: u64,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RlvrSummary {
    /// Steps.
    pub steps: u64,
    /// Prompts answered.
    pub prompts: u64,
    /// Answers sampled.
    pub samples: u64,
}

/// The problems in the order a run draws them: every epoch is a new permutation.
struct Prompts<'a> {
    problems: &'a [Problem],
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl<'a> Prompts<'a> {
    fn new(problems: &'a [Problem], seed: u64) -> Self {
        Prompts { problems, seed, epoch: 0, order: permutation(problems.len(), seed, 0) }
    }

    fn at(&mut self, position: u64) -> &'a Problem {
        let n = self.problems.len() as u64;
        let epoch = position / n;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.order = permutation(self.problems.len(), self.seed, epoch);
        }
        &self.problems[self.order[(position % n) as usize]]
    }
}

/// Trains `start` on problems and writes the resulting checkpoint, without optimiser state but with the tokenizer and its
/// chat template, into the existing directory `out`. With `saving`, an interrupted run called again goes on from its last
/// saved state and reaches the same bits; the saved states are removed when the result is written.
///
/// # Errors
/// See [`RlvrError`]; [`RlvrError::Stopped`] if the observer asks to stop.
pub fn rlvr(
    config: &RlvrConfig,
    start: Start<'_>,
    task: Task<'_>,
    out: &Path,
    saving: Option<Saving<'_>>,
    observer: &mut dyn Observer,
) -> Result<RlvrSummary, RlvrError> {
    config.validate()?;
    let Start { checkpoint, chat, device } = start;
    let Task { problems, reward, watch } = task;
    if problems.is_empty() {
        return Err(RlvrError::NoProblems);
    }
    check(reward, problems)?;
    let pad = checkpoint.config.filler();
    let reference = match config.objective.beta > 0.0 {
        true => Some(checkpoint.model(device).map_err(SavedError::from)?),
        false => None,
    };
    let (mut run, saved) =
        SavedRun::begin::<Position>(checkpoint, config.optimizer, config.max_grad_norm, device, saving, observer)?;
    let mut position = saved.unwrap_or_default();
    let mut prompts = Prompts::new(problems, config.seed);
    if position.step == 0 {
        report_watch(observer, 0, run.trainer.model(), chat, &task, config)?;
    }
    while position.step < config.steps {
        let step = position.step + 1;
        let (mut kept, mut groups) = (Vec::new(), Vec::new());
        for round in 0..config.max_rounds {
            let chosen: Vec<&Problem> = (0..config.prompts_per_step as u64).map(|i| prompts.at(position.prompts + i)).collect();
            position.prompts += chosen.len() as u64;
            let draw = rollout::Draw { step, round };
            let rolled = rollout::roll_out(run.trainer.model(), chat, &chosen, reward, config, draw)?;
            groups.extend(rolled.iter().cloned());
            kept.extend(rollout::keep(rolled, config.zero_variance));
            if kept.len() >= config.prompts_per_step {
                kept.truncate(config.prompts_per_step);
                break;
            }
        }
        let lr = config.schedule.at(step);
        let rows = learner::rows(&kept);
        let measured = learner::learn(&mut run.trainer, &rows, config, reference.as_ref(), lr, pad);
        position.step = step;
        position.samples += groups.iter().map(|group| group.samples.len() as u64).sum::<u64>();
        report_rollouts(observer, step, &groups);
        report_learning(observer, step, &measured, lr);
        if !measured.grad_norm.is_finite() {
            return Err(RlvrError::Diverged { step, norm: measured.grad_norm });
        }
        if watch.is_some_and(|watch| step.is_multiple_of(watch.every.max(1))) {
            report_watch(observer, step, run.trainer.model(), chat, &task, config)?;
        }
        observer.progress(step, config.steps);
        if step < config.steps && run.after_step(step, &position, observer)? {
            return Err(RlvrError::Stopped { step, total: config.steps });
        }
    }
    run.finish(chat, out)?;
    Ok(RlvrSummary { steps: position.step, prompts: position.prompts, samples: position.samples })
}

fn check(reward: &dyn Reward, problems: &[Problem]) -> Result<(), RlvrError> {
    for problem in problems {
        check_problems(reward, std::slice::from_ref(problem))
            .map_err(|source| RlvrError::Reward { id: problem.id.clone(), source })?;
    }
    Ok(())
}

fn report_watch(
    observer: &mut dyn Observer,
    step: u64,
    model: &Model,
    chat: &Chat,
    task: &Task<'_>,
    config: &RlvrConfig,
) -> Result<(), RlvrError> {
    let Some(watch) = task.watch else { return Ok(()) };
    let greedy = Sampling::greedy(config.sampling.max_new_tokens);
    let records = answer(model, chat, watch.problems, &greedy, task.reward, config.seed)?;
    let scores: Vec<f64> = records.iter().map(|record| record.score).collect();
    observer.metric(step, "eval/verifiable_correct_rate", Estimate::mean(&scores).value);
    Ok(())
}

/// What a step's rollouts looked like.
fn report_rollouts(observer: &mut dyn Observer, step: u64, groups: &[Group]) {
    let scores: Vec<f64> = groups.iter().flat_map(|group| group.scores.iter().copied()).collect();
    let mut metric = |name: &str, value: f64| observer.metric(step, name, value);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
    let right = |scores: &[f64]| share(scores.iter().filter(|score| **score >= 1.0).count(), scores.len());
    metric("objective/verifiable_correct_rate", right(&scores));
    metric("objective/verifiable_reward", mean(&groups.iter().flat_map(|g| g.rewards.clone()).collect::<Vec<_>>()));
    let mut verifiers: Vec<&str> = groups.iter().map(|group| group.verifier.as_str()).collect();
    verifiers.sort_unstable();
    verifiers.dedup();
    for verifier in verifiers {
        let of = groups.iter().filter(|group| group.verifier == verifier);
        let scores: Vec<f64> = of.clone().flat_map(|group| group.scores.iter().copied()).collect();
        let rewards: Vec<f64> = of.flat_map(|group| group.rewards.iter().copied()).collect();
        metric(&format!("objective/{verifier}_reward"), mean(&rewards));
        metric(&format!("objective/{verifier}_correct_rate"), right(&scores));
    }
    let flat = groups.iter().filter(|group| group.is_flat());
    let solved = flat.clone().filter(|group| group.solve_rate() >= 1.0).count();
    let unsolved = flat.clone().filter(|group| group.solve_rate() <= 0.0).count();
    metric("val/total_filtered", flat.clone().count() as f64);
    metric("val/filtered_solved", solved as f64);
    metric("val/filtered_zero", unsolved as f64);
    let lengths: Vec<f64> = groups.iter().flat_map(|g| g.samples.iter().map(|s| s.ids.len() as f64)).collect();
    metric("val/sequence_lengths", mean(&lengths));
    metric("val/sequence_lengths_min", lengths.iter().copied().fold(f64::INFINITY, f64::min));
    metric("val/sequence_lengths_max", lengths.iter().copied().fold(0.0, f64::max));
    let by_outcome = |wanted: bool| {
        let pairs = groups.iter().flat_map(|g| g.samples.iter().zip(&g.scores));
        mean(&pairs.filter(|(_, s)| (**s >= 1.0) == wanted).map(|(s, _)| s.ids.len() as f64).collect::<Vec<_>>())
    };
    metric("val/sequence_lengths_solved", by_outcome(true));
    metric("val/sequence_lengths_unsolved", by_outcome(false));
    let n_stopped = groups.iter().flat_map(|g| &g.samples).filter(|sample| sample.stopped).count();
    metric("val/stop_rate", share(n_stopped, lengths.len()));
}

fn report_learning(observer: &mut dyn Observer, step: u64, measured: &Measured, lr: f64) {
    let mut metric = |name: &str, value: f64| observer.metric(step, name, value);
    metric("optim/LR", lr);
    metric("val/distinct_answers", measured.n_rows as f64);
    let n = measured.n_tokens;
    if n == 0.0 {
        return;
    }
    let ratio = measured.ratio / n;
    metric("loss/policy_avg", measured.loss / n);
    metric("optim/total grad norm", measured.grad_norm);
    metric("val/ratio", ratio);
    metric("val/ratio_var", (measured.ratio_squared / n - ratio * ratio).max(0.0));
    metric("policy/clipfrac_avg", measured.clipped / n);
    metric("policy/entropy_avg", measured.surprise / n);
    metric("val/rho_weight", measured.weight / n);
    metric("val/rho_clipfrac", measured.weight_capped / n);
    metric("val/logprob_diff", measured.mismatch / n);
    metric("objective/kl3_avg", measured.kl / n);
    metric("val/response_tokens", n);
}
