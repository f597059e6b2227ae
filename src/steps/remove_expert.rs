//! `remove_expert`: a model whose owner of one expert has opted out.

use lm::checkpoint::Checkpoint;
use plan::{Place, Resources};

use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`RemoveExpert`].
    pub struct Params {
        /// Which expert, from 0 (the public one).
        expert: u64, in 0.0..=1e5;
    }
}

/// See the module.
pub struct RemoveExpert;

impl Step for RemoveExpert {
    type Params = Params;

    fn about() -> About {
        About {
            name: "remove_expert",
            version: 1,
            doc: "The model without one of its experts: the expert's matrices and its row of every router are gone, the routers' softmax runs \
                  over the rest. The bits are those of a model the expert was never merged into, as long as the router was not trained \
                  after merging (FlexOlmo, arXiv 2507.07024).",
            ports: &[Port {
                name: "checkpoint",
                accepts: &[ArtifactType::Checkpoint],
                arity: Arity::One,
                doc: "A mixture of experts.",
            }],
            positional: &["expert"],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 1, memory_mib: 2048, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let input = work.input("checkpoint")?;
        let model = Checkpoint::read(&input.path).map_err(StepError::failed)?;
        let expert = usize::try_from(params.expert).unwrap_or(usize::MAX);
        let smaller = lm::flex::without(&model, expert).map_err(StepError::failed)?;
        super::add_expert::write(&smaller, &input.path, work)
    }
}
