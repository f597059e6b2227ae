//! `workbench why`: which input, parameter or version makes a step run, or made it run last.

use plan::{Difference, Event, Key, StepId};

use super::load::{Loaded, RecipeArguments, load};
use super::select::no_such_step;
use crate::error::CliError;
use crate::exec::foresight::{Verdict, foresee};
use crate::exec::journal::Tail;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Name of a step, or a kind.
    step: String,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    let loaded = load(&arguments.recipe, &store)?;
    let plan = &loaded.plan;
    let found = plan.find(&arguments.step);
    if found.is_empty() {
        return Err(no_such_step(plan, &loaded.recipe, &arguments.step));
    }
    let verdicts = foresee(plan, &store, &loaded.identity)?;
    for id in found {
        let step = plan.step(id);
        terminal::line(&format!("{} ({}, {})", step.name, step.kind, step.site));
        match verdicts.get(&id) {
            None => terminal::line("  would not run: no output needs it"),
            Some(Verdict::Hit { key, .. }) => cached(home, &loaded, id, *key)?,
            Some(Verdict::Miss { because, .. }) => missing(because.as_deref()),
            Some(Verdict::Unknown { .. }) => unknown(&loaded, &verdicts, &store, id)?,
        }
    }
    Ok(())
}

fn missing(because: Option<&[Difference]>) {
    match because {
        None => terminal::line("  would run: no step of this name has run from this recipe"),
        Some([]) => terminal::line("  would run: nothing changed, but its artifact is no longer in the store"),
        Some(list) => {
            terminal::line("  would run: since it last ran,");
            list.iter().for_each(|difference| terminal::line(&format!("    {difference}")));
        }
    }
}

/// A step behind a miss: what changed in itself is known already, what its inputs will be is not.
fn unknown(
    loaded: &Loaded,
    verdicts: &std::collections::BTreeMap<StepId, Verdict>,
    store: &cache::Store,
    id: StepId,
) -> Result<(), CliError> {
    let plan = &loaded.plan;
    let step = plan.step(id);
    if let Some(before) = store.recall(&loaded.identity, &step.name)? {
        let now = plan::Preimage {
            format: plan::key::FORMAT,
            kind: step.kind.clone(),
            version: step.version,
            params: step.params.clone(),
            inputs: before.inputs.clone(),
        };
        let own = now.differences(&before);
        if !own.is_empty() {
            missing(Some(&own));
        }
    }
    // Walk up to the steps whose own key is known and missing: they are the cause.
    let (mut stack, mut seen, mut causes) = (vec![id], std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    while let Some(next) = stack.pop() {
        if seen.insert(next) {
            match verdicts.get(&next) {
                Some(Verdict::Unknown { waits }) => stack.extend(waits),
                Some(Verdict::Miss { .. }) => drop(causes.insert(next)),
                _ => {}
            }
        }
    }
    let names: Vec<_> = causes.iter().map(|cause| plan.step(*cause).name.as_str()).collect();
    terminal::line(&format!("  depends on {}, which would run; if that yields the same bytes, this is cached", names.join(", ")));
    for cause in causes {
        terminal::line(&format!("{} ({}, {})", plan.step(cause).name, plan.step(cause).kind, plan.step(cause).site));
        if let Some(Verdict::Miss { because, .. }) = verdicts.get(&cause) {
            missing(because.as_deref());
        }
    }
    Ok(())
}

/// A cached step: nothing changed; what made it run last is in the journal of the run that executed it.
fn cached(home: &Home, loaded: &Loaded, id: StepId, key: Key) -> Result<(), CliError> {
    terminal::line(&format!("  would not run: {} is in the store", key.short()));
    let name = &loaded.plan.step(id).name;
    for run in home.runs()?.into_iter().rev() {
        let records = Tail::open(&home.journal(&run)).and_then(|mut tail| tail.read()).unwrap_or_default();
        for record in records {
            if let Event::StepKeyed { key: other, hit: false, because, .. } = record.event
                && other == key
            {
                let when = figures::time(record.time_ms);
                if because.is_empty() {
                    terminal::line(&format!("  executed in {run} at {when} UTC: {name} had not run before"));
                } else {
                    terminal::line(&format!("  executed in {run} at {when} UTC because of"));
                    because.iter().for_each(|difference| terminal::line(&format!("    {difference}")));
                }
                return Ok(());
            }
        }
    }
    Ok(())
}
