//! `average`: a soup of checkpoints.

use plan::{Place, Resources};

use super::tokens_input::carry_tokenizer;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Average`].
    pub struct Params {
        /// Weight of each checkpoint; empty: equal weights.
        weights: Vec<f64> = Vec::new(), in 0.0..=1e12;
    }
}

/// See the module.
pub struct Average;

impl Step for Average {
    type Params = Params;

    fn about() -> About {
        About {
            name: "average",
            version: 1,
            doc: "The weighted mean of the weights of checkpoints of one shape and one growth history (model soup).",
            ports: &[Port {
                name: "checkpoints",
                accepts: &[ArtifactType::Checkpoint],
                arity: Arity::Many,
                doc: "What to average.",
            }],
            positional: &[],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 1, memory_mib: 2048, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let inputs = work.all("checkpoints");
        let dirs: Vec<_> = inputs.iter().map(|input| input.path.clone()).collect();
        let weights = (!params.weights.is_empty()).then_some(params.weights.as_slice());
        let checkpoint = lm::average::average(&dirs, weights).map_err(StepError::failed)?;
        checkpoint.write(&work.out).map_err(StepError::failed)?;
        carry_tokenizer(&dirs[0], &work.out)?;
        Ok(Closing::from([
            ("model/parameters".into(), checkpoint.config.n_parameters() as f64),
            ("checkpoints".into(), dirs.len() as f64),
        ]))
    }
}
