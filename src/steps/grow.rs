//! `grow`: makes a model wider or deeper without changing what it computes.

use lm::checkpoint::Checkpoint;
use lm::growth::verify::grow_verified;
use lm::growth::{Growth, KvHeads, NewBlocks, Placement};
use plan::{Place, Resources};

use super::tokens_input::carry_tokenizer;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// Where new blocks go.
    pub enum Where {
        /// After the existing ones.
        Append = "append",
        /// Each after the one it copies.
        Interleave = "interleave",
    }
}

crate::choices! {
    /// What new blocks compute.
    pub enum Blocks {
        /// Nothing at first: the loss is preserved.
        Identity = "identity",
        /// What the copied block computes: the loss is not preserved.
        Copy = "copy",
    }
}

crate::params! {
    /// Parameters of [`Grow`].
    pub struct Params {
        /// Factor of the width; 1 leaves it.
        width: u64 = 1, in 1.0..=64.0;
        /// Factor of the depth; 1 leaves it.
        depth: u64 = 1, in 1.0..=64.0;
        /// Factor of the heads alone; 1 leaves them.
        heads: u64 = 1, in 1.0..=64.0;
        /// Size of the noise that tells copies apart, relative to the weights; it does not change the loss.
        noise: f64 = 0.1, in 0.0..=10.0;
        /// Seed of the noise.
        seed: u64 = 0;
        /// Feed-forward width afterwards, of every expert if there are several; `()`: the factor times that before.
        intermediate_size: Option<u64> = None;
        /// Whether key and value heads multiply with the query heads.
        grow_kv_heads: bool = true;
        /// Where new blocks go.
        placement: Where = Where::Append;
        /// What new blocks compute.
        new_blocks: Blocks = Blocks::Identity;
    }
}

/// See the module.
pub struct Grow;

impl Step for Grow {
    type Params = Params;

    fn about() -> About {
        About {
            name: "grow",
            version: 2,
            doc: "Growth operators of Staged Training (Shen et al., arXiv 2203.06211) for every family: width by copies, depth by \
                  identity blocks, heads alone, hidden units alone, with the optimiser's state. The loss just after equals the loss just before; logits are compared before it is written.",
            ports: &[Port {
                name: "checkpoint",
                accepts: &[ArtifactType::Checkpoint],
                arity: Arity::One,
                doc: "The model to grow.",
            }],
            positional: &[],
            output: ArtifactType::Checkpoint,
            parts: &[],
            place: Place::Child,
            resources: Resources { cpus: 1, memory_mib: 2048, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        let grows = params.width > 1 || params.depth > 1 || params.heads > 1 || params.intermediate_size.is_some();
        if !grows {
            let message = "nothing grows; give `width: 2`, `depth: 2`, `heads: 2` or an `intermediate_size`";
            return Err(vec![ParamError::new("width", message)]);
        }
        if params.width > 1 && params.heads > 1 {
            return Err(vec![ParamError::new("heads", "`width` multiplies the heads already")]);
        }
        Ok(())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let input = work.input("checkpoint")?;
        let before = Checkpoint::read(&input.path).map_err(StepError::failed)?;
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let kv_heads = if params.grow_kv_heads { KvHeads::Grow } else { KvHeads::Keep };
        let mut operators = Vec::new();
        if params.heads > 1 {
            operators.push(Growth::Heads { factor: size(params.heads), noise: params.noise, seed: params.seed, kv_heads });
        }
        if let (1, Some(units)) = (params.width, params.intermediate_size) {
            operators.push(Growth::FeedForward { intermediate_size: size(units), seed: params.seed });
        }
        if params.width > 1 {
            operators.push(Growth::Width {
                factor: size(params.width),
                noise: params.noise,
                seed: params.seed,
                kv_heads,
                intermediate_size: params.intermediate_size.map(size),
            });
        }
        if params.depth > 1 {
            operators.push(Growth::Depth {
                factor: size(params.depth),
                placement: match params.placement {
                    Where::Append => Placement::Append,
                    Where::Interleave => Placement::Interleave,
                },
                new_blocks: match params.new_blocks {
                    Blocks::Identity => NewBlocks::Identity,
                    Blocks::Copy => NewBlocks::Copy,
                },
            });
        }
        let checkpoint = grow_verified(&before, &operators).map_err(StepError::failed)?;
        checkpoint.write(&work.out).map_err(StepError::failed)?;
        carry_tokenizer(&input.path, &work.out)?;
        Ok(Closing::from([("model/parameters".into(), checkpoint.config.n_parameters() as f64)]))
    }
}
