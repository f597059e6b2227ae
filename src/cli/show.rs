//! `workbench show`: a run's steps, or one step's artifact.

use std::collections::BTreeMap;

use plan::{Digest, Event, Key, Record, StepId, StepSummary};

use crate::error::CliError;
use crate::exec::journal::Tail;
use crate::home::Home;
use crate::report::{figures, terminal};
use crate::steps::params::closest;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A step's or output's name, or the beginning of a key; the whole run when left out.
    what: Option<String>,
    /// The run; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
}

/// What a run's journal says of its steps at this moment.
#[derive(Debug, Default)]
pub(super) struct RunState {
    /// Name of the run.
    pub run: String,
    /// Steps in plan order.
    pub steps: Vec<StepSummary>,
    /// Named outputs.
    pub outputs: Vec<(String, StepId)>,
    /// Latest word on each step.
    pub words: BTreeMap<StepId, String>,
    /// Keys of steps whose inputs are done.
    pub keys: BTreeMap<StepId, Key>,
    /// What came out of steps that are done.
    pub digests: BTreeMap<StepId, Digest>,
    /// Wall seconds of steps that are done.
    pub seconds: BTreeMap<StepId, f64>,
    /// Closing figures of steps that are done.
    pub metrics: BTreeMap<StepId, BTreeMap<String, f64>>,
}

/// Folds a run's journal.
pub(super) fn read_state(home: &Home, run: &str) -> Result<RunState, CliError> {
    let mut state = RunState { run: run.to_owned(), ..RunState::default() };
    for record in Tail::open(&home.journal(run))?.read()? {
        state.apply(record);
    }
    Ok(state)
}

/// What the text of a journal says; lines that are no records are skipped.
pub(super) fn fold(run: &str, journal: &[u8]) -> RunState {
    let mut state = RunState { run: run.to_owned(), ..RunState::default() };
    let lines = journal.split(|&byte| byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).for_each(|record| state.apply(record));
    state
}

impl RunState {
    fn apply(&mut self, record: Record) {
        match record.event {
            Event::RunStarted { steps, outputs, .. } => {
                self.steps = steps;
                self.outputs = outputs;
            }
            Event::StepKeyed { step, key, .. } => drop(self.keys.insert(step, key)),
            Event::StepStarted { step, .. } => self.say(step, "running"),
            Event::StepFinished { step, digest, hit, seconds, metrics, .. } => {
                self.say(step, if hit { "cached" } else { "executed" });
                self.digests.insert(step, digest);
                self.seconds.insert(step, seconds);
                self.metrics.insert(step, metrics);
            }
            Event::StepFailed { step, error, .. } => self.say(step, &format!("failed: {error}")),
            Event::StepBlocked { step, by } => {
                let by = self.steps.get(by.0).map(|step| step.name.clone()).unwrap_or_default();
                self.say(step, &format!("blocked by {by}"));
            }
            Event::StepInterrupted { step } => self.say(step, "interrupted"),
            Event::StepProgress { .. }
            | Event::StepRetried { .. }
            | Event::StepAccepted { .. }
            | Event::Metrics { .. }
            | Event::Log { .. }
            | Event::Machine(_)
            | Event::RunFinished { .. } => {}
        }
    }

    fn say(&mut self, step: StepId, word: &str) {
        self.words.insert(step, word.to_owned());
    }

    /// The step a user means by a step's or output's name, or by the beginning of a key.
    pub(super) fn find(&self, what: &str) -> Result<StepId, CliError> {
        if let Some((_, id)) = self.outputs.iter().find(|(name, _)| name == what) {
            return Ok(*id);
        }
        if let Some(step) = self.steps.iter().find(|step| step.name == what) {
            return Ok(step.id);
        }
        let mut of_kind = self.steps.iter().filter(|step| step.kind == what);
        if let (Some(step), None) = (of_kind.next(), of_kind.next()) {
            return Ok(step.id);
        }
        if let Some((id, _)) = self.keys.iter().find(|(_, key)| what.len() >= 4 && key.to_string().starts_with(what)) {
            return Ok(*id);
        }
        let names = self.steps.iter().map(|step| step.name.as_str()).chain(self.outputs.iter().map(|(name, _)| name.as_str()));
        let near = closest(what, names.clone());
        Err(CliError::user(format!("run {} has no step, output or key `{what}`", self.run)).hint(near.map_or_else(
            || {
                let mut told = std::collections::BTreeSet::new();
                // An output is often called as its step is.
                format!("there are: {}", names.filter(|name| told.insert(*name)).collect::<Vec<_>>().join(", "))
            },
            |near| format!("did you mean `{near}`?"),
        )))
    }

    /// What came out of a step.
    pub(super) fn digest(&self, id: StepId) -> Result<Digest, CliError> {
        self.digests.get(&id).copied().ok_or_else(|| {
            let name = &self.steps[id.0].name;
            let word = self.words.get(&id).map_or("waiting", String::as_str);
            CliError::user(format!("step `{name}` of run {} has no artifact: {word}", self.run))
        })
    }
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    // `show olmo2-3` means the run.
    let runs = home.runs()?;
    let named = arguments.what.as_deref().filter(|what| runs.iter().any(|run| run == what));
    let run = super::find_run(home, arguments.run.as_deref().or(named))?;
    let state = read_state(home, &run)?;
    match arguments.what.as_deref().filter(|what| named != Some(what)) {
        None => whole(&state),
        Some(what) => one(home, &state, state.find(what)?)?,
    }
    Ok(())
}

fn whole(state: &RunState) {
    terminal::line(&format!("run {}", state.run));
    let name = state.steps.iter().map(|step| step.name.len()).max().unwrap_or(4);
    let kind = state.steps.iter().map(|step| step.kind.len()).max().unwrap_or(4);
    for step in &state.steps {
        let word = state.words.get(&step.id).map_or(if step.wanted { "waiting" } else { "unwanted" }, String::as_str);
        let digest = state.digests.get(&step.id).map(Digest::short).unwrap_or_default();
        let seconds = state.seconds.get(&step.id).map(|seconds| figures::duration(*seconds)).unwrap_or_default();
        terminal::line(&format!("{:<name$}  {:<kind$}  {seconds:>12}  {digest:<12}  {word}", step.name, step.kind));
    }
    for (name, step) in &state.outputs {
        terminal::line(&format!("output {name}: {}", state.steps[step.0].name));
    }
}

fn one(home: &Home, state: &RunState, id: StepId) -> Result<(), CliError> {
    let store = home.open_store()?;
    let step = &state.steps[id.0];
    terminal::line(&format!("{}: {} version {}, declared at {}", step.name, step.kind, step.version, step.site));
    terminal::line(&format!("params {}", step.params));
    for (port, from) in &step.inputs {
        terminal::line(&format!("input {port}: {}", state.steps[from.0].name));
    }
    for (port, path) in &step.files {
        terminal::line(&format!("input {port}: {path}"));
    }
    let digest = state.digest(id)?;
    let Some(artifact) = state.keys.get(&id).map(|key| store.lookup(key)).transpose()?.flatten() else {
        return Err(
            CliError::user(format!("artifact {digest} is no longer in the store")).hint("run the recipe again to make it")
        );
    };
    let (manifest, made) = (&artifact.manifest, &artifact.manifest.provenance);
    terminal::line(&format!("key {}\ndigest {}\npath {}", manifest.key, manifest.digest, artifact.path.display()));
    terminal::line(&format!(
        "made in run {} at {} UTC in {} on {} ({}, {} threads)",
        made.run,
        figures::time(made.finished_ms),
        figures::duration(made.seconds),
        made.host,
        made.device,
        made.threads,
    ));
    for (name, value) in &manifest.metrics {
        terminal::line(&format!("metric {name} = {}", figures::number(*value)));
    }
    for file in &manifest.files {
        terminal::line(&format!("file {} {} {}", file.path, figures::size(file.bytes), file.digest.short()));
    }
    Ok(())
}
