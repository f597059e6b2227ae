//! `parquet`: documents from the rows of parquet files.

use data::source::parquet::read_parquet;
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::jsonl::{FILES, Params, care, closing, named};
use super::{About, ArtifactType, Closing, Step, StepError, Work};

/// See the module.
pub struct Parquet;

impl Step for Parquet {
    type Params = Params;

    fn about() -> About {
        About {
            name: "parquet",
            version: 2,
            doc: "Documents from the rows of parquet files.",
            ports: FILES,
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let care = care(params.on_bad, params.duplicate_ids, params.max_line_bytes);
        let observer = DataObserver::new(work.reporter, "bytes");
        let imported = read_parquet(&named(work, "files")?, &params.into(), care, &work.out, &observer)?;
        closing(work, imported)
    }
}
