//! `pretrain`: trains a model on token files, from scratch or from a checkpoint.

use lm::loader::batches::Change;
use lm::loader::recorded::Recorded;
use lm::loader::{Curriculum as LmCurriculum, Cycles, DocumentMask, Instances as LmInstances, LongDocuments, RepetitionFilter};
use lm::optim::AdamWConfig;
use lm::optim::rules::{Group as LmGroup, Rules, Trainable};
use lm::optim::skip::SkipStepConfig;
use lm::pretrain::{
    ClipWarmup, Data, OptimizerStart, PeakRate, Precision as LmPrecision, PretrainConfig, RateConfig, Saving, Start, TrainError,
    Unit as LmUnit, ValidationConfig,
};
use plan::{Place, Resources};

use super::curve::Curve;
use super::model::Model;
use super::tokens_input::{carry_tokenizer, held_out, ingredients, recorded};
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
        /// The second half of that cosine.
        HalfCosine = "half_cosine",
        /// Stays at the peak, then straight down over `decay`.
        Wsd = "wsd",
        /// `periods`, each of which ends in a decay.
        WsdS = "wsd_s",
        /// With the inverse square root.
        InverseSqrt = "inverse_sqrt",
        /// One curve of `parts` after another.
        Sequence = "sequence",
    }
}

crate::choices! {
    /// What lengths of the learning-rate curve count.
    pub enum Unit {
        /// Tokens.
        Tokens = "tokens",
        /// Steps.
        Steps = "steps",
    }
}

crate::choices! {
    /// What an instance is.
    pub enum Instances {
        /// Consecutive windows of files.
        Windows = "windows",
        /// Documents packed into sequences, best fit first.
        Packed = "packed",
        /// One document each.
        Padded = "padded",
        /// Pieces of documents of different lengths.
        Variable = "variable",
    }
}

crate::choices! {
    /// What becomes of documents longer than a sequence.
    pub enum Long {
        /// Their end is dropped.
        Truncate = "truncate",
        /// They become several.
        Fragment = "fragment",
    }
}

crate::choices! {
    /// The order of lengths.
    pub enum Curriculum {
        /// Shuffled.
        Natural = "natural",
        /// From short to long in cycles, odds by powers of two.
        GrowP2 = "grow_p2",
        /// From short to long in cycles, linear odds.
        GrowLinear = "grow_linear",
    }
}

crate::choices! {
    /// What is computed again in the backward pass.
    pub enum Recompute {
        /// Nothing.
        None = "none",
        /// Every block.
        Blocks = "blocks",
    }
}

crate::choices! {
    /// The numbers that matrices are multiplied in.
    pub enum Precision {
        /// 32-bit floats.
        F32 = "f32",
        /// bfloat16 with 32-bit sums.
        Bf16 = "bf16",
    }
}

crate::params! {
    /// A piece of a learning-rate curve.
    pub struct Part {
        /// Its curve.
        schedule: Shape;
        /// Its length; the last part goes on to the end.
        length: u64 = 0;
        /// Length of its warm-up from 0; the first part has that of the run.
        warmup: u64 = 0;
        /// The rate at its end, as a share of its peak, which is the last rate of the part before.
        floor: f64 = 0.1, in 0.0..=1.0;
        /// Length of the decay, for `wsd`.
        decay: u64 = 0;
    }
}

crate::params! {
    /// Parameters with a rate or decay of their own.
    pub struct Group {
        /// Globs of their names, such as `*.mlp.gate.weight`; each must match.
        params: Vec<String>;
        /// Multiple of the learning rate; `()` for 1.
        lr_factor: Option<f64> = None, in 0.0..=1e6;
        /// Decoupled weight decay; `()` for that of all others.
        weight_decay: Option<f64> = None, in 0.0..=10.0;
    }
}

crate::params! {
    /// Rows of parameters.
    pub struct Rows {
        /// Glob of their names; it must match.
        params: String;
        /// The first row: an entry of the first axis, such as an expert.
        start: u64;
        /// The row behind the last one.
        end: u64;
    }
}

crate::params! {
    /// A value from some token of the run on.
    pub struct Later {
        /// Tokens of the run after which it holds.
        after: u64, in 1.0..=1e15;
        /// The new value, in tokens.
        tokens: u64, in 2.0..=1e9;
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
        /// Other lengths from some token on, `#{ after, tokens }` each; windows keep their order when lengths divide each other.
        sequence_changes: Vec<Later> = Vec::new();
        /// Tokens of a batch, a multiple of the sequence; `()`: 4096, or those of the recorded batches.
        batch: Option<u64> = None, in 2.0..=1e9;
        /// Other batch sizes from some token on, `#{ after, tokens }` each.
        batch_changes: Vec<Later> = Vec::new();
        /// Whether a batch k times as large as the first has a learning rate sqrt(k) times as large.
        scale_lr_with_batch: bool = false;
        /// Sequences per forward and backward pass. The gradients of a batch are summed pass by pass in order, and experts are
        /// balanced within a pass, so this decides the bits of the result; threads and interruptions do not.
        micro_batch: u64 = 16, in 1.0..=1e6;
        /// Peak learning rate; `()` takes the rate the checkpoint reached.
        lr: Option<f64> = None, in 0.0..=10.0;
        /// The curve after the warm-up.
        schedule: Shape = Shape::Cosine;
        /// What `warmup`, `horizon`, `behind`, `rewarm`, `decay`, `periods`, `clip_warmup` and lengths of `parts` count.
        unit: Unit = Unit::Tokens;
        /// The rate at the end, as a share of the peak.
        floor: f64 = 0.1, in 0.0..=1.0;
        /// Length of the linear warm-up from 0.
        warmup: u64 = 0;
        /// Where the curve ends, counted from its own start; `()`: where this run ends.
        horizon: Option<u64> = None;
        /// Length of the curve that lies behind when this run starts.
        behind: u64 = 0;
        /// Length of the warm-up onto the curve when the run starts in its middle, for a grown model.
        rewarm: u64 = 0;
        /// Length of the decay, for `wsd`.
        decay: u64 = 0;
        /// Lengths of the periods, for `wsd_s`; the first holds the warm-up.
        periods: Vec<u64> = Vec::new();
        /// Share of each period that decays, for `wsd_s`.
        decay_share: f64 = 0.1, in 0.0..=1.0;
        /// The curves of a `sequence`.
        parts: Vec<Part> = Vec::new();
        /// Share of the batch that each token artifact gives; empty: by their sizes.
        ratios: Vec<f64> = Vec::new(), in 0.0..=1e12;
        /// Weight of the squared log-partition function; `()`: 1e-5, or 0 with recorded batches.
        z_loss: Option<f64> = None, in 0.0..=1.0;
        /// Weight of the load-balancing loss, for models with experts; `()`: 0.01, or 0 with recorded batches.
        load_balancing_loss: Option<f64> = None, in 0.0..=10.0;
        /// Weight of the z-loss of routers, for models with experts; `()`: 0.001, or 0 with recorded batches.
        router_z_loss: Option<f64> = None, in 0.0..=10.0;
        /// Largest global gradient norm; `()` for no clipping.
        clip: Option<f64> = Some(1.0), in 0.0..=1e6;
        /// Length, from the start of the curve, within which the bound is `clip_warmup_factor` times as large.
        clip_warmup: u64 = 0;
        /// See `clip_warmup`.
        clip_warmup_factor: f64 = 10.0, in 0.0..=1e6;
        /// Whether steps whose loss or gradient norm is far above those before are left out (SkipStepAdamW).
        skip_step: bool = false;
        /// Steps that a step is compared with; it takes half as many before one is left out.
        skip_window: u64 = 128, in 4.0..=1e6;
        /// Standard deviations above their mean at which a step is left out.
        skip_sigma: f64 = 6.0, in 0.0..=1e6;
        /// Decoupled weight decay, on everything but the input embedding.
        weight_decay: f64 = 0.1, in 0.0..=10.0;
        /// Whether the input embedding is decayed too, as in OLMoE.
        decay_embeddings: bool = false;
        /// Parameters with a rate or decay of their own, `#{ params, lr_factor, weight_decay }` each.
        groups: Vec<Group> = Vec::new();
        /// Globs of the names of parameters that stay as they are: no gradient, no decay, no moments. Each must match.
        freeze: Vec<String> = Vec::new();
        /// Rows that train of parameters whose other rows stay as they are, `#{ params, start, end }` each, also where `freeze`
        /// matches: of stacked experts and routers, a row is an expert.
        train_rows: Vec<Rows> = Vec::new();
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
        /// What an instance is.
        instances: Instances = Instances::Windows;
        /// What becomes of documents longer than a sequence, for `packed`.
        long_documents: Long = Long::Truncate;
        /// Consecutive files that are packed together, for `packed`.
        pack_group: u64 = 1, in 1.0..=1e6;
        /// Tokens of the shortest piece, a power of two, for `variable`; `sequence` is the longest.
        shortest: u64 = 256, in 2.0..=1e7;
        /// In which order lengths are seen, for `variable`.
        curriculum: Curriculum = Curriculum::Natural;
        /// How often a growing curriculum begins anew in an epoch.
        cycles: u64 = 8, in 1.0..=1e6;
        /// Whether every length gives as many batches, for a growing curriculum.
        balanced: bool = false;
        /// Windows are shuffled in groups of this many tokens, so that another `sequence` has the same order; `()`: the longest
        /// sequence of the run.
        max_sequence: Option<u64> = None, in 2.0..=1e7;
        /// Whether sequences in which a pattern of 1 to 13 tokens repeats 32 times are not trained on.
        filter_repetition: bool = false;
        /// Seed of a permutation of the files before they are cut (`random.Random(seed).shuffle`); `()`: as they are.
        file_order_seed: Option<u64> = None;
        /// Seed of the data order.
        seed: u64 = 34521;
        /// Seed of the weights, for a new model.
        init_seed: u64 = 0;
        /// Steps between measurements of the loss on `validation`; 0: at the end only.
        eval_every: u64 = 0;
        /// Tokens of each artifact of `validation` that are measured; `()`: all.
        eval_tokens: Option<u64> = None;
        /// The result is the mean of the weights after each of the last so many steps; 0: the last weights.
        merge_last: u64 = 0;
        /// What is computed again in the backward pass to need less memory. It changes no bit of the result.
        recompute: Recompute = Recompute::None;
        /// The numbers that matrices are multiplied in; everything else is 32-bit.
        precision: Precision = Precision::F32;
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

/// What is said of a run without `tokens`.
const NO_END: &str = "must be given: how many tokens to train on; only recorded batches have an end";

/// A count as the model room takes it.
fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Shape {
    /// The curve of a run or of a part of one.
    fn curve(self, floor: f64, decay: u64, params: &Params) -> lm::schedule::Shape {
        use lm::schedule::Shape as Lm;
        match self {
            Self::Constant => Lm::Constant,
            Self::Linear => Lm::Linear { floor },
            Self::Cosine => Lm::Cosine { floor },
            Self::HalfCosine => Lm::HalfCosine { floor },
            Self::Wsd => Lm::Wsd { decay, floor },
            Self::WsdS => Lm::WsdS { periods: params.periods.clone(), decay: params.decay_share, floor },
            Self::InverseSqrt => Lm::InverseSqrt { floor },
            Self::Sequence => {
                let part = |part: &Part| lm::schedule::Part {
                    length: part.length,
                    warmup: part.warmup,
                    shape: part.schedule.curve(part.floor, part.decay, params),
                };
                Lm::Sequence(params.parts.iter().map(part).collect())
            }
        }
    }
}

impl Params {
    /// The configuration; what is left open is that of the recorded batches, if it is those that are trained on.
    pub(super) fn config(&self, recorded: Option<Recorded>) -> Result<PretrainConfig, StepError> {
        let (sequence, batch) = recorded.map_or(SIZES, |r| (r.length as u64, r.batch_tokens()));
        let unless_recorded = |weight: f64| if recorded.is_some() { 0.0 } else { weight };
        let tokens = self.tokens.or(recorded.map(|r| r.tokens()));
        let tokens = tokens.ok_or_else(|| StepError::Failed(format!("`tokens` {NO_END}")))?;
        let changes = |changes: &[Later]| -> Vec<Change> {
            changes.iter().map(|change| Change { after_tokens: change.after, tokens: change.tokens }).collect()
        };
        Ok(PretrainConfig {
            sequence_length: size(self.sequence.unwrap_or(sequence)),
            batch_tokens: self.batch.unwrap_or(batch),
            total_tokens: tokens,
            batch_changes: changes(&self.batch_changes),
            length_changes: changes(&self.sequence_changes),
            micro_batch: size(self.micro_batch),
            rate: RateConfig {
                peak: self.lr.map_or(PeakRate::Reached, PeakRate::Rate),
                shape: self.schedule.curve(self.floor, self.decay, self),
                unit: match self.unit {
                    Unit::Tokens => LmUnit::Tokens,
                    Unit::Steps => LmUnit::Steps,
                },
                warmup: self.warmup,
                horizon: self.horizon,
                start: self.behind,
                rewarm: self.rewarm,
                scale_with_batch: self.scale_lr_with_batch,
            },
            optimizer: AdamWConfig { beta1: self.beta1, beta2: self.beta2, eps: self.eps, weight_decay: self.weight_decay },
            rules: self.rules(),
            optimizer_start: if self.keep_optimizer { OptimizerStart::Keep } else { OptimizerStart::Reset },
            skip_step: self.skip_step.then(|| SkipStepConfig {
                window: size(self.skip_window),
                min_history: size(self.skip_window / 2),
                sigma: self.skip_sigma,
            }),
            z_loss: self.z_loss.unwrap_or(unless_recorded(1e-5)),
            load_balancing_loss: self.load_balancing_loss.unwrap_or(unless_recorded(0.01)),
            router_z_loss: self.router_z_loss.unwrap_or(unless_recorded(0.001)),
            max_grad_norm: self.clip,
            clip_warmup: (self.clip_warmup > 0)
                .then_some(ClipWarmup { length: self.clip_warmup, factor: self.clip_warmup_factor }),
            seed: self.seed,
            document_mask: if self.within_documents { DocumentMask::Within } else { DocumentMask::None },
            instances: self.instances(),
            max_sequence_length: self.max_sequence.map(size),
            file_order_seed: self.file_order_seed,
            filter: self.filter_repetition.then(RepetitionFilter::default),
            validation: ValidationConfig { every_steps: self.eval_every, max_tokens: self.eval_tokens },
            merge_last: self.merge_last,
            recompute: match self.recompute {
                Recompute::None => lm::model::recompute::Recompute::None,
                Recompute::Blocks => lm::model::recompute::Recompute::Blocks,
            },
            precision: match self.precision {
                Precision::F32 => LmPrecision::F32,
                Precision::Bf16 => LmPrecision::Bf16,
            },
        })
    }

    fn rules(&self) -> Rules {
        let group = |group: &Group| LmGroup {
            params: group.params.clone(),
            lr_factor: group.lr_factor,
            weight_decay: group.weight_decay,
        };
        let frozen = self.freeze.iter().map(|glob| Trainable::nothing(glob));
        let rows = self.train_rows.iter().map(|rows| Trainable::rows(&rows.params, size(rows.start)..size(rows.end)));
        Rules {
            groups: self.groups.iter().map(group).collect(),
            trainable: frozen.chain(rows).collect(),
            decay_embeddings: self.decay_embeddings,
        }
    }

    fn instances(&self) -> LmInstances {
        let cycles = Cycles { n: size(self.cycles), balanced: self.balanced };
        match self.instances {
            Instances::Windows => LmInstances::Windows,
            Instances::Padded => LmInstances::Padded,
            Instances::Packed => LmInstances::Packed {
                long_documents: match self.long_documents {
                    Long::Truncate => LongDocuments::Truncate,
                    Long::Fragment => LongDocuments::Fragment,
                },
                group: size(self.pack_group),
            },
            Instances::Variable => LmInstances::Variable {
                shortest: size(self.shortest),
                curriculum: match self.curriculum {
                    Curriculum::Natural => LmCurriculum::Natural,
                    Curriculum::GrowP2 => LmCurriculum::GrowP2(cycles),
                    Curriculum::GrowLinear => LmCurriculum::GrowLinear(cycles),
                },
            },
        }
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
    Port {
        name: "validation",
        accepts: &[ArtifactType::Tokens],
        arity: Arity::Any,
        doc: "Held-out tokens whose loss is measured during training and at the end, `#{ validation: tokens }`; see `eval_every`.",
    },
];

impl Step for Pretrain {
    type Params = Params;

    fn about() -> About {
        About {
            name: "pretrain",
            version: 2,
            doc: "Trains on windows of tokens in OLMo-core's order with AdamW, from scratch (`pretrain(model, tokens, ...)`) or on \
                  from a checkpoint (`base.pretrain(tokens, ...)`); `batches(...)` as the tokens replays a recording. Bit-identical for any thread count and any interruption. The \
                  artifact is a Hugging Face folder with optimiser state and tokenizer.",
            ports: PORTS,
            positional: &["model"],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        check(params)
    }

    fn fits(params: &Params, connected: &[(&'static str, ArtifactType)]) -> Result<(), Vec<ParamError>> {
        let mut sources = connected.iter().filter(|(port, _)| *port == "tokens").peekable();
        // A source that is missing altogether is told as such.
        let endless = sources.peek().is_some() && !sources.any(|(_, source)| *source == ArtifactType::Batches);
        if params.tokens.is_none() && endless {
            return Err(vec![ParamError::new("tokens", NO_END)]);
        }
        Ok(())
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
    let curve = match params.schedule {
        Shape::WsdS if params.periods.is_empty() => Some(("periods", "must be given for `wsd_s`")),
        Shape::Sequence if params.parts.is_empty() => Some(("parts", "must be given for a `sequence`")),
        _ => None,
    };
    errors.extend(curve.map(|(path, message)| ParamError::new(path, message)));
    if params.parts.iter().any(|part| part.schedule == Shape::Sequence) {
        errors.push(ParamError::new("parts", "a sequence cannot hold another one"));
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
    let summary = lm::pretrain::pretrain_on(
        &work.devices()?,
        &config,
        &start,
        Data { training: ingredients(work, &params.ratios)?, validation: held_out(work)? },
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
        ("cost/flops".into(), summary.flops),
        ("model/parameters".into(), model.n_parameters() as f64),
        ("model/tokens seen".into(), summary.total_tokens as f64),
    ]);
    if params.skip_step {
        closing.insert("optim/steps skipped".into(), summary.skipped_steps as f64);
    }
    for (label, loss) in summary.validation {
        closing.insert(format!("eval/lm/{label}/CE loss"), loss);
        closing.insert(format!("eval/lm/{label}/PPL"), loss.exp());
    }
    Ok(closing)
}
