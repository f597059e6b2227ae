//! `seen`: a Bloom filter of what a set of documents holds, to compare others with.

use data::dedup::remember;
use plan::{Place, Resources};

use super::bridge::DataObserver;
use super::dedup::Params;
use super::tag::DOCUMENTS;
use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

/// The filter's file in the artifact.
pub(super) const FILE: &str = "seen.bloom";

/// See the module.
pub struct Seen;

impl Step for Seen {
    type Params = Params;

    fn about() -> About {
        About {
            name: "seen",
            version: 1,
            doc: "A Bloom filter of the documents, paragraphs, n-grams or fields of a corpus, for `dedup` of another one with the same \
                  parameters: `web.dedup(old.seen(\"paragraph\", #{ expected: 1e9 }), \"paragraph\")`. Needs `expected`.",
            ports: DOCUMENTS,
            positional: &["by"],
            output: ArtifactType::Seen,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        params.checked()?;
        match params.expected {
            None => Err(vec![ParamError::new("expected", "must be given: the number of keys to make room for")]),
            Some(_) => Ok(()),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let observer = DataObserver::new(work.reporter, "bytes");
        let file = work.out(FILE);
        let (read, entered) = remember(&work.input("documents")?.path, &file, &params.compared(None), &observer)?;
        Ok(Closing::from([
            ("documents".to_owned(), read.documents as f64),
            ("bytes".to_owned(), read.bytes as f64),
            ("keys".to_owned(), entered as f64),
            ("filter/bytes".to_owned(), fs_err::metadata(&file)?.len() as f64),
        ]))
    }
}
