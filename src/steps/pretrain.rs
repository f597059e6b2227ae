//! `pretrain`: trains a model on token files, from scratch or from a checkpoint.

use lm::loader::DocumentMask;
use lm::loader::recorded::Recorded;
use lm::optim::AdamWConfig;
use lm::pretrain::{OptimizerStart, PeakRate, PretrainConfig, RateConfig, RateShape, Saving, Start, TrainError};
use plan::{Place, Resources};

use super::curve::Curve;
use super::model::Model;
use super::tokens_input::{carry_tokenizer, ingredients, recorded};
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// The learning rate after the warm-up.
    pub enum Shape {
        /// Stays at the peak.
        Constant = "constant",
        /// Straight down to the floor.
        Linear = "linear",
        /// Half a cosine down to the floor.
        Cosine = "cosine",
        /// Stays at the peak, then straight down over `decay` tokens.
        Wsd = "wsd",
    }
}

crate::params! {
    /// Parameters of [`Pretrain`].
    pub struct Params {
        /// The model to begin with, as `olmo2::model(size)` gives it; `()` when training goes on from a checkpoint.
        model: Option<Model> = None;
        /// Tokens to train on; `()`: all recorded batches, if they are what is trained on.
        tokens: Option<u64> = None, in 1.0..=1e15;
        /// Tokens of a sequence; `()`: 256, or those of the recorded batches.
        sequence: Option<u64> = None, in 2.0..=1e7;
        /// Tokens of a batch, a multiple of the sequence; `()`: 4096, or those of the recorded batches.
        batch: Option<u64> = None, in 2.0..=1e9;
        /// Sequences per forward and backward pass; the gradients of a batch are summed in this order.
        micro_batch: u64 = 16, in 1.0..=1e6;
        /// Peak learning rate; `()` takes the rate the checkpoint reached.
        lr: Option<f64> = None, in 0.0..=10.0;
        /// The curve after the warm-up.
        schedule: Shape = Shape::Cosine;
        /// The rate at the end, as a share of the peak.
        floor: f64 = 0.1, in 0.0..=1.0;
        /// Tokens of linear warm-up.
        warmup: u64 = 0;
        /// Tokens at which the curve ends, counted from its own start; `()`: where this run ends.
        horizon: Option<u64> = None;
        /// Tokens of the curve that lie behind when this run starts.
        behind: u64 = 0;
        /// Tokens of warm-up onto the curve when the run starts in its middle, for a grown model.
        rewarm: u64 = 0;
        /// Tokens of the decay, for `wsd`.
        decay: u64 = 0;
        /// Share of the batch that each token artifact gives; empty: by their sizes.
        ratios: Vec<f64> = Vec::new(), in 0.0..=1e12;
        /// Weight of the squared log-partition function; `()`: 1e-5, or 0 with recorded batches.
        z_loss: Option<f64> = None, in 0.0..=1.0;
        /// Largest global gradient norm; `()` for no clipping.
        clip: Option<f64> = Some(1.0), in 0.0..=1e6;
        /// Decoupled weight decay, on everything but the input embedding.
        weight_decay: f64 = 0.1, in 0.0..=10.0;
        /// AdamW's decay of the first moment.
        beta1: f64 = 0.9, in 0.0..=1.0;
        /// AdamW's decay of the second moment.
        beta2: f64 = 0.95, in 0.0..=1.0;
        /// AdamW's epsilon.
        eps: f64 = 1e-8, in 0.0..=1.0;
        /// Whether the checkpoint's optimiser state is used.
        keep_optimizer: bool = true;
        /// Whether attention stays inside documents.
        within_documents: bool = false;
        /// Seed of the data order.
        seed: u64 = 34521;
        /// Seed of the weights, for a new model.
        init_seed: u64 = 0;
    }
}

/// See the module.
pub struct Pretrain;

/// Steps and seconds between saved states; neither decides a result.
pub(super) const SAVE_STEPS: u64 = 1000;
/// See [`SAVE_STEPS`].
pub(super) const SAVE_SECONDS: f64 = 20.0;

/// Tokens of a sequence and of a batch, where neither recipe nor recording says.
const SIZES: (u64, u64) = (256, 4096);

impl Params {
    /// The configuration; what is left open is that of the recorded batches, if it is those that are trained on.
    pub(super) fn config(&self, recorded: Option<Recorded>) -> Result<PretrainConfig, StepError> {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let (sequence, batch) = recorded.map_or(SIZES, |r| (r.length as u64, r.batch_tokens()));
        let tokens = self.tokens.or(recorded.map(|r| r.tokens()));
        let tokens = tokens.ok_or_else(|| {
            StepError::Failed("`tokens` must be given: how many tokens to train on; only recorded batches have an end".into())
        })?;
        Ok(PretrainConfig {
            sequence_length: size(self.sequence.unwrap_or(sequence)),
            batch_tokens: self.batch.unwrap_or(batch),
            total_tokens: tokens,
            micro_batch: size(self.micro_batch),
            rate: RateConfig {
                peak: self.lr.map_or(PeakRate::Reached, PeakRate::Rate),
                shape: match self.schedule {
                    Shape::Constant => RateShape::Constant,
                    Shape::Linear => RateShape::Linear { floor: self.floor },
                    Shape::Cosine => RateShape::Cosine { floor: self.floor },
                    Shape::Wsd => RateShape::Wsd { decay_tokens: self.decay, floor: self.floor },
                },
                warmup_tokens: self.warmup,
                horizon_tokens: self.horizon,
                start_tokens: self.behind,
                rewarm_tokens: self.rewarm,
            },
            optimizer: AdamWConfig { beta1: self.beta1, beta2: self.beta2, eps: self.eps, weight_decay: self.weight_decay },
            optimizer_start: if self.keep_optimizer { OptimizerStart::Keep } else { OptimizerStart::Reset },
            z_loss: self.z_loss.unwrap_or(if recorded.is_some() { 0.0 } else { 1e-5 }),
            max_grad_norm: self.clip,
            seed: self.seed,
            document_mask: if self.within_documents { DocumentMask::Within } else { DocumentMask::None },
        })
    }
}

impl From<TrainError> for StepError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Stopped { .. } => Self::Interrupted,
            other => Self::failed(other),
        }
    }
}

/// Ports of the kinds that train on tokens.
pub(super) const PORTS: &[Port] = &[
    Port {
        name: "checkpoint",
        accepts: &[ArtifactType::Checkpoint],
        arity: Arity::Optional,
        doc: "Where training goes on; without it a new `model` is made.",
    },
    Port {
        name: "tokens",
        accepts: &[ArtifactType::Tokens, ArtifactType::Batches],
        arity: Arity::Many,
        doc: "What to train on: token files, or recorded batches as they are.",
    },
];

impl Step for Pretrain {
    type Params = Params;

    fn about() -> About {
        About {
            name: "pretrain",
            version: 1,
            doc: "Trains on windows of tokens in OLMo-core's order with AdamW, from scratch (`pretrain(model, tokens, ...)`) or on \
                  from a checkpoint (`base.pretrain(tokens, ...)`); `batches(...)` as the tokens replays a recording. Bit-identical for any thread count and any interruption. The \
                  artifact is a Hugging Face folder with optimiser state and tokenizer.",
            ports: PORTS,
            positional: &["model"],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 64, memory_mib: 2048 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        check(params)
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        train(&params, work)
    }
}

/// What is wrong with parameters together.
pub(super) fn check(params: &mut Params) -> Result<(), Vec<ParamError>> {
    let mut errors = Vec::new();
    let (sequence, batch) = (params.sequence.unwrap_or(SIZES.0), params.batch.unwrap_or(SIZES.1));
    if (params.batch.is_some() || params.sequence.is_some()) && !batch.is_multiple_of(sequence.max(1)) {
        let text = format!("{batch} tokens are not a whole number of sequences of {sequence}");
        errors.push(ParamError::new("batch", text));
    }
    if let Some(model) = &params.model {
        errors.extend(model.check("model"));
        if params.lr.is_none() {
            errors.push(ParamError::new("lr", "must be given for a new model"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Trains and writes the checkpoint.
pub(super) fn train(params: &Params, work: &Work<'_>) -> Result<Closing, StepError> {
    let tokens = work.input("tokens")?;
    let config = params.config(recorded(work)?)?;
    let (start, tokenizer) = match (work.maybe("checkpoint"), &params.model) {
        (Some(checkpoint), _) => (Start::Checkpoint(checkpoint.path.clone()), &checkpoint.path),
        (None, Some(model)) => {
            let config = model.config(&tokens.path).map_err(StepError::Failed)?;
            (Start::Fresh { config, seed: params.init_seed }, &tokens.path)
        }
        (None, None) => return Err(StepError::Failed("there is neither a checkpoint nor a `model` to train".into())),
    };
    let state = work.progress.join("state");
    fs_err::create_dir_all(&state)?;
    let saving = Saving { dir: &state, every_steps: SAVE_STEPS, every_seconds: SAVE_SECONDS };
    let mut curve = Curve::new(work, "tokens");
    let summary = lm::pretrain::pretrain(
        &config,
        &start,
        ingredients(work, &params.ratios)?,
        &work.out,
        Some(saving),
        &mut curve,
    )?;
    carry_tokenizer(tokenizer, &work.out)?;
    if work.out("tokenizer.json").exists() && !work.out("tokenizer_config.json").exists() {
        super::model::write_tokenizer_config(&work.out)?;
    }
    curve.finish(&work.out)?;
    let model = super::model::read_config(&work.out)?;
    let mut closing = super::bridge::provenance_figures(&tokens.metrics);
    closing.extend([
        ("train/final CE loss".into(), summary.mean_final_loss),
        ("cost/tokens".into(), summary.tokens as f64),
        ("cost/flops".into(), summary.tokens as f64 * model.flops_per_token(config.sequence_length)),
        ("model/parameters".into(), model.n_parameters() as f64),
        ("model/tokens seen".into(), summary.total_tokens as f64),
    ]);
    Ok(closing)
}
