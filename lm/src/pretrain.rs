//! Pretraining, continued pretraining and annealing: one loop from a start to a checkpoint.
//!
//! The result depends on the configuration, the start and the tokens alone: not on threads, interruptions or the clock.
//! Knows no key or event; the caller gives directories and an `Observer`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::checkpoint::progress::Progress;
use crate::checkpoint::{Checkpoint, CheckpointError, TrainingRecord, TrainingState};
use crate::config::ModelConfig;
use crate::device;
use crate::init::initial_weights;
use crate::kernels;
use crate::loader::batches::position;
use crate::loader::{Ingredient, Loader, LoaderError, TokenSource};
use crate::model::{Model, RouterFigures, WeightsError};
use crate::observe::Observer;
use crate::optim::passes::{Measured, Passes};
use crate::optim::rules::RuleError;
use crate::optim::skip::History;
use crate::optim::{OptimizerState, Updated};
use crate::parallel::{Learner, Origin, ParallelError};

mod config;
mod merge;
mod report;
mod sharing;
mod spikes;
mod validation;

pub use config::{ClipWarmup, OptimizerStart, PeakRate, Precision, PretrainConfig, RateConfig, Unit, ValidationConfig};

use merge::RunningMean;
use report::Report;
use sharing::Sharing;
use spikes::Spikes;
use validation::Validation;

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
    /// A rule of the optimiser does not fit the model.
    #[error("training configuration: {0}")]
    Rules(#[from] RuleError),
    /// The configuration makes no sense.
    #[error("training configuration: {0}")]
    Config(String),
    /// The replicas on several devices failed.
    #[error(transparent)]
    Parallel(ParallelError),
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

impl From<ParallelError> for TrainError {
    fn from(error: ParallelError) -> Self {
        match error {
            ParallelError::Weights(error) => Self::Weights(error),
            ParallelError::Rules(error) => Self::Rules(error),
            other => Self::Parallel(other),
        }
    }
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Floating-point operations of this run by [`ModelConfig::flops_per_token`].
    pub flops: f64,
    /// Steps whose update was left out.
    pub skipped_steps: u64,
    /// Cross-entropy of the result on each label of the held-out tokens, in nats per token.
    pub validation: BTreeMap<String, f64>,
}

/// The tokens of a run.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// What is trained on: one source, or a mix.
    pub training: Vec<Ingredient>,
    /// What loss is measured on.
    pub validation: Vec<HeldOut>,
}

impl From<Vec<Ingredient>> for Data {
    fn from(training: Vec<Ingredient>) -> Self {
        Self { training, validation: Vec::new() }
    }
}

/// Tokens that are not trained on.
#[derive(Clone)]
pub struct HeldOut {
    /// Their name in metrics.
    pub label: String,
    /// The tokens.
    pub tokens: Arc<dyn TokenSource>,
}

impl std::fmt::Debug for HeldOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldOut").field("label", &self.label).finish_non_exhaustive()
    }
}

/// What a saved state holds beside the checkpoint. Numbers that must come back exactly are stored as their bits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Steps of this run that are done.
    step: u64,
    /// Largest learning rate of this run.
    peak_bits: u64,
    /// Losses of the last tenth of the run so far.
    recent_bits: Vec<u64>,
    /// Steps whose update was left out.
    skipped_steps: u64,
    /// What decides whether a step is left out.
    history: History,
    /// What is reported about spikes.
    spikes: Spikes,
    /// Steps in the running mean of the weights.
    merged_steps: u64,
}

/// Trains from `start` on `data` on the CPU and writes the resulting checkpoint into the existing directory `out`.
///
/// With `saving`, an interrupted run called again goes on from its last saved state and reaches the same bits. The saved
/// states are removed when the result is written.
///
/// # Errors
/// When a file fails, the configuration is unusable, the loss diverges, or the observer asks to stop.
pub fn pretrain(
    config: &PretrainConfig,
    start: &Start,
    data: impl Into<Data>,
    out: &Path,
    saving: Option<Saving<'_>>,
    observer: &mut dyn Observer,
) -> Result<PretrainSummary, TrainError> {
    pretrain_on(&[device::cpu()], config, start, data, out, saving, observer)
}

/// [`pretrain`] on any device, or on several: each has a replica of the model and its share of every batch (see
/// [`crate::parallel`]). Results on different devices, and on another number of them, differ by rounding; a run that was
/// interrupted may go on on others.
///
/// # Errors
/// As [`pretrain`]; also when the devices cannot share the batches, or compute in the precision.
pub fn pretrain_on(
    devices: &[Device],
    config: &PretrainConfig,
    start: &Start,
    data: impl Into<Data>,
    out: &Path,
    saving: Option<Saving<'_>>,
    observer: &mut dyn Observer,
) -> Result<PretrainSummary, TrainError> {
    config.check()?;
    let data = data.into();
    let progress = saving.map(|saving| Progress::new(saving.dir));
    let saved = match &progress {
        Some(progress) => progress.load::<Position>()?,
        None => None,
    };
    let merged = if saved.is_some() { progress.as_ref().map(Progress::load_arrays).transpose()?.flatten() } else { None };
    let (mut checkpoint, mut at) = match saved {
        Some(saved) => saved,
        None => begin(config, start)?,
    };
    let mut mean = RunningMean::new(at.merged_steps, merged);
    let training = checkpoint.training.take().unwrap_or_default();
    let mut record = training.record;
    let model_config = checkpoint.config.clone();
    let sharing = Sharing::new(config, &model_config, devices)?;
    let model = match devices {
        [device] => checkpoint.model(device)?,
        _ => checkpoint.model(&device::cpu())?,
    };
    drop(checkpoint);
    let peak = f64::from_bits(at.peak_bits);
    let (schedule, segments) = (config.schedule(peak), config.segments());
    let (n_steps, n_tokens) = (config.n_steps(), config.n_tokens());
    let loader = Loader::new(config.loader(&model_config), data.training)?;
    let validation = Validation::new(config, &model_config, data.validation)?;
    let origin = Origin {
        model,
        optimizer: config.optimizer,
        state: training.optimizer,
        rules: config.rules.clone(),
        skip_step: config.skip_step.map(|skip_step| (skip_step, std::mem::take(&mut at.history))),
        precision: match config.precision {
            Precision::F32 => kernels::Precision::F32,
            Precision::Bf16 => kernels::Precision::Bf16,
        },
    };
    let mut learner = Learner::new(origin, devices)?;
    let mut report = Report::new(config, &model_config, devices, observer);
    let n_recent = n_steps.div_ceil(10);
    let snapshot = |learner: &Learner, record: &TrainingRecord| -> Result<Checkpoint, ParallelError> {
        let (weights, optimizer) = learner.snapshot()?;
        let training = Some(TrainingState { record: record.clone(), optimizer });
        Ok(Checkpoint { config: model_config.clone(), weights, training })
    };
    record.peak_lr = peak;
    let mut held_out = BTreeMap::new();
    for step in at.step + 1..=n_steps {
        let place = position(&segments, step - 1).expect("the segments have all steps");
        let batch_tokens = place.segment.batch_tokens;
        let tokens = place.tokens + batch_tokens;
        let curve = config.curve_position(step, tokens);
        let factor = if config.rate.scale_with_batch { (batch_tokens as f64 / config.batch_tokens as f64).sqrt() } else { 1.0 };
        let lr = schedule.at(curve) * factor;
        report.loading(observer);
        let batch = loader.batch(step - 1)?;
        report.loaded(observer);
        let measured = optimise(&mut learner, &batch, &sharing.passes(&batch), lr, config.bound(curve))?;
        record.step += 1;
        record.tokens += batch_tokens;
        record.lr = lr;
        at.skipped_steps += u64::from(measured.updated.skipped);
        at.spikes.push(measured.cross_entropy, measured.updated.grad_norm);
        report.step(observer, step, &measured, &batch, place, &record, &at.spikes);
        observer.progress(tokens, n_tokens);
        let unusable = !measured.updated.grad_norm.is_finite() && !measured.updated.skipped;
        if !measured.cross_entropy.is_finite() || unusable {
            return Err(TrainError::Diverged { step, loss: measured.cross_entropy });
        }
        if step + config.merge_last > n_steps && config.merge_last > 1 {
            mean.push(learner.look(Model::weights)?);
        }
        if validation.due(step, n_steps) {
            held_out = validation.measure(&learner, step, observer)?;
        }
        at.step = step;
        if step + n_recent > n_steps {
            at.recent_bits.push(measured.cross_entropy.to_bits());
        }
        if let (Some(saving), Some(progress)) = (saving, &progress)
            && step < n_steps
        {
            let stop = observer.should_stop();
            if stop || step.is_multiple_of(saving.every_steps.max(1)) || report.since_saving(observer) >= saving.every_seconds {
                at.history = learner.history().cloned().unwrap_or_default();
                at.merged_steps = mean.n_steps();
                progress.save_with_arrays(step, &snapshot(&learner, &record)?, &at, mean.weights())?;
                report.saved(observer);
            }
        }
        if step < n_steps && observer.should_stop() {
            return Err(TrainError::Stopped { step, total: n_steps });
        }
    }
    let mut result = snapshot(&learner, &record)?;
    if let Some(weights) = mean.into_weights() {
        result.weights = weights;
    }
    result.write(out)?;
    if let Some(progress) = &progress {
        progress.clear()?;
    }
    let recent: Vec<f64> = at.recent_bits.iter().map(|bits| f64::from_bits(*bits)).collect();
    Ok(PretrainSummary {
        steps: n_steps,
        tokens: n_tokens,
        final_loss: recent.last().copied().unwrap_or(f64::NAN),
        mean_final_loss: recent.iter().sum::<f64>() / recent.len() as f64,
        total_tokens: record.tokens,
        flops: report.flops(n_tokens),
        skipped_steps: at.skipped_steps,
        validation: held_out,
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

/// What one step measured; sums are divided by the number of targets.
struct StepMeasures {
    cross_entropy: f64,
    squared_lse: f64,
    /// Per layer of experts, the losses weighted by the tokens of the passes, and slots per expert.
    routers: Vec<RouterFigures>,
    lr: f64,
    updated: Updated,
}

/// One step: gradients of all passes, each divided by the targets of the whole batch, then one update.
fn optimise(
    learner: &mut Learner,
    batch: &Batch,
    passes: &Passes,
    lr: f64,
    bound: Option<f64>,
) -> Result<StepMeasures, ParallelError> {
    let (Measured { cross_entropy, squared_lse, routers }, updated) = learner.step(batch, passes, lr, bound)?;
    Ok(StepMeasures { cross_entropy, squared_lse, routers, lr, updated })
}

#[cfg(test)]
mod tests;
