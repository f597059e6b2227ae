//! Supervised finetuning on conversations: loss on assistant turns only, packed rows, token-mean loss.
//!
//! A step takes `batch_size` conversations in an order shuffled anew each epoch, packs them into rows in which every
//! conversation sees only itself, and updates once. The loss is the mean over all trained tokens of the batch, however
//! the batch is cut into micro-batches; the two other reductions that published code has used can be chosen to study
//! their effect. A run goes on from its progress directory to the same bits.

use std::path::Path;

use burn::tensor::Device;
use data::problem::Conversation;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::chat::{Chat, ChatError, ChatTokens, Ending};
use crate::checkpoint::Checkpoint;
use crate::head::Counted;
use crate::kernels::LossScale;
use crate::model::parameters::host;
use crate::observe::Observer;
use crate::optim::{AdamWConfig, Trainer};
use crate::pretrain::Saving;
use crate::schedule::{Schedule, Shape};

pub mod packing;
pub(crate) mod rows;
pub(crate) mod saved;
#[cfg(test)]
pub(crate) mod tests;

pub use saved::SavedError;

use saved::SavedRun;

/// What the summed token losses are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The trained tokens of the whole batch: every token counts the same.
    #[default]
    TokenMean,
    /// Nothing (Tulu 3 and OLMo 2). The gradient is larger by the number of tokens, which only clipping notices.
    Sum,
    /// First the tokens of the micro-batch, then the number of micro-batches: tokens of short answers weigh more.
    MicroBatchMean,
}

/// Everything that decides what a run does to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SftConfig {
    /// Passes over the conversations.
    pub epochs: u64,
    /// Conversations per update; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Longer conversations lose their end.
    pub max_length: usize,
    /// Positions per packed row; at least `max_length`.
    pub row_length: usize,
    /// Packed rows per forward and backward pass.
    pub micro_batch_rows: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of the steps that warm up.
    pub warmup_fraction: f64,
    /// The curve after the warm-up.
    pub shape: Shape,
    /// Constants of the optimiser.
    pub optimizer: AdamWConfig,
    /// Bound of the global gradient norm.
    pub max_grad_norm: Option<f64>,
    /// What the loss is divided by.
    pub reduction: Reduction,
    /// Names the order of the conversations.
    pub seed: u64,
}

impl Default for SftConfig {
    /// Tulu's recipe (two epochs, linear decay to 0, 3 % warm-up, no weight decay) with a learning rate and batch for
    /// models of some million parameters.
    fn default() -> Self {
        SftConfig {
            epochs: 2,
            batch_size: 32,
            max_length: 256,
            row_length: 256,
            micro_batch_rows: 16,
            learning_rate: 1e-3,
            warmup_fraction: 0.03,
            shape: Shape::Linear { floor: 0.0 },
            optimizer: AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() },
            max_grad_norm: Some(1.0),
            reduction: Reduction::TokenMean,
            seed: 42,
        }
    }
}

impl SftConfig {
    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`SftError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), SftError> {
        let fail = |text: String| Err(SftError::Config(text));
        if self.epochs == 0 || self.batch_size == 0 || self.micro_batch_rows == 0 {
            return fail("epochs, batch_size and micro_batch_rows must be at least 1".into());
        }
        if self.max_length < 2 || self.row_length + 1 < self.max_length {
            return fail(format!(
                "max_length = {} must be at least 2 and fit into row_length = {}",
                self.max_length, self.row_length
            ));
        }
        if !(0.0..=1.0).contains(&self.warmup_fraction) {
            return fail(format!("warmup_fraction = {} must lie in [0, 1]", self.warmup_fraction));
        }
        Ok(())
    }

    /// The learning-rate curve of a run of `steps` steps.
    fn schedule(&self, steps: u64) -> Schedule {
        let warmup = (steps as f64 * self.warmup_fraction).ceil() as u64;
        Schedule { peak: self.learning_rate, warmup, total: steps, shape: self.shape.clone(), rewarm: None }
    }
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SftError {
    /// A setting is out of range.
    #[error("sft: {0}")]
    Config(String),
    /// No conversation has a token to train on.
    #[error("sft: none of the {n} conversations has an assistant turn within {max_length} tokens")]
    Empty {
        /// Number of conversations given.
        n: usize,
        /// The length limit.
        max_length: usize,
    },
    /// A text cannot be encoded.
    #[error(transparent)]
    Chat(#[from] ChatError),
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
    /// The loss is no longer a number.
    #[error("the loss is {loss} at step {step}; lower the learning rate or raise the warm-up")]
    Diverged {
        /// The step, from 1.
        step: u64,
        /// The loss.
        loss: f64,
    },
}

/// What tokenising the conversations came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SftCounts {
    /// Conversations trained on.
    pub conversations: u64,
    /// Conversations left out because no token of them is trained on.
    pub dropped: u64,
    /// Conversations that lost their end.
    pub truncated: u64,
    /// Tokens per epoch.
    pub tokens: u64,
    /// Trained tokens per epoch.
    pub trained_tokens: u64,
}

/// Tokens of every usable conversation, cut to `max_length`, and the counts.
///
/// # Errors
/// If a text cannot be encoded.
pub fn tokenize(
    chat: &Chat,
    conversations: &[Conversation],
    max_length: usize,
) -> Result<(Vec<ChatTokens>, SftCounts), ChatError> {
    let mut counts = SftCounts::default();
    let mut out = Vec::with_capacity(conversations.len());
    for conversation in conversations {
        let mut tokens = chat.tokens(&conversation.messages, Ending::Complete)?;
        counts.truncated += u64::from(tokens.ids.len() > max_length);
        tokens.ids.truncate(max_length);
        tokens.trained.truncate(max_length);
        if tokens.n_trained() == 0 {
            counts.dropped += 1;
            continue;
        }
        counts.conversations += 1;
        counts.tokens += tokens.ids.len() as u64;
        counts.trained_tokens += tokens.n_trained() as u64;
        out.push(tokens);
    }
    Ok((out, counts))
}

/// What post-training starts from.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// The model; its optimiser state, if any, is not used.
    pub checkpoint: &'a Checkpoint,
    /// The model's tokenizer with the chat template.
    pub chat: &'a Chat,
    /// Where to compute.
    pub device: &'a Device,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SftSummary {
    /// Updates.
    pub steps: u64,
    /// Loss of the last batch, in nats per trained token.
    pub final_loss: f64,
    /// What tokenising came to.
    pub counts: SftCounts,
}

/// What a run keeps beside its checkpoint.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Position {
    step: u64,
    /// Bits of the last loss, so that it survives the text exactly.
    loss_bits: u64,
}

/// Finetunes `start` and writes the resulting checkpoint, without optimiser state but with the tokenizer and its chat
/// template, into the existing directory `out`. With `saving`, an interrupted run called again goes on from its last
/// saved state and reaches the same bits; the saved states are removed when the result is written.
///
/// # Errors
/// See [`SftError`]; [`SftError::Stopped`] if the observer asks to stop.
pub fn sft(
    config: &SftConfig,
    start: Start<'_>,
    conversations: &[Conversation],
    out: &Path,
    saving: Option<Saving<'_>>,
    observer: &mut dyn Observer,
) -> Result<SftSummary, SftError> {
    config.validate()?;
    let Start { checkpoint, chat, device } = start;
    let (examples, counts) = tokenize(chat, conversations, config.max_length)?;
    if examples.is_empty() {
        return Err(SftError::Empty { n: conversations.len(), max_length: config.max_length });
    }
    let steps_per_epoch = examples.len().div_ceil(config.batch_size) as u64;
    let total = config.epochs * steps_per_epoch;
    let schedule = config.schedule(total);
    let pad = checkpoint.config.filler();
    let (mut run, saved) =
        SavedRun::begin::<Position>(checkpoint, config.optimizer, config.max_grad_norm, device, saving, observer)?;
    let mut position = saved.unwrap_or_default();
    let mut order = (u64::MAX, Vec::new());
    while position.step < total {
        let (epoch, batch) = (position.step / steps_per_epoch, position.step % steps_per_epoch);
        if order.0 != epoch {
            order = (epoch, rows::permutation(examples.len(), config.seed, epoch));
        }
        let first = batch as usize * config.batch_size;
        let chosen = &order.1[first..examples.len().min(first + config.batch_size)];
        let chosen: Vec<&ChatTokens> = chosen.iter().map(|&i| &examples[i]).collect();
        let step = position.step + 1;
        let lr = schedule.at(step);
        let measured = update(&mut run.trainer, config, &chosen, pad, lr);
        position = Position { step, loss_bits: measured.loss.to_bits() };
        observer.metric(step, "train/CE loss", measured.loss);
        observer.metric(step, "train/trained tokens", measured.n_trained as f64);
        observer.metric(step, "optim/LR", lr);
        observer.metric(step, "optim/total grad norm", measured.grad_norm);
        observer.progress(step, total);
        if !(measured.loss.is_finite() && measured.grad_norm.is_finite()) {
            return Err(SftError::Diverged { step, loss: measured.loss });
        }
        if step < total && run.after_step(step, &position, observer)? {
            return Err(SftError::Stopped { step, total });
        }
    }
    run.finish(chat, out)?;
    Ok(SftSummary { steps: total, final_loss: f64::from_bits(position.loss_bits), counts })
}

struct Measured {
    loss: f64,
    n_trained: usize,
    grad_norm: f64,
}

fn update(trainer: &mut Trainer, config: &SftConfig, chosen: &[&ChatTokens], pad: u32, lr: f64) -> Measured {
    let batch = rows::pack_conversations(chosen, config.row_length, pad);
    let n_trained = batch.n_targets();
    let micro_batches: Vec<Batch> = batch.micro_batches(config.micro_batch_rows).filter(|b| b.n_targets() > 0).collect();
    let mut nll = 0.0;
    for micro in &micro_batches {
        let divisor = match config.reduction {
            Reduction::TokenMean => n_trained as f64,
            Reduction::Sum => 1.0,
            Reduction::MicroBatchMean => (micro.n_targets() * micro_batches.len()) as f64,
        };
        let model = trainer.model();
        let Some(counted) = Counted::of(model, micro) else { continue };
        let loss = counted.loss(model, LossScale::new(0.0, divisor));
        nll += f64::from(host(loss.clone().without_autodiff())[1]);
        trainer.accumulate(&loss.narrow(0, 0, 1));
    }
    Measured { loss: nll / n_trained as f64, n_trained, grad_norm: trainer.update(lr) }
}
