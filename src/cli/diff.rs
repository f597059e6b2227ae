//! `workbench diff`: two runs side by side: which parameters differ, which steps gave other bytes, how results changed.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Preimage, StepSummary};

use super::show::{RunState, read_state};
use crate::error::CliError;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The first run.
    before: String,
    /// The second run; the latest when left out.
    after: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let before = read_state(home, &super::find_run(home, Some(&arguments.before))?)?;
    let after = read_state(home, &super::find_run(home, arguments.after.as_deref())?)?;
    let rows = compare(&before, &after);
    if arguments.json {
        let list: Vec<_> =
            rows.iter().map(|row| serde_json::json!({ "step": row.0, "what": row.1, "before": row.2, "after": row.3 })).collect();
        terminal::line(&serde_json::to_string_pretty(&list).map_err(CliError::system)?);
        return Ok(());
    }
    if rows.is_empty() {
        terminal::line(&format!("{} and {} have the same parameters, artifacts and results", before.run, after.run));
    }
    let mut last = "";
    for (step, what, old, new) in &rows {
        if last != step {
            terminal::line(step);
            last = step;
        }
        terminal::line(&format!("  {what}: {old} -> {new}"));
    }
    Ok(())
}

type Row = (String, String, String, String);

fn compare(before: &RunState, after: &RunState) -> Vec<Row> {
    let by_name = |state: &RunState| state.steps.iter().map(|step| (step.name.clone(), step.clone())).collect::<BTreeMap<_, _>>();
    let (old, new) = (by_name(before), by_name(after));
    let order: Vec<&String> = before.steps.iter().chain(&after.steps).map(|step| &step.name).collect();
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for name in order.into_iter().filter(|name| seen.insert(*name)) {
        let mut row = |what: String, old: String, new: String| rows.push((name.clone(), what, old, new));
        let (Some(a), Some(b)) = (old.get(name), new.get(name)) else {
            let there = |found: bool| if found { "present" } else { "absent" }.to_owned();
            row("step".into(), there(old.contains_key(name)), there(new.contains_key(name)));
            continue;
        };
        for difference in preimage(b).differences(&preimage(a)) {
            let text = difference.to_string();
            let (what, values) = text.split_once(": ").unwrap_or((&text, ""));
            let (from, to) = values.split_once(" -> ").unwrap_or((values, ""));
            row(what.to_owned(), from.to_owned(), to.to_owned());
        }
        let digest =
            |state: &RunState, step: &StepSummary| state.digests.get(&step.id).map_or("(none)".into(), plan::Digest::short);
        let (from, to) = (digest(before, a), digest(after, b));
        if from != to {
            row("artifact".into(), from, to);
        }
        let empty = BTreeMap::new();
        let (from, to) = (before.metrics.get(&a.id).unwrap_or(&empty), after.metrics.get(&b.id).unwrap_or(&empty));
        for metric in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
            let shown = |value: Option<&f64>| value.map_or("(absent)".into(), |value| figures::number(*value));
            if from.get(metric) != to.get(metric) {
                row(metric.clone(), shown(from.get(metric)), shown(to.get(metric)));
            }
        }
    }
    rows
}

fn preimage(step: &StepSummary) -> Preimage {
    let (kind, version, params) = (step.kind.clone(), step.version, step.params.clone());
    Preimage { format: plan::key::FORMAT, kind, version, params, inputs: Vec::new() }
}
