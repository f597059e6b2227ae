//! `merge_tokens`: the token files of several shards as one.

use data::shard::merge_tokens;
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::tokens_input::carry_tokenizer;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`MergeTokens`].
    pub struct Params {
        /// Ids after which a file is closed, at the end of a document.
        max_size: u64 = 1 << 30, in 1.0..=1e15;
    }
}

/// See the module.
pub struct MergeTokens;

impl Step for MergeTokens {
    type Params = Params;

    fn about() -> About {
        About {
            name: "merge_tokens",
            version: 1,
            doc: "One set of token files of several of one tokenizer, `shards.map(|shard| shard.tokenize(tok)).merge_tokens()`: the same \
                  token files, byte for byte, as the documents of all shards tokenised in one step; sidecars name the shard too.",
            ports: &[Port { name: "tokens", accepts: &[ArtifactType::Tokens], arity: Arity::Many, doc: "The shards, in order." }],
            positional: &[],
            output: ArtifactType::Tokens,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 1, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let inputs = work.all("tokens");
        let paths: Vec<_> = inputs.iter().map(|input| input.path.as_path()).collect();
        let meta = merge_tokens(&paths, params.max_size, &work.out, &DataObserver::new(work.reporter, "tokens"))?;
        if let Some(first) = paths.first() {
            carry_tokenizer(first, &work.out)?;
        }
        Ok(super::tokenize::closing(work, "tokens", &meta))
    }
}
