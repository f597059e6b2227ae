//! `dolma`: documents of the Dolma toolkit, with the attributes its taggers found.

use data::source::dolma::read_dolma;
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::jsonl::{Bad, Twice, care, closing, named};
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Dolma`].
    pub struct Params {
        /// A document that cannot be read: `"stop"` fails and names it, `"skip"` leaves it out and counts it, `"quarantine"` also keeps it
        /// in `quarantine.ndjson`. Its row of attributes is passed over.
        on_bad: Bad = Bad::Stop;
        /// A row whose id came before: `"keep"` does not look, `"count"`, `"rename"` appends `#2`, `"drop"`, `"stop"` fails and names it.
        duplicate_ids: Twice = Twice::Keep;
        /// Bytes of a line above which it is a bad row.
        max_line_bytes: u64 = 256 << 20, in 2.0..=4294967296.0;
    }
}

/// See the module.
pub struct Dolma;

impl Step for Dolma {
    type Params = Params;

    fn about() -> About {
        About {
            name: "dolma",
            version: 1,
            doc: "Documents of the Dolma toolkit, `dolma(\"corpus/documents/**\", #{ attributes: \"corpus/attributes/**\" })`, gzip, zstandard \
                  or plain. `P/attributes/NAME/F` belongs to `P/documents/F` and must have its rows, id by id; `export --format dolma` \
                  is the way back.",
            ports: &[
                Port {
                    name: "files",
                    accepts: &[ArtifactType::Files],
                    arity: Arity::Many,
                    doc: "Document files: globs relative to the recipe.",
                },
                Port {
                    name: "attributes",
                    accepts: &[ArtifactType::Files],
                    arity: Arity::Any,
                    doc: "Attribute files: globs relative to the recipe.",
                },
            ],
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let care = care(params.on_bad, params.duplicate_ids, params.max_line_bytes);
        let (documents, attributes) = (named(work, "files")?, named(work, "attributes")?);
        let observer = DataObserver::new(work.reporter, "bytes");
        let imported = read_dolma(&documents, &attributes, care, &work.out, &observer)?;
        closing(work, imported)
    }
}
