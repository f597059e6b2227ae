//! `problems`: problems made from a seed, whose answers a program checks.

use data::problem::{Family, Level, Problem, ProblemMix, Split, write_jsonl};
use plan::{Place, Resources};

use super::{About, ArtifactType, Closing, ParamError, Step, StepError, Work};

crate::choices! {
    /// Which prompts may be drawn.
    pub enum Side {
        /// Nine prompts of ten.
        Train = "train",
        /// The others, never in training data.
        HeldOut = "held_out",
    }
}

crate::choices! {
    /// Size of operands and lists.
    pub enum Size {
        /// Numbers to 9, lists of three.
        Easy = "easy",
        /// Numbers to 99, lists of four.
        Medium = "medium",
        /// Numbers to 999, lists of six.
        Hard = "hard",
    }
}

crate::params! {
    /// Parameters of [`Problems`].
    pub struct Params {
        /// Number of different problems.
        n: u64, in 1.0..=1e8;
        /// Families by name, or the groups `arithmetic`, `strings`, `format`, `elementary` (what the smallest models can learn); one that is named twice is drawn twice as often.
        families: Vec<String> = vec!["arithmetic".into(), "strings".into(), "format".into()];
        /// Size of operands and lists.
        level: Size = Size::Easy;
        /// Which prompts may be drawn; a prompt's side depends on its text alone.
        split: Side = Side::Train;
        /// Decides which problems.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct Problems;

/// The file of problems in the artifact.
pub(super) const FILE: &str = "problems.jsonl";

fn families(names: &[String]) -> Result<Vec<Family>, Vec<ParamError>> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        match name.as_str() {
            "arithmetic" => found.extend(Family::ARITHMETIC),
            "strings" => found.extend(Family::STRINGS),
            "format" => found.extend(Family::FORMAT),
            "elementary" => found.extend(Family::ELEMENTARY),
            _ => match Family::from_name(name) {
                Some(family) => found.push(family),
                None => {
                    let known =
                        Family::ALL.iter().map(|family| family.as_str()).chain(["arithmetic", "strings", "format", "elementary"]);
                    errors.push(ParamError {
                        path: format!("families[{index}]"),
                        message: format!(
                            "there is no family `{name}`; there are: {}",
                            known.clone().collect::<Vec<_>>().join(", ")
                        ),
                        suggestion: super::params::closest(name, known),
                    });
                }
            },
        }
    }
    if found.is_empty() && errors.is_empty() {
        errors.push(ParamError::new("families", "names no family"));
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

impl Step for Problems {
    type Params = Params;

    fn about() -> About {
        About {
            name: "problems",
            version: 1,
            doc: "Problems made from a seed (arithmetic, strings, format) with a verifier each, all different, as JSON lines with \
                  `messages`, `ground_truth`, `dataset`.",
            ports: &[],
            positional: &["n"],
            output: ArtifactType::Problems,
            parts: &[],
            place: Place::Thread,
            resources: Resources::default(),
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        // Groups become their families, so that a new family in a group is a new key.
        params.families = families(&params.families)?.iter().map(|family| family.as_str().to_owned()).collect();
        Ok(())
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let families = families(&params.families).map_err(|errors| StepError::Failed(errors[0].to_string()))?;
        let level = match params.level {
            Size::Easy => Level::Easy,
            Size::Medium => Level::Medium,
            Size::Hard => Level::Hard,
        };
        let split = match params.split {
            Side::Train => Split::Train,
            Side::HeldOut => Split::HeldOut,
        };
        let n = usize::try_from(params.n).unwrap_or(usize::MAX);
        let problems = Problem::generate_distinct(&ProblemMix { families, level }, split, params.seed, n);
        write_jsonl(&work.out(FILE), &problems)?;
        let mut closing = Closing::from([("problems".into(), problems.len() as f64)]);
        for problem in &problems {
            *closing.entry(format!("family/{}", problem.family)).or_default() += 1.0;
        }
        Ok(closing)
    }
}
