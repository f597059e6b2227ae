//! `anneal`: trains a checkpoint on, its learning rate falling linearly to zero, on a mix of better data.

use plan::{Place, Resources};

use super::pretrain::{self, PORTS, Shape};
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
        /// Seed of the data order.
        seed: u64 = 42;
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
            seed: self.seed,
            ..base
        }
    }
}

impl Step for Anneal {
    type Params = Params;

    fn about() -> About {
        About {
            name: "anneal",
            version: 1,
            doc: "Trains a checkpoint on while the learning rate falls linearly from where it stands to zero (OLMo 2's second \
                  stage). Different seeds see the data in different orders; `average` makes a soup of them.",
            ports: PORTS,
            positional: &[],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 64, memory_mib: 2048 },
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
