//! `jsonl`: documents from JSON-lines files, plain, gzip or zstandard.

use data::source::jsonl::{Fields, read_jsonl};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of the kinds that read rows.
    pub struct Params {
        /// The field of the text; dots reach into nested objects.
        text: String = "text".to_owned();
        /// The field of the id; rows without it are named by file and line.
        id: String = "id".to_owned();
        /// `source` of all documents; `()` takes each row's own.
        source: Option<String> = None;
    }
}

/// See the module.
pub struct Jsonl;

/// The port for files from outside.
pub(super) const FILES: &[Port] = &[Port {
    name: "files",
    accepts: &[ArtifactType::Files],
    arity: Arity::Many,
    doc: "Globs relative to the recipe, or a fetched file.",
}];

impl From<Params> for Fields {
    fn from(params: Params) -> Self {
        Self { text: params.text, id: params.id, source: params.source }
    }
}

/// The files of the port as patterns that match exactly them.
pub(super) fn patterns(work: &Work<'_>) -> Vec<String> {
    work.all("files").iter().map(|input| data::source::escape(&input.path.display().to_string())).collect()
}

impl Step for Jsonl {
    type Params = Params;

    fn about() -> About {
        About {
            name: "jsonl",
            version: 1,
            doc: "Documents from JSON-lines files (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`), one object a line.",
            ports: FILES,
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        read_jsonl(&patterns(work), &params.into(), &work.out, &DataObserver::new(work.reporter, "bytes"))?;
        Ok(census(&work.out)?)
    }
}
