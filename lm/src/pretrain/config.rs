//! What decides a pretraining run, besides its start and its tokens.

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::config::ModelConfig;
use crate::loader::batches::{Change, Segment, segments};
use crate::loader::{DocumentMask, Instances, LoaderConfig, RepetitionFilter, Share};
use crate::model::recompute::Recompute;
use crate::optim::AdamWConfig;
use crate::optim::rules::Rules;
use crate::optim::skip::SkipStepConfig;
use crate::schedule::{Rewarm, Schedule, Shape};

/// The optimiser's memory at the start of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerStart {
    /// That of the checkpoint, or none for a fresh model.
    #[default]
    Keep,
    /// None.
    Reset,
}

/// The largest learning rate of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeakRate {
    /// This one.
    Rate(f64),
    /// The one the checkpoint's last update used: where an anneal begins.
    Reached,
}

/// What the lengths of a learning-rate curve count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tokens trained on, so that a changed batch size does not change the curve.
    #[default]
    Tokens,
    /// Steps.
    Steps,
}

/// The numbers that matrices are multiplied in. Parameters, moments, norms, softmax and loss are 32-bit floats always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16 factors, 32-bit sums.
    Bf16,
}

/// The learning rate over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// The largest rate.
    pub peak: PeakRate,
    /// The curve after the warm-up.
    pub shape: Shape,
    /// What the lengths below, and those of the curve, count.
    pub unit: Unit,
    /// Length of the linear warm-up from 0.
    pub warmup: u64,
    /// Where the curve ends, counted from its own start; `None`: where this run ends.
    pub horizon: Option<u64>,
    /// Length of the curve that lies behind already when the run starts.
    pub start: u64,
    /// Length of the linear warm-up onto the curve when the run starts in its middle, for a grown model.
    pub rewarm: u64,
    /// Whether a batch `k` times as large as the first one has a rate `sqrt(k)` times as large.
    pub scale_with_batch: bool,
}

/// A looser bound of the gradient norm at the beginning of training (OLMo 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipWarmup {
    /// How long, in the unit of the learning rate, counted from the start of its curve.
    pub length: u64,
    /// Multiple of the bound; 10 in OLMo 7B, 5 in OLMo-7B-0424.
    pub factor: f64,
}

/// Measuring held-out loss during training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between measurements; 0: only at the end.
    pub every_steps: u64,
    /// Tokens of each label that are measured, whole documents; `None`: all.
    pub max_tokens: Option<u64>,
}

/// What decides a pretraining run, besides its start and its tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Tokens of a sequence, at first.
    pub sequence_length: usize,
    /// Tokens of a batch, at first; a multiple of the sequence length.
    pub batch_tokens: u64,
    /// Tokens of the run; the last batch may exceed it by less than its size.
    pub total_tokens: u64,
    /// Other batch sizes from some token of the run on.
    pub batch_changes: Vec<Change>,
    /// Other sequence lengths from some token of the run on.
    pub length_changes: Vec<Change>,
    /// Sequences of `sequence_length` per forward and backward pass; sequences of another length go together to as many
    /// tokens. The gradients of a batch are added up pass by pass, so this decides the bits of the result.
    pub micro_batch: usize,
    /// Learning rate.
    pub rate: RateConfig,
    /// AdamW's constants.
    pub optimizer: AdamWConfig,
    /// Parameters with constants of their own, and what trains.
    pub rules: Rules,
    /// Whether the checkpoint's optimiser state is used.
    pub optimizer_start: OptimizerStart,
    /// Leaving out steps with an exceptional loss or gradient norm; `None`: none is left out.
    pub skip_step: Option<SkipStepConfig>,
    /// Weight of the squared log-partition function; 1e-5 in OLMo 2, 0 for none.
    pub z_loss: f64,
    /// Weight of the load-balancing loss of experts; 0.01 in OLMoE.
    pub load_balancing_loss: f64,
    /// Weight of the z-loss of their routers; 0.001 in OLMoE.
    pub router_z_loss: f64,
    /// Largest global gradient norm; `None`: no clipping.
    pub max_grad_norm: Option<f64>,
    /// A looser bound at the beginning.
    pub clip_warmup: Option<ClipWarmup>,
    /// Seed of the data order.
    pub seed: u64,
    /// What a token may attend to.
    pub document_mask: DocumentMask,
    /// What an instance is.
    pub instances: Instances,
    /// See [`LoaderConfig::max_sequence_length`].
    pub max_sequence_length: Option<usize>,
    /// See [`LoaderConfig::file_order_seed`].
    pub file_order_seed: Option<u64>,
    /// Which instances are not trained on.
    pub filter: Option<RepetitionFilter>,
    /// Measuring held-out loss. It changes nothing of what is trained.
    pub validation: ValidationConfig,
    /// The result's weights are the mean of those after each of the last so many steps; 0 and 1: the last ones.
    pub merge_last: u64,
    /// What is computed again in the backward pass, to need less memory. It does not change a bit.
    pub recompute: Recompute,
    /// The numbers that matrices are multiplied in.
    pub precision: Precision,
}

impl PretrainConfig {
    /// A run of `total_tokens` with OLMo 2's constants: AdamW (.9, .95), decay 0.1, clip 1.0, z-loss 1e-5, warm-up over
    /// the first tenth, cosine to a tenth of `peak`.
    pub fn new(sequence_length: usize, batch_tokens: u64, total_tokens: u64, peak: f64) -> Self {
        Self {
            sequence_length,
            batch_tokens,
            total_tokens,
            batch_changes: Vec::new(),
            length_changes: Vec::new(),
            micro_batch: 4,
            rate: RateConfig {
                peak: PeakRate::Rate(peak),
                shape: Shape::Cosine { floor: 0.1 },
                unit: Unit::Tokens,
                warmup: total_tokens / 10,
                horizon: None,
                start: 0,
                rewarm: 0,
                scale_with_batch: false,
            },
            optimizer: AdamWConfig::default(),
            rules: Rules::default(),
            optimizer_start: OptimizerStart::Keep,
            skip_step: None,
            z_loss: 1e-5,
            load_balancing_loss: 0.01,
            router_z_loss: 0.001,
            max_grad_norm: Some(1.0),
            clip_warmup: None,
            seed: 34521,
            document_mask: DocumentMask::None,
            instances: Instances::Windows,
            max_sequence_length: None,
            file_order_seed: None,
            filter: None,
            validation: ValidationConfig::default(),
            merge_last: 0,
            recompute: Recompute::None,
            precision: Precision::F32,
        }
    }

    /// The batches of the run.
    pub fn segments(&self) -> Vec<Segment> {
        let length = self.sequence_length as u64;
        segments(self.total_tokens, self.batch_tokens, length, &self.batch_changes, &self.length_changes)
    }

    /// Steps of the run.
    pub fn n_steps(&self) -> u64 {
        self.segments().iter().map(|segment| segment.n_batches).sum()
    }

    /// Tokens of all batches of the run.
    pub fn n_tokens(&self) -> u64 {
        self.segments().iter().map(|segment| segment.n_batches * segment.batch_tokens).sum()
    }

    /// The learning-rate curve with its largest rate.
    pub(super) fn schedule(&self, peak: f64) -> Schedule {
        let rate = &self.rate;
        let length = match rate.unit {
            Unit::Tokens => self.n_tokens(),
            Unit::Steps => self.n_steps(),
        };
        Schedule {
            peak,
            warmup: rate.warmup,
            total: rate.horizon.unwrap_or(rate.start + length),
            shape: rate.shape.clone(),
            rewarm: (rate.rewarm > 0).then_some(Rewarm { start: rate.start, steps: rate.rewarm }),
        }
    }

    /// Where a step stands on the learning-rate curve: step `step` (1-based) after which the run has seen `tokens`.
    pub(super) fn curve_position(&self, step: u64, tokens: u64) -> u64 {
        let done = match self.rate.unit {
            Unit::Tokens => tokens,
            Unit::Steps => step,
        };
        self.rate.start + done
    }

    /// The bound of the gradient norm at a place of the curve.
    pub(super) fn bound(&self, position: u64) -> Option<f64> {
        let factor = self.clip_warmup.filter(|warmup| position <= warmup.length).map_or(1.0, |warmup| warmup.factor);
        self.max_grad_norm.map(|bound| bound * factor)
    }

    /// Sequences of `length` tokens of one pass.
    pub(super) fn rows(&self, length: usize) -> usize {
        (self.micro_batch * self.sequence_length / length).max(1)
    }

    pub(super) fn loader(&self, model: &ModelConfig) -> LoaderConfig {
        LoaderConfig {
            batches: self.segments(),
            instances: self.instances,
            max_sequence_length: self.max_sequence_length,
            seed: self.seed,
            file_order_seed: self.file_order_seed,
            document_mask: self.document_mask,
            filter: self.filter,
            share: Share::WHOLE,
            vocab_size: model.vocab_size,
            eos: model.eos_token_id,
            pad: model.filler(),
        }
    }

    pub(super) fn check(&self) -> Result<(), TrainError> {
        let fail = |text: String| Err(TrainError::Config(text));
        if self.total_tokens == 0 {
            return fail("total_tokens is 0".into());
        }
        if self.sequence_length < 2 {
            return fail("a sequence needs at least two tokens".into());
        }
        if self.micro_batch == 0 {
            return fail("micro_batch is 0".into());
        }
        for (what, changes) in [("batch", &self.batch_changes), ("sequence length", &self.length_changes)] {
            if changes.windows(2).any(|pair| pair[0].after_tokens >= pair[1].after_tokens) {
                return fail(format!("the changes of the {what} are not in order of their tokens"));
            }
        }
        if let PeakRate::Rate(rate) = self.rate.peak
            && !(rate.is_finite() && rate >= 0.0)
        {
            return fail(format!("the peak learning rate {rate} is not a number of 0 or more"));
        }
        Ok(())
    }
}
