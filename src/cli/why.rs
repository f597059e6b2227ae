//! `workbench why`: which input, parameter or version makes a step run, or made it run last.

use std::collections::BTreeMap;

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
    /// Name of a step, a pattern with `*` and `?`, or a kind.
    step: String,
    /// Compare with a step of another run, also of another recipe, instead of with the last execution under this name.
    #[arg(long, value_name = "RUN[:STEP]")]
    against: Option<String>,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    let loaded = load(&arguments.recipe, &store)?;
    let plan = &loaded.plan;
    let found = plan.matching(&arguments.step);
    if found.is_empty() {
        return Err(no_such_step(plan, &loaded.recipe, &arguments.step));
    }
    let verdicts = foresee(plan, &store, &loaded.identity)?;
    for id in found {
        let step = plan.step(id);
        terminal::line(&format!("{} ({}, {})", step.name, step.kind, step.site));
        let history = History { home, loaded: &loaded, store: &store, verdicts: &verdicts };
        if let Some(other) = &arguments.against {
            history.against(id, other)?;
            continue;
        }
        match verdicts.get(&id) {
            None => terminal::line("  would not run: no output needs it"),
            Some(Verdict::Hit { key, .. }) => history.cached(id, *key)?,
            Some(Verdict::Miss { because, .. }) => {
                missing(because.as_deref());
                history.causes(id, because.as_deref().unwrap_or_default(), 6)?;
            }
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
fn unknown(loaded: &Loaded, verdicts: &BTreeMap<StepId, Verdict>, store: &cache::Store, id: StepId) -> Result<(), CliError> {
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

/// Most steps up the chain of causes that are told.
const DEEPEST: usize = 16;

/// What is known of earlier runs.
struct History<'a> {
    home: &'a Home,
    loaded: &'a Loaded,
    store: &'a cache::Store,
    verdicts: &'a BTreeMap<StepId, Verdict>,
}

impl History<'_> {
    /// The run that executed a key, when, and because of what.
    fn execution(&self, key: Key) -> Result<Option<(String, u64, Vec<Difference>)>, CliError> {
        for run in self.home.runs()?.into_iter().rev() {
            let records = Tail::open(&self.home.journal(&run)).and_then(|mut tail| tail.read()).unwrap_or_default();
            for record in records {
                match record.event {
                    Event::StepKeyed { key: other, hit: false, because, .. } if other == key => {
                        return Ok(Some((run, record.time_ms, because)));
                    }
                    Event::StepAccepted { key: other, differences, .. } if other == key => {
                        return Ok(Some((run, record.time_ms, differences)));
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// A cached step: nothing changed; what made it run last is in the journal of the run that executed it.
    fn cached(&self, id: StepId, key: Key) -> Result<(), CliError> {
        terminal::line(&format!("  would not run: {} is in the store", key.short()));
        if let Some(from) = self.store.manifest(&key)?.and_then(|manifest| manifest.provenance.accepted_from) {
            terminal::line(&format!("  its artifact was made for {} and declared good for this key", from.short()));
        }
        let name = &self.loaded.plan.step(id).name;
        if let Some((run, time_ms, because)) = self.execution(key)? {
            let when = figures::time(time_ms);
            if because.is_empty() {
                terminal::line(&format!("  executed in {run} at {when} UTC: {name} had not run before"));
            } else {
                terminal::line(&format!("  executed in {run} at {when} UTC because of"));
                because.iter().for_each(|difference| terminal::line(&format!("    {difference}")));
                self.causes(id, &because, 6)?;
            }
        }
        Ok(())
    }

    /// For each changed input: which step made it, in which run, and what had changed there; and so on up.
    fn causes(&self, id: StepId, because: &[Difference], indent: usize) -> Result<(), CliError> {
        if indent > 2 * DEEPEST {
            return Ok(());
        }
        for difference in because {
            let Difference::Input { port, after: Some(after), .. } = difference else { continue };
            let Some((from, key)) = self.maker(id, port, *after)? else { continue };
            let name = &self.loaded.plan.step(from).name;
            let pad = " ".repeat(indent);
            match self.execution(key)? {
                Some((run, _, because)) if because.is_empty() => {
                    terminal::line(&format!("{pad}{port} is made by {name}, which ran for the first time in {run}"));
                }
                Some((run, _, because)) => {
                    terminal::line(&format!("{pad}{port} is made by {name}, which ran in {run} because of"));
                    because.iter().for_each(|difference| terminal::line(&format!("{pad}  {difference}")));
                    self.causes(from, &because, indent + 2)?;
                }
                None => terminal::line(&format!("{pad}{port} is made by {name}")),
            }
        }
        Ok(())
    }

    /// The step that makes what a port takes, if that has this digest now, and its key.
    fn maker(&self, id: StepId, port: &str, digest: plan::Digest) -> Result<Option<(StepId, Key)>, CliError> {
        for input in self.loaded.plan.step(id).inputs.iter().filter(|input| input.port == port) {
            let plan::Source::Step(from) = input.source else { continue };
            if let Some(Verdict::Hit { key, .. }) = self.verdicts.get(&from)
                && let Some(manifest) = self.store.manifest(key)?
                && manifest.digest_of(input.part.as_deref()) == digest
            {
                return Ok(Some((from, *key)));
            }
        }
        Ok(None)
    }

    /// The step as it is asked now, beside a step of another run.
    fn against(&self, id: StepId, other: &str) -> Result<(), CliError> {
        let step = self.loaded.plan.step(id);
        let (run, name) = other.split_once(':').unwrap_or((other, &step.name));
        let run = super::find_run(self.home, Some(run))?;
        let state = super::show::read_state(self.home, &run)?;
        let there = state.find(name)?;
        let known = state.keys.get(&there).map(|key| self.store.preimage(key)).transpose()?.flatten();
        let Some(before) = known else {
            return Err(CliError::user(format!(
                "what `{name}` was asked in {run} is not known: its inputs were never ready, or it was collected"
            )));
        };
        let now = match self.verdicts.get(&id) {
            Some(Verdict::Hit { key, .. }) => self.store.preimage(key)?,
            Some(Verdict::Miss { preimage, .. }) => Some(*preimage.clone()),
            _ => None,
        };
        // Behind a miss the inputs are not known yet, everything else is.
        let now = now.unwrap_or_else(|| plan::Preimage {
            format: plan::key::FORMAT,
            kind: step.kind.clone(),
            version: step.version,
            params: step.params.clone(),
            inputs: before.inputs.clone(),
        });
        let found = now.differences(&before);
        if found.is_empty() {
            terminal::line(&format!("  asks the same as {name} in {run}"));
        } else {
            terminal::line(&format!("  differs from {name} in {run}:"));
            found.iter().for_each(|difference| terminal::line(&format!("    {difference}")));
            self.causes(id, &found, 6)?;
        }
        Ok(())
    }
}
