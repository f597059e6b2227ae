//! `rlvr`: reinforcement learning with rewards that a program verifies.

use data::problem::{Problem, read_jsonl};
use lm::checkpoint::Checkpoint;
use lm::generate::Sampling;
use lm::optim::AdamWConfig;
use lm::pretrain::Saving;
use lm::reward::ByVerifier;
use lm::rlvr::objective::{Advantage, Objective};
use lm::rlvr::{RlvrConfig, RlvrError, Task, Watch, ZeroVariance};
use lm::schedule::{Schedule, Shape};
use lm::sft::Start;
use plan::{Place, Resources};

use super::curve::Curve;
use super::pretrain::{SAVE_SECONDS, SAVE_STEPS};
use super::problems::FILE;
use super::tokens_input::chat;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// How rewards of a group become advantages.
    pub enum Baseline {
        /// Reward less the group's mean (Olmo 3).
        Centred = "centred",
        /// The same divided by the group's standard deviation (GRPO).
        Standard = "standard",
    }
}

crate::params! {
    /// Parameters of [`Rlvr`].
    pub struct Params {
        /// Steps; each samples and learns once.
        steps: u64 = 200, in 1.0..=1e7;
        /// Prompts per step.
        prompts: u64 = 32, in 1.0..=1e6;
        /// Answers per prompt.
        group: u64 = 8, in 2.0..=1e4;
        /// Rounds of further prompts while groups without contrast leave the batch short; 1 for none.
        rounds: u64 = 1, in 1.0..=1e3;
        /// Learning rate.
        lr: f64 = 3e-4, in 0.0..=10.0;
        /// Steps of linear warm-up.
        warmup: u64 = 20;
        /// AdamW's decay of the second moment; a long memory steadies updates from few prompts.
        beta2: f64 = 0.99, in 0.0..=1.0;
        /// Temperature of sampling; it also divides the learner's logits.
        temperature: f64 = 1.0, in 1e-6..=100.0;
        /// Longest answer, in tokens.
        max_new_tokens: u64 = 16, in 1.0..=1e6;
        /// The ratio of policies is clipped below at one minus this.
        clip_low: f64 = 0.2, in 0.0..=1.0;
        /// The ratio of policies is clipped above at one plus this.
        clip_high: f64 = 0.272, in 0.0..=10.0;
        /// Upper bound of the importance weight between sampler and learner; `()` for none.
        importance_cap: Option<f64> = Some(2.0), in 0.0..=1e6;
        /// Weight of the KL penalty towards the starting model.
        beta: f64 = 0.0, in 0.0..=100.0;
        /// How rewards become advantages.
        advantage: Baseline = Baseline::Centred;
        /// What a right answer is worth.
        reward: f64 = 10.0, in 0.0..=1e6;
        /// Reward of every answer that does not end; `()` for what the verifier says.
        non_stop_reward: Option<f64> = None;
        /// Updates per step.
        minibatches: u64 = 1, in 1.0..=1e4;
        /// Largest global gradient norm; `()` for no clipping.
        clip: Option<f64> = Some(1.0), in 0.0..=1e6;
        /// Tokens of a packed row.
        row: u64 = 128, in 8.0..=1e7;
        /// Packed rows per forward and backward pass.
        micro_batch: u64 = 32, in 1.0..=1e6;
        /// Steps between greedy answers to the held-out problems, for the curve; 0 for none.
        watch: u64 = 20;
        /// Decides prompts and samples.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct Rlvr;

impl Params {
    fn config(&self) -> RlvrConfig {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let base = RlvrConfig::default();
        RlvrConfig {
            steps: self.steps,
            prompts_per_step: size(self.prompts),
            samples_per_prompt: size(self.group),
            max_rounds: size(self.rounds),
            sampling: Sampling { temperature: self.temperature, max_new_tokens: size(self.max_new_tokens), ..base.sampling },
            objective: Objective {
                clip_low: self.clip_low,
                clip_high: self.clip_high,
                importance_cap: self.importance_cap,
                beta: self.beta,
                advantage: match self.advantage {
                    Baseline::Centred => Advantage::Centred,
                    Baseline::Standard => Advantage::Standardised,
                },
            },
            verification_reward: self.reward,
            non_stop_reward: self.non_stop_reward,
            zero_variance: ZeroVariance::Drop,
            minibatches: size(self.minibatches),
            schedule: Schedule { peak: self.lr, warmup: self.warmup, total: self.steps, shape: Shape::Constant, rewarm: None },
            optimizer: AdamWConfig { beta2: self.beta2, ..base.optimizer },
            max_grad_norm: self.clip,
            row_length: size(self.row),
            micro_batch_rows: size(self.micro_batch),
            seed: self.seed,
        }
    }
}

impl Step for Rlvr {
    type Params = Params;

    fn about() -> About {
        About {
            name: "rlvr",
            version: 2,
            doc: "Samples groups of answers with a key-value cache, lets each problem's verifier judge them, and makes the better ones \
                  likelier (GRPO as in Olmo 3: centred advantages, clip-higher, loss over the tokens of the batch, no KL unless asked).",
            ports: &[
                Port { name: "checkpoint", accepts: &[ArtifactType::Checkpoint], arity: Arity::One, doc: "The model to train." },
                Port { name: "problems", accepts: &[ArtifactType::Problems], arity: Arity::One, doc: "Problems to train on." },
                Port {
                    name: "held_out",
                    accepts: &[ArtifactType::Problems],
                    arity: Arity::Optional,
                    doc: "Problems to watch; they do not influence training.",
                },
            ],
            positional: &[],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        params.config().validate().map_err(|error| vec![ParamError::new("rlvr", error.to_string())])
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let input = work.input("checkpoint")?;
        let checkpoint = Checkpoint::read(&input.path).map_err(StepError::failed)?;
        let chat = chat(input, checkpoint.config.eos_token_id)?;
        let problems: Vec<Problem> = read_jsonl(&work.input("problems")?.path.join(FILE))?;
        let held_out: Vec<Problem> = match work.maybe("held_out") {
            Some(input) => read_jsonl(&input.path.join(FILE))?,
            None => Vec::new(),
        };
        let watch = (params.watch > 0 && !held_out.is_empty()).then_some(Watch { problems: &held_out, every: params.watch });
        let state = work.progress.join("state");
        fs_err::create_dir_all(&state)?;
        let saving = Saving { dir: &state, every_steps: SAVE_STEPS, every_seconds: SAVE_SECONDS };
        let mut curve = Curve::new(work, "steps");
        let device = work.one_device()?;
        let start = Start { checkpoint: &checkpoint, chat: &chat, device: &device };
        let task = Task { problems: &problems, reward: &ByVerifier, watch };
        let summary =
            lm::rlvr::rlvr(&params.config(), start, task, &work.out, Some(saving), &mut curve).map_err(|error| match error {
                RlvrError::Stopped { .. } => StepError::Interrupted,
                other => StepError::failed(other),
            })?;
        let points = curve.finish(&work.out)?;
        // Tokens of answers; every one is sampled once and learnt from once.
        let tokens: f64 = points
            .iter()
            .filter_map(|point| point.values.get("val/sequence_lengths"))
            .map(|mean| mean * (summary.samples as f64 / summary.steps.max(1) as f64))
            .sum::<f64>()
            .round();
        Ok(Closing::from([
            ("data/prompts".into(), summary.prompts as f64),
            ("data/samples".into(), summary.samples as f64),
            ("cost/tokens".into(), tokens),
            // Sampling is a forward pass, learning a forward and a backward one: four thirds of a training pass.
            ("cost/flops".into(), (tokens * checkpoint.config.flops_per_token(params.config().row_length) * 4.0 / 3.0).round()),
            ("model/parameters".into(), checkpoint.config.n_parameters() as f64),
        ]))
    }
}
