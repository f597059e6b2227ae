//! `merge`: the documents of several shards as one artifact.

use data::document::merge_documents;
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Merge`].
    pub struct Params {}
}

/// See the module.
pub struct Merge;

impl Step for Merge {
    type Params = Params;

    fn about() -> About {
        About {
            name: "merge",
            version: 1,
            doc: "The documents of all inputs, in their order: where shards that were curated apart meet, before what must see all of them \
                  (`dedup`, `mix`, `split`). The bytes do not depend on how documents were shared out.",
            ports: &[Port {
                name: "documents",
                accepts: &[ArtifactType::Documents],
                arity: Arity::Many,
                doc: "The shards, in order.",
            }],
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(_: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let inputs = work.all("documents");
        let paths: Vec<_> = inputs.iter().map(|input| input.path.as_path()).collect();
        merge_documents(&paths, &work.out, &DataObserver::new(work.reporter, "bytes"))?;
        Ok(census(&work.out)?)
    }
}
