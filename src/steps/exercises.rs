//! `exercises`: problems as plain documents, for the mathematics share of an annealing mix.

use data::document::{Document, DocumentWriter};
use data::problem::{Problem, read_jsonl};
use plan::{Place, Resources};

use super::bridge::census;
use super::demonstrations::PROBLEMS;
use super::problems::FILE;
use super::{About, ArtifactType, Closing, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Exercises`].
    pub struct Params {
        /// `source` of the documents.
        source: String = "exercises".to_owned();
        /// Problems in one document.
        per_document: u64 = 8, in 1.0..=1e6;
    }
}

/// See the module.
pub struct Exercises;

impl Step for Exercises {
    type Params = Params;

    fn about() -> About {
        About {
            name: "exercises",
            version: 1,
            doc: "Writes problems and answers as plain text, several to a document. There are no chat tags: a base model that has \
                  seen them emits them (Olmo 3 report, midtraining).",
            ports: PROBLEMS,
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources::default(),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let problems: Vec<Problem> = read_jsonl(&work.input("problems")?.path.join(FILE))?;
        let mut writer = DocumentWriter::create(&work.out)?;
        let size = usize::try_from(params.per_document).unwrap_or(usize::MAX);
        let texts = problems.chunks(size).enumerate().map(|(index, chunk)| {
            let lines = chunk.iter().map(|problem| {
                let answer = problem.worked.as_ref().unwrap_or(&problem.answer);
                format!("Question: {}\nAnswer: {answer}\n", problem.prompt())
            });
            let mut document = Document::new(format!("exercises-{index}"), lines.collect::<Vec<_>>().join("\n"), &params.source);
            document.metadata.insert("license".into(), "generated".into());
            document
        });
        writer.write(&texts.collect::<Vec<_>>())?;
        writer.finish()?;
        Ok(census(&work.out)?)
    }
}
