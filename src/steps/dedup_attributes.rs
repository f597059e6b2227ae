//! `dedup_attributes`: what a dedup finds, as files of attributes like those of the Dolma toolkit.

use data::dedup::{Against, dedup};
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::dedup::{Params, figures};
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

/// See the module.
pub struct DedupAttributes;

impl Step for DedupAttributes {
    type Params = Params;

    fn about() -> About {
        About {
            name: "dedup_attributes",
            version: 1,
            doc: "The spans that `dedup` with these parameters finds, as rows of attributes in one file for each file of documents; \
                  with compat \"dolma-1.2\" the rows are those of the Dolma toolkit to the byte.",
            ports: DOCUMENTS,
            positional: &["by"],
            output: ArtifactType::Files,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        params.checked()
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let observer = DataObserver::new(work.reporter, "bytes");
        let compared = params.compared(Some(&params.attribute));
        let report = dedup(&work.input("documents")?.path, &work.out, &compared, Against::Itself, &observer)?;
        Ok(figures(&report))
    }
}
