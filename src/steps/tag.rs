//! `tag`: adds what taggers find to documents, as Dolma attributes.

use data::tagger::{tag, taggers};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Tag`].
    pub struct Params {
        /// Taggers by name (`gopher_v1`) or by group (`gopher`).
        taggers: Vec<String>;
    }
}

/// See the module.
pub struct Tag;

/// The port for one set of documents.
pub(super) const DOCUMENTS: &[Port] =
    &[Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::One, doc: "Documents." }];

impl Step for Tag {
    type Params = Params;

    fn about() -> About {
        About {
            name: "tag",
            version: 1,
            doc: "Runs taggers over documents and keeps what they find as Dolma attributes, which a filter sees as \
                  `doc.gopher.word_count`, `doc.pii.count` and so on.",
            ports: DOCUMENTS,
            positional: &["taggers"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        // Group names become tagger names, so that a new default tagger of a group is a new key.
        let found = taggers(&params.taggers).map_err(|error| vec![ParamError::new("taggers", error.to_string())])?;
        params.taggers = found.iter().map(|tagger| tagger.name().to_owned()).collect();
        Ok(())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let found = taggers(&params.taggers)?;
        tag(&work.input("documents")?.path, &work.out, &found, &DataObserver::new(work.reporter, "bytes"))?;
        Ok(census(&work.out)?)
    }
}
