//! `report`: one page of scores, curves and costs.

use plan::{Place, Resources};

use super::evaluate::SCORES;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work, curve};
use crate::report::page::{ModelScores, Report as Page, Stage};

crate::params! {
    /// Parameters of [`Report`].
    pub struct Params {
        /// Title of the page.
        title: String = "Report".to_owned();
        /// What each stage is called, in the order they are given.
        stages: Vec<String> = Vec::new();
    }
}

/// See the module.
pub struct Report;

/// What a report is made from, in the artifact.
pub const DATA: &str = "report.json";

/// Curves worth a chart.
const CURVES: [&str; 6] = [
    "train/CE loss",
    "optim/LR",
    "objective/verifiable_correct_rate",
    "eval/held_out_accuracy",
    "optim/total grad norm",
    "val/sequence_lengths",
];

impl Step for Report {
    type Params = Params;

    fn about() -> About {
        About {
            name: "report",
            version: 1,
            doc: "Puts the scores of all models, the curves, and what each stage cost (tokens, FLOPs, parameters) on one \
                  self-contained page, report.html, and in report.md. Wall times are no part of a reproducible artifact: `run` and \
                  `workbench report` add them from the record of each step.",
            ports: &[
                Port {
                    name: "scores",
                    accepts: &[ArtifactType::Scores],
                    arity: Arity::Many,
                    doc: "Scores, in the order of columns.",
                },
                Port {
                    name: "stages",
                    accepts: &[ArtifactType::Checkpoint],
                    arity: Arity::Any,
                    doc: "Checkpoints whose training is shown.",
                },
            ],
            positional: &["title"],
            output: ArtifactType::Report,
            parts: &[],
            place: Place::Thread,
            resources: Resources::default(),
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        if params.title.trim().is_empty() { Err(vec![ParamError::new("title", "is empty")]) } else { Ok(()) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let mut models = Vec::new();
        for input in work.all("scores") {
            models.push(serde_json::from_slice::<ModelScores>(&fs_err::read(input.path.join(SCORES))?)?);
        }
        let mut stages = Vec::new();
        for (index, input) in work.all("stages").into_iter().enumerate() {
            let label = params.stages.get(index).cloned().unwrap_or_else(|| format!("stage {}", index + 1));
            let points = curve::read(&input.path.join(curve::FILE))?;
            let line = |name: &str| {
                let line: Vec<_> = points.iter().filter_map(|point| Some((point.step, *point.values.get(name)?))).collect();
                (!line.is_empty()).then(|| (name.to_owned(), line))
            };
            let curves = CURVES.iter().filter_map(|name| line(name)).collect();
            stages.push(Stage { label, figures: input.metrics.clone(), curves, digest: input.digest.to_string() });
        }
        let page = Page { title: params.title, models, stages };
        fs_err::write(work.out(DATA), serde_json::to_vec_pretty(&page)?)?;
        fs_err::write(work.out("report.md"), page.markdown(None))?;
        fs_err::write(work.out("report.html"), page.html(None))?;
        Ok(Closing::from([("models".into(), page.models.len() as f64)]))
    }
}
