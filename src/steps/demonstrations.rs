//! `demonstrations`: problems with their answers, as conversations to finetune on.

use data::problem::{Demonstration, Problem, read_jsonl, write_jsonl};
use plan::{Place, Resources};

use super::problems::FILE;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::choices! {
    /// What the assistant says.
    pub enum Style {
        /// The answer alone.
        Answer = "answer",
        /// For arithmetic a worked line that ends in the answer.
        Worked = "worked",
    }
}

crate::params! {
    /// Parameters of [`Demonstrations`].
    pub struct Params {
        /// What the assistant says.
        style: Style = Style::Answer;
    }
}

/// See the module.
pub struct Demonstrations;

/// The file of conversations in the artifact.
pub(super) const CHATS: &str = "chats.jsonl";

/// The port for problems.
pub(super) const PROBLEMS: &[Port] =
    &[Port { name: "problems", accepts: &[ArtifactType::Problems], arity: Arity::One, doc: "Problems." }];

impl Step for Demonstrations {
    type Params = Params;

    fn about() -> About {
        About {
            name: "demonstrations",
            version: 1,
            doc: "Turns problems into conversations whose last turn is the right answer.",
            ports: PROBLEMS,
            positional: &["style"],
            output: ArtifactType::Chats,
            parts: &[],
            place: Place::Thread,
            resources: Resources::default(),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let style = match params.style {
            Style::Answer => Demonstration::Answer,
            Style::Worked => Demonstration::Worked,
        };
        let problems: Vec<Problem> = read_jsonl(&work.input("problems")?.path.join(FILE))?;
        let chats: Vec<_> = problems.iter().map(|problem| problem.demonstration(style)).collect();
        write_jsonl(&work.out(CHATS), &chats)?;
        Ok(Closing::from([("conversations".into(), chats.len() as f64)]))
    }
}
