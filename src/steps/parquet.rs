//! `parquet`: documents from the rows of parquet files.

use data::source::parquet::read_parquet;
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::jsonl::{FILES, Params, patterns};
use super::{About, ArtifactType, Closing, Step, StepError, Work};

/// See the module.
pub struct Parquet;

impl Step for Parquet {
    type Params = Params;

    fn about() -> About {
        About {
            name: "parquet",
            version: 1,
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
        read_parquet(&patterns(work), &params.into(), &work.out, &DataObserver::new(work.reporter, "rows"))?;
        Ok(census(&work.out)?)
    }
}
