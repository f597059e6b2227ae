//! From a recipe path and settings to a checked plan. It does not know what is done with the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cache::Store;
use plan::Plan;

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
    let evaluation =
        recipe::evaluate(&recipe, &world, super::registry(), &settings).map_err(|error| CliError::user(error.to_string()))?;
    stats.save()?;
    let plan = Plan::new(evaluation.steps.clone(), evaluation.outputs.clone()).map_err(|errors| {
        let lines = errors.iter().map(|error| format!("error: {}: {error}", error.site()));
        CliError::user(lines.collect::<Vec<_>>().join("\n"))
    })?;
    if plan.steps().is_empty() {
        return Err(CliError::user(format!("{recipe} declares no steps")));
    }
    Ok(Loaded { plan, evaluation, recipe, identity: identity.display().to_string(), base })
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
