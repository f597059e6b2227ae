//! `sft`: finetunes a checkpoint on conversations.

use data::problem::{Conversation, read_jsonl};
use lm::checkpoint::Checkpoint;
use lm::pretrain::Saving;
use lm::schedule::Shape as RateShape;
use lm::sft::{SftConfig, SftError, Start};
use plan::{Place, Resources};

use super::curve::Curve;
use super::demonstrations::CHATS;
use super::pretrain::{SAVE_SECONDS, SAVE_STEPS};
use super::tokens_input::chat;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// The learning rate after the warm-up.
    pub enum Shape {
        /// Stays at the peak.
        Constant = "constant",
        /// Straight down to zero.
        Linear = "linear",
        /// Half a cosine down to zero.
        Cosine = "cosine",
    }
}

crate::params! {
    /// Parameters of [`Sft`].
    pub struct Params {
        /// Passes over the conversations.
        epochs: u64 = 2, in 1.0..=1e4;
        /// Conversations per update.
        batch: u64 = 32, in 1.0..=1e6;
        /// Peak learning rate.
        lr: f64 = 1e-3, in 0.0..=10.0;
        /// Share of the updates that warm up.
        warmup: f64 = 0.03, in 0.0..=1.0;
        /// The curve after the warm-up.
        schedule: Shape = Shape::Linear;
        /// Longer conversations lose their end, in tokens.
        max_length: u64 = 256, in 2.0..=1e7;
        /// Tokens of a packed row; at least `max_length`.
        row: u64 = 256, in 2.0..=1e7;
        /// Packed rows per forward and backward pass.
        micro_batch: u64 = 16, in 1.0..=1e6;
        /// Decoupled weight decay.
        weight_decay: f64 = 0.0, in 0.0..=10.0;
        /// Largest global gradient norm; `()` for no clipping.
        clip: Option<f64> = Some(1.0), in 0.0..=1e6;
        /// Decides the order of the conversations.
        seed: u64 = 42;
    }
}

/// See the module.
pub struct Sft;

impl Params {
    fn config(&self) -> SftConfig {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let base = SftConfig::default();
        SftConfig {
            epochs: self.epochs,
            batch_size: size(self.batch),
            max_length: size(self.max_length),
            row_length: size(self.row),
            micro_batch_rows: size(self.micro_batch),
            learning_rate: self.lr,
            warmup_fraction: self.warmup,
            shape: match self.schedule {
                Shape::Constant => RateShape::Constant,
                Shape::Linear => RateShape::Linear { floor: 0.0 },
                Shape::Cosine => RateShape::Cosine { floor: 0.0 },
            },
            optimizer: lm::optim::AdamWConfig { weight_decay: self.weight_decay, ..base.optimizer },
            max_grad_norm: self.clip,
            seed: self.seed,
            ..base
        }
    }
}

impl Step for Sft {
    type Params = Params;

    fn about() -> About {
        About {
            name: "sft",
            version: 2,
            doc: "Finetunes on conversations rendered with the Tulu chat template; the loss is on assistant tokens only and is their \
                  mean over the whole batch. Conversations are packed without seeing each other.",
            ports: &[
                Port {
                    name: "checkpoint",
                    accepts: &[ArtifactType::Checkpoint],
                    arity: Arity::One,
                    doc: "The model to finetune.",
                },
                Port { name: "chats", accepts: &[ArtifactType::Chats], arity: Arity::Many, doc: "Conversations." },
            ],
            positional: &[],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        params.config().validate().map_err(|error| vec![ParamError::new("sft", error.to_string())])
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let input = work.input("checkpoint")?;
        let checkpoint = Checkpoint::read(&input.path).map_err(StepError::failed)?;
        let chat = chat(input, checkpoint.config.eos_token_id)?;
        let mut conversations: Vec<Conversation> = Vec::new();
        for chats in work.all("chats") {
            conversations.extend(read_jsonl::<Conversation>(&chats.path.join(CHATS))?);
        }
        let state = work.progress.join("state");
        fs_err::create_dir_all(&state)?;
        let saving = Saving { dir: &state, every_steps: SAVE_STEPS, every_seconds: SAVE_SECONDS };
        let mut curve = Curve::new(work, "steps");
        let device = work.one_device()?;
        let start = Start { checkpoint: &checkpoint, chat: &chat, device: &device };
        let summary =
            lm::sft::sft(&params.config(), start, &conversations, &work.out, Some(saving), &mut curve).map_err(|error| {
                match error {
                    SftError::Stopped { .. } => StepError::Interrupted,
                    other => StepError::failed(other),
                }
            })?;
        curve.finish(&work.out)?;
        let tokens = (summary.counts.tokens * params.epochs) as f64;
        Ok(Closing::from([
            ("train/final CE loss".into(), summary.final_loss),
            ("data/conversations".into(), summary.counts.conversations as f64),
            ("data/truncated".into(), summary.counts.truncated as f64),
            ("data/dropped".into(), summary.counts.dropped as f64),
            ("data/trained tokens".into(), (summary.counts.trained_tokens * params.epochs) as f64),
            ("cost/tokens".into(), tokens),
            ("cost/flops".into(), tokens * checkpoint.config.flops_per_token(params.config().row_length)),
            ("model/parameters".into(), checkpoint.config.n_parameters() as f64),
        ]))
    }
}
