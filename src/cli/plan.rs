//! `workbench plan`: what a run would do, and why.

use super::load::{RecipeArguments, load};
use super::select::Selection;
use crate::error::CliError;
use crate::exec::foresight::{Verdict, foresee};
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    selection: Selection,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    let mut loaded = load(&arguments.recipe, &store)?;
    let wishes = arguments.selection.apply(&mut loaded.plan, &loaded.recipe)?;
    let plan = &loaded.plan;
    let verdicts = foresee(plan, &store, &loaded.identity)?;
    let mut rows = Vec::new();
    for (index, step) in plan.steps().iter().enumerate() {
        let id = plan::StepId(index);
        let name = |id: &plan::StepId| plan.step(*id).name.clone();
        let (mark, text) = match verdicts.get(&id) {
            None => ("unwanted", "no output needs it".to_owned()),
            Some(Verdict::Hit { key, .. }) if wishes.force.contains(&id) => {
                ("run", format!("forced; {} is in the store", key.short()))
            }
            Some(Verdict::Hit { key, .. }) => ("cached", key.short()),
            Some(Verdict::Miss { .. }) if wishes.accept.contains(&id) => {
                ("accept", "its last artifact is declared good".to_owned())
            }
            Some(Verdict::Miss { because: None, .. }) => ("run", "not run before under this name".to_owned()),
            Some(Verdict::Miss { because: Some(list), .. }) if list.is_empty() => {
                ("run", "its artifact is not in the store".to_owned())
            }
            Some(Verdict::Miss { because: Some(list), .. }) => {
                ("run", list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            Some(Verdict::Unknown { waits }) => {
                ("depends", format!("on {}", waits.iter().map(name).collect::<Vec<_>>().join(", ")))
            }
        };
        rows.push((step, id, mark, text));
    }
    if arguments.json {
        let list: Vec<_> = rows
            .iter()
            .map(|(step, id, mark, text)| {
                serde_json::json!({
                    "step": step.name, "kind": step.kind, "plan_id": plan.plan_id(*id), "verdict": mark, "why": text,
                    "site": step.site.to_string(), "params": step.params,
                })
            })
            .collect();
        terminal::line(&serde_json::to_string_pretty(&list).map_err(CliError::system)?);
        return Ok(());
    }
    let width = |get: &dyn Fn(&plan::StepDecl) -> usize| plan.steps().iter().map(get).max().unwrap_or(0);
    let (name, kind) = (width(&|step| step.name.len()), width(&|step| step.kind.len()));
    for (step, id, mark, text) in &rows {
        let plan_id = &plan.plan_id(*id).short()[..8];
        terminal::line(&format!("{mark:<8}  {:<name$}  {:<kind$}  {plan_id}  {text}", step.name, step.kind));
    }
    let count = |wanted: &str| rows.iter().filter(|(_, _, mark, _)| *mark == wanted).count();
    let (run, depends, cached) = (count("run"), count("depends"), count("cached"));
    terminal::line(&format!("{run} would run, {depends} depend on what these make, {cached} are cached"));
    Ok(())
}
