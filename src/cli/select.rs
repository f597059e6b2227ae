//! Which steps of a recipe are meant: the flags that `run` and `plan` share. It does not know what becomes of them.

use std::collections::BTreeSet;

use plan::{Plan, StepId};

use crate::error::CliError;
use crate::exec::Wishes;
use crate::steps::params::closest;

/// Flags that choose steps. A step is named, or a pattern with `*` and `?` is given; what matches no name can match a kind.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Selection {
    /// Want only these steps and what they need, instead of the recipe's outputs.
    #[arg(long, value_name = "STEP")]
    until: Vec<String>,
    /// Execute nothing but these steps; what they need must be in the store.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Execute these steps though the store has their artifacts; says whether the bytes are the same.
    #[arg(long, value_name = "STEP")]
    force: Vec<String>,
    /// Declare the artifacts of the last execution of these steps good for their new keys; the lineage records it.
    #[arg(long, value_name = "STEP")]
    accept: Vec<String>,
}

impl Selection {
    /// Narrows the plan and gives what is said of single steps.
    pub(super) fn apply(&self, plan: &mut Plan, recipe: &str) -> Result<Wishes, CliError> {
        let find = |patterns: &[String]| -> Result<BTreeSet<StepId>, CliError> {
            let mut found = BTreeSet::new();
            for pattern in patterns {
                let steps = plan.matching(pattern);
                if steps.is_empty() {
                    return Err(no_such_step(plan, recipe, pattern));
                }
                found.extend(steps);
            }
            Ok(found)
        };
        let (until, only) = (find(&self.until)?, find(&self.only)?);
        let wishes =
            Wishes { force: find(&self.force)?, accept: find(&self.accept)?, only: (!only.is_empty()).then(|| only.clone()) };
        let targets: Vec<StepId> = until.into_iter().chain(only).collect();
        if !targets.is_empty() {
            plan.want(&targets);
        }
        for (flag, steps) in [("force", &wishes.force), ("accept", &wishes.accept)] {
            if let Some(step) = steps.iter().find(|&&step| !plan.is_wanted(step)) {
                let name = &plan.step(*step).name;
                return Err(CliError::user(format!("`--{flag} {name}`: nothing that is wanted needs this step")));
            }
        }
        Ok(wishes)
    }
}

/// The error for a step that a recipe does not have.
pub(super) fn no_such_step(plan: &Plan, recipe: &str, text: &str) -> CliError {
    let names = plan.steps().iter().flat_map(|step| [step.name.as_str(), step.kind.as_str()]);
    let hint = match closest(text, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let mut names: Vec<_> = plan.steps().iter().map(|step| step.name.as_str()).take(40).collect();
            if plan.steps().len() > names.len() {
                names.push("...");
            }
            format!("there are: {}", names.join(", "))
        }
    };
    CliError::user(format!("{recipe} has no step `{text}`")).hint(hint)
}
