//! Pretraining, continued pretraining and annealing: one loop from a start to a checkpoint.
//!
//! The result depends on the configuration, the start and the tokens alone: not on threads, interruptions or the clock.
//! Knows no key or event; the caller gives directories and an `Observer`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::checkpoint::progress::Progress;
use crate::checkpoint::{Checkpoint, CheckpointError, TrainingRecord, TrainingState};
use crate::config::ModelConfig;
use crate::device;
use crate::init::initial_weights;
use crate::kernels::Precision;
use crate::loader::{DocumentMask, Ingredient, Loader, LoaderConfig, LoaderError};
use crate::model::WeightsError;
use crate::observe::Observer;
use crate::optim::{AdamWConfig, OptimizerState};
use crate::parallel::{Origin, ParallelError, StepValues};
use crate::schedule::{Rewarm, Schedule, Shape};

mod learner;

use learner::Learner;

/// Why training did not finish.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights do not make a model.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The batches could not be made.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The replicas of a data-parallel run failed.
    #[error(transparent)]
    Parallel(#[from] ParallelError),
    /// The configuration makes no sense.
    #[error("training configuration: {0}")]
    Config(String),
    /// The loss is no longer a number.
    #[error("the loss is {loss} at step {step}; lower the learning rate or raise the warm-up")]
    Diverged {
        /// The step, 1-based.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// The observer asked to stop; progress was saved.
    #[error("stopped at step {step} of {total}; running again goes on from there")]
    Stopped {
        /// Steps done.
        step: u64,
        /// Steps of the run.
        total: u64,
    },
}

/// Where training starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// A freshly initialised model.
    Fresh {
        /// Its shape.
        config: ModelConfig,
        /// Seed of the weights.
        seed: u64,
    },
    /// A checkpoint directory.
    Checkpoint(PathBuf),
}

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

/// The learning rate over a run, in tokens, so that a changed batch size does not change the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// The largest rate.
    pub peak: PeakRate,
    /// The curve after the warm-up.
    pub shape: RateShape,
    /// Tokens of linear warm-up from 0.
    pub warmup_tokens: u64,
    /// Tokens at which the curve ends, counted from its own start; `None`: where this run ends.
    pub horizon_tokens: Option<u64>,
    /// Tokens of the curve that lie behind already when the run starts.
    pub start_tokens: u64,
    /// Tokens of linear warm-up onto the curve when the run starts in its middle, for a grown model.
    pub rewarm_tokens: u64,
}

/// The curve after the warm-up, with lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RateShape {
    /// Stays at the peak.
    Constant,
    /// Straight to `floor * peak` at the end.
    Linear {
        /// Fraction of the peak at the end.
        floor: f64,
    },
    /// Half a cosine to `floor * peak` at the end.
    Cosine {
        /// Fraction of the peak at the end.
        floor: f64,
    },
    /// Stays at the peak and falls straight to `floor * peak` over the last `decay_tokens`.
    Wsd {
        /// Tokens of the decay.
        decay_tokens: u64,
        /// Fraction of the peak at the end.
        floor: f64,
    },
}

/// What decides a pretraining run, besides its start and its tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// Tokens of a batch, a multiple of the sequence length.
    pub batch_tokens: u64,
    /// Tokens of the run; the last batch may exceed it by less than its size.
    pub total_tokens: u64,
    /// Sequences per forward and backward pass; the gradients of a batch are accumulated.
    pub micro_batch: usize,
    /// Learning rate.
    pub rate: RateConfig,
    /// AdamW's constants.
    pub optimizer: AdamWConfig,
    /// Whether the checkpoint's optimiser state is used.
    pub optimizer_start: OptimizerStart,
    /// Weight of the squared log-partition function; 1e-5 in OLMo 2, 0 for none.
    pub z_loss: f64,
    /// Largest global gradient norm; `None`: no clipping.
    pub max_grad_norm: Option<f64>,
    /// Seed of the data order.
    pub seed: u64,
    /// What a token may attend to.
    pub document_mask: DocumentMask,
}

impl PretrainConfig {
    /// A run of `total_tokens` with OLMo 2's constants: AdamW (.9, .95), decay 0.1, clip 1.0, z-loss 1e-5, warm-up over
    /// the first tenth, cosine to a tenth of `peak`.
    pub fn new(sequence_length: usize, batch_tokens: u64, total_tokens: u64, peak: f64) -> Self {
        Self {
            sequence_length,
            batch_tokens,
            total_tokens,
            micro_batch: 4,
            rate: RateConfig {
                peak: PeakRate::Rate(peak),
                shape: RateShape::Cosine { floor: 0.1 },
                warmup_tokens: total_tokens / 10,
                horizon_tokens: None,
                start_tokens: 0,
                rewarm_tokens: 0,
            },
            optimizer: AdamWConfig::default(),
            optimizer_start: OptimizerStart::Keep,
            z_loss: 1e-5,
            max_grad_norm: Some(1.0),
            seed: 34521,
            document_mask: DocumentMask::None,
        }
    }

    /// Steps of the run.
    pub fn n_steps(&self) -> u64 {
        self.total_tokens.div_ceil(self.batch_tokens.max(1))
    }

    /// The learning-rate curve in steps of the curve, and the number of its steps behind the start of the run.
    fn schedule(&self, peak: f64) -> (Schedule, u64) {
        let steps = |tokens: u64| tokens.div_ceil(self.batch_tokens);
        let rate = self.rate;
        let start = steps(rate.start_tokens);
        let schedule = Schedule {
            peak,
            warmup: steps(rate.warmup_tokens),
            total: rate.horizon_tokens.map_or(start + self.n_steps(), steps),
            shape: match rate.shape {
                RateShape::Constant => Shape::Constant,
                RateShape::Linear { floor } => Shape::Linear { floor },
                RateShape::Cosine { floor } => Shape::Cosine { floor },
                RateShape::Wsd { decay_tokens, floor } => Shape::Wsd { decay: steps(decay_tokens), floor },
            },
            rewarm: (rate.rewarm_tokens > 0).then(|| Rewarm { start, steps: steps(rate.rewarm_tokens) }),
        };
        (schedule, start)
    }

    fn check(&self) -> Result<(), TrainError> {
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
        if let PeakRate::Rate(rate) = self.rate.peak
            && !(rate.is_finite() && rate >= 0.0)
        {
            return fail(format!("the peak learning rate {rate} is not a number of 0 or more"));
        }
        Ok(())
    }
}

/// When the state of a run is saved.
#[derive(Clone, Copy, Debug)]
pub struct Saving<'a> {
    /// The directory the states go to.
    pub dir: &'a Path,
    /// Steps between states, at least 1.
    pub every_steps: u64,
    /// Seconds, on the observer's clock, after which a state is saved earlier.
    pub every_seconds: f64,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainSummary {
    /// Steps of this run.
    pub steps: u64,
    /// Tokens of this run.
    pub tokens: u64,
    /// Cross-entropy of the last batch, in nats per token.
    pub final_loss: f64,
    /// Mean cross-entropy of the last tenth of the batches.
    pub mean_final_loss: f64,
    /// Tokens over the model's whole life.
    pub total_tokens: u64,
}

/// What a saved state holds beside the checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Steps of this run that are done.
    step: u64,
    /// Largest learning rate of this run, in bits, so that it survives the text exactly.
    peak_bits: u64,
    /// Bits of the losses of the last tenth of the run so far.
    recent_bits: Vec<u64>,
}

/// Where a run computes. Not part of what decides a run: results differ by rounding only.
#[derive(Clone, Debug)]
pub struct Placement {
    /// One or more devices; several train together, see [`crate::parallel`].
    pub devices: Vec<Device>,
    /// The type that activations and matrix products are computed in.
    pub precision: Precision,
}

impl Default for Placement {
    /// The CPU, in 32-bit floats.
    fn default() -> Self {
        Self { devices: vec![device::cpu()], precision: Precision::F32 }
    }
}

/// Trains from `start` on `ingredients` on the CPU and writes the resulting checkpoint into the existing directory `out`.
///
/// With `saving`, an interrupted run called again goes on from its last saved state and reaches the same bits. The saved
/// states are removed when the result is written.
///
/// # Errors
/// When a file fails, the configuration is unusable, the loss diverges, or the observer asks to stop.
pub fn pretrain(
    config: &PretrainConfig,
    start: &Start,
    ingredients: Vec<Ingredient>,
    out: &Path,
    saving: Option<Saving<'_>>,
    observer: &mut dyn Observer,
) -> Result<PretrainSummary, TrainError> {
    pretrain_on(&Placement::default(), config, start, ingredients, out, saving, observer)
}

/// [`pretrain`] on other devices.
///
/// # Errors
/// As [`pretrain`], and when a device's thread is lost.
pub fn pretrain_on(
    placement: &Placement,
    config: &PretrainConfig,
    start: &Start,
    ingredients: Vec<Ingredient>,
    out: &Path,
    saving: Option<Saving<'_>>,
    observer: &mut dyn Observer,
) -> Result<PretrainSummary, TrainError> {
    config.check()?;
    let progress = saving.map(|saving| Progress::new(saving.dir));
    let saved = match &progress {
        Some(progress) => progress.load::<Position>()?,
        None => None,
    };
    let (mut checkpoint, mut position) = match saved {
        Some(saved) => saved,
        None => begin(config, start)?,
    };
    let training = checkpoint.training.take().unwrap_or_default();
    let mut record = training.record;
    let first = placement.devices.first().ok_or(ParallelError::NoDevice)?;
    let here = device::cpu();
    let model = checkpoint.model(if placement.devices.len() == 1 { first } else { &here })?;
    drop(checkpoint);
    let model_config = model.config().clone();
    let peak = f64::from_bits(position.peak_bits);
    let (schedule, behind) = config.schedule(peak);
    let n_steps = config.n_steps();
    let loader = Loader::new(
        LoaderConfig {
            sequence_length: config.sequence_length,
            batch_tokens: config.batch_tokens,
            n_batches: n_steps,
            seed: config.seed,
            document_mask: config.document_mask,
            vocab_size: model_config.vocab_size,
            eos: model_config.eos_token_id,
        },
        ingredients,
    )?;
    let mut learner = Learner::new(
        Origin {
            model,
            optimizer: config.optimizer,
            state: training.optimizer,
            max_grad_norm: config.max_grad_norm,
            precision: placement.precision,
        },
        &placement.devices,
    )?;
    let mut pace = Pace::new(observer.elapsed());
    let n_recent = n_steps.div_ceil(10);
    let snapshot = |learner: &Learner, record: &TrainingRecord| -> Result<Checkpoint, TrainError> {
        let (weights, optimizer) = learner.snapshot()?;
        let training = Some(TrainingState { record: record.clone(), optimizer });
        Ok(Checkpoint { config: model_config.clone(), weights, training })
    };
    record.peak_lr = peak;
    for step in position.step + 1..=n_steps {
        let lr = schedule.at(behind + step);
        let batch = loader.batch(step - 1)?;
        let loss = learner.step(&batch, config, lr)?;
        record.step += 1;
        record.tokens += config.batch_tokens;
        record.lr = lr;
        let rate = pace.tokens_per_second(observer.elapsed(), config.batch_tokens);
        report(observer, config, step, &loss, lr, &record, rate);
        observer.progress(step * config.batch_tokens, n_steps * config.batch_tokens);
        if !loss.cross_entropy.is_finite() || !loss.grad_norm.is_finite() {
            return Err(TrainError::Diverged { step, loss: loss.cross_entropy });
        }
        position.step = step;
        if step + n_recent > n_steps {
            position.recent_bits.push(loss.cross_entropy.to_bits());
        }
        if let (Some(saving), Some(progress)) = (saving, &progress)
            && step < n_steps
        {
            let stop = observer.should_stop();
            if stop
                || step.is_multiple_of(saving.every_steps.max(1))
                || pace.since_saving(observer.elapsed()) >= saving.every_seconds
            {
                progress.save(step, &snapshot(&learner, &record)?, &position)?;
                pace.saved(observer.elapsed());
            }
        }
        if step < n_steps && observer.should_stop() {
            return Err(TrainError::Stopped { step, total: n_steps });
        }
    }
    snapshot(&learner, &record)?.write(out)?;
    if let Some(progress) = &progress {
        progress.clear()?;
    }
    let recent: Vec<f64> = position.recent_bits.iter().map(|bits| f64::from_bits(*bits)).collect();
    Ok(PretrainSummary {
        steps: n_steps,
        tokens: n_steps * config.batch_tokens,
        final_loss: recent.last().copied().unwrap_or(f64::NAN),
        mean_final_loss: recent.iter().sum::<f64>() / recent.len() as f64,
        total_tokens: record.tokens,
    })
}

/// The state before the first step.
fn begin(config: &PretrainConfig, start: &Start) -> Result<(Checkpoint, Position), TrainError> {
    let mut checkpoint = match start {
        Start::Fresh { config, seed } => Checkpoint::new(config.clone(), initial_weights(config, *seed)),
        Start::Checkpoint(dir) => Checkpoint::read(dir)?,
    };
    let peak = match (config.rate.peak, start, &checkpoint.training) {
        (PeakRate::Rate(rate), _, _) => rate,
        (PeakRate::Reached, Start::Checkpoint(_), Some(training)) => training.record.lr,
        (PeakRate::Reached, Start::Checkpoint(dir), None) => {
            return Err(CheckpointError::NoTrainingState { path: dir.clone() }.into());
        }
        (PeakRate::Reached, Start::Fresh { .. }, _) => {
            return Err(TrainError::Config("a fresh model has reached no learning rate yet; give one".into()));
        }
    };
    if let (OptimizerStart::Reset, Some(training)) = (config.optimizer_start, &mut checkpoint.training) {
        training.optimizer = OptimizerState::default();
    }
    Ok((checkpoint, Position { peak_bits: peak.to_bits(), ..Position::default() }))
}

/// Reports the numbers of a step under OLMo-core's names.
fn report(
    observer: &mut dyn Observer,
    config: &PretrainConfig,
    step: u64,
    loss: &StepValues,
    lr: f64,
    record: &TrainingRecord,
    tokens_per_second: Option<f64>,
) {
    let mut metric = |name: &str, value: f64| observer.metric(step, name, value);
    metric("train/CE loss", loss.cross_entropy);
    if loss.cross_entropy < 10.0 {
        metric("train/PPL", loss.cross_entropy.exp());
    }
    if config.z_loss > 0.0 {
        metric("train/Z loss", config.z_loss * loss.squared_lse);
        metric("train/Z loss unscaled", loss.squared_lse);
    }
    metric("optim/total grad norm", loss.grad_norm);
    metric("optim/LR", lr);
    metric("throughput/total tokens", record.tokens as f64);
    if let Some(rate) = tokens_per_second {
        metric("throughput/device/TPS", rate);
    }
}

/// Times on the observer's clock; they only decide what is reported and when a state is saved.
struct Pace {
    last_step: f64,
    last_saving: f64,
}

impl Pace {
    fn new(now: f64) -> Self {
        Self { last_step: now, last_saving: now }
    }

    fn tokens_per_second(&mut self, now: f64, tokens: u64) -> Option<f64> {
        let elapsed = now - self.last_step;
        self.last_step = now;
        (elapsed > 0.0).then(|| tokens as f64 / elapsed)
    }

    fn since_saving(&self, now: f64) -> f64 {
        now - self.last_saving
    }

    fn saved(&mut self, now: f64) {
        self.last_saving = now;
    }
}

#[cfg(test)]
mod tests;
