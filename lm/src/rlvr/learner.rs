//! One learning step: rollouts to rows, rows to gradients, gradients to an update.
//!
//! Equal answers to one prompt go through the model once: they have the same log-probabilities, so their weights are
//! added. The loss and its derivative come from `objective` on plain numbers; the model is differentiated through
//! `sum(derivative * logp)`, whose gradient is the objective's.

use burn::tensor::{Tensor, TensorData};

use super::RlvrConfig;
use super::objective::TokenLogProbs;
use super::rollout::Group;
use crate::head::Counted;
use crate::model::Model;
use crate::model::parameters::host;
use crate::optim::Trainer;
use crate::sft::rows::{Packed, pack};

/// One distinct answer to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    ids: Vec<u32>,
    trained: Vec<bool>,
    n_prompt: usize,
    /// Per sample with this answer: its advantage and the sampler's log-probabilities.
    members: Vec<(f64, Vec<f64>)>,
}

impl Row {
    fn n_response(&self) -> usize {
        self.ids.len() - self.n_prompt
    }
}

/// The distinct answers of each group.
pub(super) fn rows(groups: &[Group]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for group in groups {
        let first = rows.len();
        for (sample, &advantage) in group.samples.iter().zip(&group.advantages) {
            let member = (advantage, sample.logprobs.clone());
            let n_prompt = group.prompt.len();
            match rows[first..].iter_mut().find(|row| row.ids[n_prompt..] == sample.ids) {
                Some(row) => row.members.push(member),
                None => {
                    let mut ids = group.prompt.clone();
                    ids.extend_from_slice(&sample.ids);
                    let trained = (0..ids.len()).map(|i| i >= n_prompt).collect();
                    rows.push(Row { ids, trained, n_prompt, members: vec![member] });
                }
            }
        }
    }
    rows
}

/// What a learning step measured, summed over its response tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) n_tokens: f64,
    pub(super) loss: f64,
    pub(super) ratio: f64,
    pub(super) ratio_squared: f64,
    pub(super) clipped: f64,
    pub(super) weight: f64,
    pub(super) weight_capped: f64,
    pub(super) kl: f64,
    /// Sum of `-logp` under the sampler: its mean estimates the policy's entropy per token.
    pub(super) surprise: f64,
    /// Sum of the absolute difference between the sampler's and the learner's log-probabilities.
    pub(super) mismatch: f64,
    /// Mean over the updates of the gradient norm before clipping.
    pub(super) grad_norm: f64,
    /// Distinct answers trained on.
    pub(super) n_rows: usize,
}

/// One or several updates on the rows of one rollout; none if there are no rows.
pub(super) fn learn(
    trainer: &mut Trainer,
    rows: &[Row],
    config: &RlvrConfig,
    reference: Option<&Model>,
    lr: f64,
    pad: u32,
) -> Measured {
    let mut measured = Measured { n_rows: rows.len(), ..Measured::default() };
    if rows.is_empty() {
        return measured;
    }
    let old = (config.minibatches > 1).then(|| {
        let frozen = without_gradients(trainer.model());
        log_probs(&frozen, rows, config, pad)
    });
    let reference = reference.map(|model| log_probs(model, rows, config, pad));
    let n_minibatches = config.minibatches.clamp(1, rows.len());
    for part in 0..n_minibatches {
        let range = part * rows.len() / n_minibatches..(part + 1) * rows.len() / n_minibatches;
        let known = |all: &Option<Vec<Vec<f64>>>| all.as_ref().map(|all| all[range.clone()].to_vec());
        let (old, reference) = (known(&old), known(&reference));
        accumulate(trainer, &rows[range], config, old.as_deref(), reference.as_deref(), pad, &mut measured);
        measured.grad_norm += trainer.update(lr) / n_minibatches as f64;
    }
    measured
}

fn without_gradients(model: &Model) -> Model {
    burn::module::Module::valid(model)
}

fn pack_rows(rows: &[Row], config: &RlvrConfig, pad: u32) -> Packed {
    let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    let row_length = config.row_length.max(longest);
    pack(rows.iter().map(|row| (row.ids.as_slice(), row.trained.as_slice())), row_length, pad)
}

/// Which response token (row, position in its response) each counted target of the batch is, in the batch's order.
fn owners(packed: &Packed, rows: &[Row]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| packed.starts[i]);
    order.into_iter().flat_map(|i| (0..rows[i].n_response()).map(move |token| (i, token))).collect()
}

/// Log-probabilities of every row's response tokens.
fn log_probs(model: &Model, rows: &[Row], config: &RlvrConfig, pad: u32) -> Vec<Vec<f64>> {
    let packed = pack_rows(rows, config, pad);
    let mut out: Vec<Vec<f64>> = rows.iter().map(|row| vec![0.0; row.n_response()]).collect();
    let mut owners = owners(&packed, rows).into_iter();
    for micro in packed.batch.micro_batches(config.micro_batch_rows) {
        let Some(counted) = Counted::of(model, &micro) else { continue };
        let values = host(counted.log_probs(model, config.sampling.temperature));
        for (value, (i, token)) in values.into_iter().zip(owners.by_ref()) {
            out[i][token] = f64::from(value);
        }
    }
    out
}

/// Adds the gradient of the objective over `rows` to the trainer's.
fn accumulate(
    trainer: &mut Trainer,
    rows: &[Row],
    config: &RlvrConfig,
    old: Option<&[Vec<f64>]>,
    reference: Option<&[Vec<f64>]>,
    pad: u32,
    measured: &mut Measured,
) {
    let packed = pack_rows(rows, config, pad);
    let n_tokens: usize = rows.iter().map(|row| row.n_response() * row.members.len()).sum();
    let mut owners = owners(&packed, rows).into_iter();
    for micro in packed.batch.micro_batches(config.micro_batch_rows) {
        let Some(counted) = Counted::of(trainer.model(), &micro) else { continue };
        let logp = counted.log_probs(trainer.model(), config.sampling.temperature);
        let current = host(logp.clone().without_autodiff());
        let derivative: Vec<f32> = current
            .iter()
            .zip(owners.by_ref())
            .map(|(&current, (i, token))| {
                let mut sum = 0.0;
                for (advantage, behaviour) in &rows[i].members {
                    let current = f64::from(current);
                    let logp = TokenLogProbs {
                        current,
                        old: old.map_or(current, |old| old[i][token]),
                        behaviour: behaviour[token],
                        reference: reference.map_or(current, |reference| reference[i][token]),
                    };
                    sum += measure(measured, config, logp, *advantage);
                }
                (sum / n_tokens as f64) as f32
            })
            .collect();
        let n = derivative.len();
        let weights = Tensor::<1>::from_data(TensorData::new(derivative, [n]), &logp.device());
        trainer.accumulate(&logp.mul(weights).sum());
    }
}

/// Adds one token to the measurements; returns the derivative of its loss.
fn measure(measured: &mut Measured, config: &RlvrConfig, logp: TokenLogProbs, advantage: f64) -> f64 {
    let token = config.objective.token_loss(logp, advantage);
    measured.n_tokens += 1.0;
    measured.loss += token.loss;
    measured.ratio += token.ratio;
    measured.ratio_squared += token.ratio * token.ratio;
    measured.clipped += f64::from(u8::from(token.clipped));
    measured.weight += token.weight;
    measured.weight_capped += f64::from(u8::from(config.objective.importance_cap.is_some_and(|c| token.weight >= c)));
    measured.kl += token.kl;
    measured.surprise -= logp.behaviour;
    measured.mismatch += (logp.old - logp.behaviour).abs();
    token.gradient
}
