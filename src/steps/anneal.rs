//! `anneal`: trains a checkpoint on, its learning rate falling linearly to zero, on a mix of better data.

use plan::{Place, Resources};

use super::pretrain::{self, PORTS, Precision, Recompute, Shape};
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Anneal`].
    pub struct Params {
        /// Tokens to train on.
        tokens: u64, in 1.0..=1e15;
        /// Tokens of a sequence.
        sequence: u64 = 256, in 2.0..=1e7;
        /// Tokens of a batch, a multiple of the sequence.
        batch: u64 = 4096, in 2.0..=1e9;
        /// Sequences per forward and backward pass.
        micro_batch: u64 = 16, in 1.0..=1e6;
        /// Learning rate to begin with; `()` takes the one that the checkpoint reached.
        lr: Option<f64> = None, in 0.0..=10.0;
        /// Share of the batch that each token artifact gives; empty: by their sizes.
        ratios: Vec<f64> = Vec::new(), in 0.0..=1e12;
        /// Weight of the squared log-partition function.
        z_loss: f64 = 1e-5, in 0.0..=1.0;
        /// Weight of the load-balancing loss, for models with experts.
        load_balancing_loss: f64 = 0.01, in 0.0..=10.0;
        /// Weight of the z-loss of routers, for models with experts.
        router_z_loss: f64 = 0.001, in 0.0..=10.0;
        /// Whether steps whose loss or gradient norm is far above those before are left out (SkipStepAdamW).
        skip_step: bool = false;
        /// Whether the input embedding is decayed too, as in OLMoE.
        decay_embeddings: bool = false;
        /// Seed of the data order.
        seed: u64 = 42;
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
pub struct Anneal;

impl Params {
    fn pretrain(self) -> pretrain::Params {
        use super::params::ParamType;
        let base = pretrain::Params::from_value("", &plan::Value::Null).expect("every parameter has a default");
        pretrain::Params {
            tokens: Some(self.tokens),
            sequence: Some(self.sequence),
            batch: Some(self.batch),
            micro_batch: self.micro_batch,
            lr: self.lr,
            schedule: Shape::Linear,
            floor: 0.0,
            ratios: self.ratios,
            z_loss: Some(self.z_loss),
            load_balancing_loss: Some(self.load_balancing_loss),
            router_z_loss: Some(self.router_z_loss),
            skip_step: self.skip_step,
            decay_embeddings: self.decay_embeddings,
            seed: self.seed,
            eval_every: self.eval_every,
            eval_tokens: self.eval_tokens,
            merge_last: self.merge_last,
            recompute: self.recompute,
            precision: self.precision,
            ..base
        }
    }
}

impl Step for Anneal {
    type Params = Params;

    fn about() -> About {
        About {
            name: "anneal",
            version: 2,
            doc: "Trains a checkpoint on while the learning rate falls linearly from where it stands to zero (OLMo 2's second \
                  stage). Different seeds see the data in different orders; `average` makes a soup of them.",
            ports: PORTS,
            positional: &[],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 64, memory_mib: 2048, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        pretrain::check(&mut params.clone().pretrain())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        work.input("checkpoint")?;
        pretrain::train(&params.pretrain(), work)
    }
}
