//! `text`: documents from text and Markdown files, one each.

use data::source::text::read_text;
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::jsonl::{FILES, patterns};
use super::{About, ArtifactType, Closing, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Text`].
    pub struct Params {
        /// `source` of all documents.
        source: String = "text".to_owned();
    }
}

/// See the module.
pub struct Text;

impl Step for Text {
    type Params = Params;

    fn about() -> About {
        About {
            name: "text",
            version: 1,
            doc: "Documents from text and Markdown files by glob, one document a file.",
            ports: FILES,
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        read_text(&patterns(work), &params.source, &work.out, &DataObserver::new(work.reporter, "files"))?;
        Ok(census(&work.out)?)
    }
}
