//! `merge_experts`: the public expert and the owners' experts in one model, without training.

use lm::checkpoint::Checkpoint;
use plan::{Place, Resources};

use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`MergeExperts`].
    pub struct Params {
        /// Experts a token goes to, of the public one and one per owner.
        experts_per_token: u64 = 2, in 1.0..=1e5;
    }
}

/// See the module.
pub struct MergeExperts;

impl Step for MergeExperts {
    type Params = Params;

    fn about() -> About {
        About {
            name: "merge_experts",
            version: 1,
            doc: "The mixture of the public expert and every owner's (FlexOlmo, arXiv 2507.07024): expert 0 is the public one, expert i that \
                  of the i-th checkpoint. All other weights must be the same bits in all of them; a tensor that is not is named.",
            ports: &[Port {
                name: "checkpoints",
                accepts: &[ArtifactType::Checkpoint],
                arity: Arity::Many,
                doc: "Mixtures of two that started from `add_expert` of one public model.",
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
        let owners = inputs.iter().map(|input| Checkpoint::read(&input.path)).collect::<Result<Vec<_>, _>>();
        let top_k = usize::try_from(params.experts_per_token).unwrap_or(usize::MAX);
        let merged = lm::flex::merge(&owners.map_err(StepError::failed)?, top_k).map_err(StepError::failed)?;
        super::add_expert::write(&merged, &inputs[0].path, work)
    }
}
