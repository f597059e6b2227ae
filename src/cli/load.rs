//! From a recipe path and settings to a checked plan. It does not know what is done with the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cache::Store;
use plan::Plan;

use super::sweep::{self, Sweep};
use crate::error::CliError;
use crate::recipe::{self, DiskWorld, Evaluation};

/// Which recipe, and its settings.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RecipeArguments {
    /// The recipe.
    pub recipe: PathBuf,
    /// Set a parameter of the recipe; may be given several times.
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Set parameters from a YAML file of `name: value`; `--set` goes before it.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Take the recipe under several values of a parameter, as one plan: V1,V2,... or FIRST..LAST; several make all combinations.
    #[arg(long, value_name = "NAME=VALUES")]
    pub sweep: Vec<String>,
}

/// A recipe that was evaluated.
pub(super) struct Loaded {
    /// Its checked plan.
    pub plan: Plan,
    /// Everything else the recipe told.
    pub evaluation: Evaluation,
    /// The recipe as the user gave it.
    pub recipe: String,
    /// The same whatever folder it is named from.
    pub identity: String,
    /// Its folder.
    pub base: PathBuf,
    /// What was swept.
    pub sweep: Option<Sweep>,
}

/// Evaluates a recipe and checks its plan.
pub(super) fn load(arguments: &RecipeArguments, store: &Store) -> Result<Loaded, CliError> {
    let path = &arguments.recipe;
    let mut settings = arguments.settings.as_deref().map(from_file).transpose()?.unwrap_or_default();
    for text in &arguments.set {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| CliError::user(format!("--set {text}: expected NAME=VALUE")).hint("for example: --set size=nano"))?;
        settings.insert(name.trim().to_owned(), value.to_owned());
    }
    let identity = path.canonicalize().map_err(|error| {
        CliError::user(format!("{}: {error}", path.display())).hint("recipes of this project are in recipes/*.rhai")
    })?;
    let base = identity.parent().unwrap_or(Path::new("/")).to_owned();
    let stats = cache::StatCache::open(store)?;
    let hash = |file: &Path| {
        let hash = cache::hash_file(file, &stats).map_err(|error| error.to_string())?;
        Ok((hash.digest, hash.bytes))
    };
    let world = DiskWorld::new(base.clone(), &hash);
    let recipe = path.display().to_string();
    let evaluate = |settings: &BTreeMap<String, String>| -> Result<(Plan, Evaluation), CliError> {
        let mut evaluation =
            recipe::evaluate(&recipe, &world, super::registry(), settings).map_err(|error| CliError::user(error.to_string()))?;
        let (steps, outputs) = (std::mem::take(&mut evaluation.steps), std::mem::take(&mut evaluation.outputs));
        let plan = checked(steps, outputs)?;
        if plan.steps().is_empty() {
            return Err(CliError::user(format!("{recipe} declares no steps")));
        }
        Ok((plan, evaluation))
    };
    let points = sweep::points(&arguments.sweep)?;
    let mut plans = Vec::new();
    let mut first = None;
    for point in points {
        let mut settings = settings.clone();
        settings.extend(point.iter().cloned());
        let (plan, evaluation) = evaluate(&settings)?;
        plans.push((point, plan));
        first.get_or_insert(evaluation);
    }
    let mut evaluation = first.expect("there is one combination at least");
    stats.save()?;
    let (plan, sweep) = if arguments.sweep.is_empty() {
        (plans.swap_remove(0).1, None)
    } else {
        let (steps, outputs, sweep) = sweep::merge(&plans);
        for param in &mut evaluation.params {
            let given = sweep.points.iter().filter_map(|point| point.iter().find(|(name, _)| *name == param.name));
            let mut values: Vec<&str> = given.map(|(_, value)| value.as_str()).collect();
            values.dedup();
            if !values.is_empty() {
                param.value = plan::Value::Str(values.join(","));
            }
        }
        (checked(steps, outputs)?, Some(sweep))
    };
    Ok(Loaded { plan, evaluation, recipe, identity: identity.display().to_string(), base, sweep })
}

fn checked(steps: Vec<plan::StepDecl>, outputs: Vec<plan::Output>) -> Result<Plan, CliError> {
    Plan::new(steps, outputs).map_err(|errors| {
        let lines = errors.iter().map(|error| format!("error: {}: {error}", error.site()));
        CliError::user(lines.collect::<Vec<_>>().join("\n"))
    })
}

/// Settings from a YAML file: a map of scalars, written as `--set` takes them.
fn from_file(path: &Path) -> Result<BTreeMap<String, String>, CliError> {
    let wrong = |reason: String| CliError::user(format!("{}: {reason}", path.display())).hint("write one `name: value` a line");
    let text = fs_err::read_to_string(path).map_err(|error| CliError::user(error.to_string()))?;
    let values: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let scalar = |(name, value): (String, serde_json::Value)| match value {
        serde_json::Value::String(text) => Ok((name, text)),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Ok((name, value.to_string())),
        other => Err(wrong(format!("`{name}` is {other}, and a string, number, true or false is expected"))),
    };
    values.into_iter().map(scalar).collect()
}
