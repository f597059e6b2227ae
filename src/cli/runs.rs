//! `workbench runs`: the list of runs, read from their journals; and an end to the jobs of a run that was killed.

use plan::{Event, Record, RunStatus};

use crate::error::CliError;
use crate::exec::journal::Tail;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Cancel the jobs that a run left in a cluster's queue when it was killed; their progress is kept.
    #[arg(long, value_name = "RUN", conflicts_with = "json")]
    cancel: Option<String>,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    if let Some(run) = &arguments.cancel {
        return cancel(home, &super::find_run(home, Some(run))?);
    }
    let mut rows = Vec::new();
    for run in home.runs()? {
        let Ok(records) = Tail::open(&home.journal(&run)).and_then(|mut tail| tail.read()) else { continue };
        let Some(Record { time_ms, event: Event::RunStarted { recipe, pid, .. }, .. }) = records.first() else { continue };
        let (status, executed, hits, seconds) = match records.last().map(|record| (&record.event, record.time_ms)) {
            Some((Event::RunFinished { status, executed, hits, seconds, .. }, _)) => {
                let status = match status {
                    RunStatus::Succeeded => "succeeded",
                    RunStatus::Failed => "failed",
                    RunStatus::Interrupted => "interrupted",
                };
                (status, *executed, *hits, *seconds)
            }
            last => {
                let count = |hit: bool| {
                    let done = |record: &&Record| matches!(record.event, Event::StepFinished { hit: found, .. } if found == hit);
                    records.iter().filter(done).count() as u64
                };
                let seconds = last.map_or(0.0, |(_, at)| at.saturating_sub(*time_ms) as f64 / 1e3);
                (if is_alive(*pid) { "running" } else { "killed" }, count(false), count(true), seconds)
            }
        };
        rows.push((run, recipe.clone(), status, *time_ms, seconds, executed, hits));
    }
    if arguments.json {
        let list: Vec<_> = rows
            .iter()
            .map(|(run, recipe, status, started, seconds, executed, hits)| {
                serde_json::json!({ "run": run, "recipe": recipe, "status": status, "started_ms": started, "seconds": seconds,
                    "executed": executed, "cached": hits })
            })
            .collect();
        terminal::line(&serde_json::to_string_pretty(&list).map_err(CliError::system)?);
        return Ok(());
    }
    let width = rows.iter().map(|row| row.0.len()).max().unwrap_or(3);
    for (run, recipe, status, started, seconds, executed, hits) in rows {
        let (when, took) = (figures::time(started), figures::duration(seconds));
        terminal::line(&format!(
            "{run:<width$}  {status:<11}  {when}  {took:>12}  {executed:>4} executed  {hits:>4} cached  {recipe}"
        ));
    }
    Ok(())
}

fn cancel(home: &Home, run: &str) -> Result<(), CliError> {
    let steps = crate::exec::slurm::cancel(&home.open_store()?, run).map_err(CliError::system)?;
    match steps.is_empty() {
        true => terminal::line(&format!("run {run} has no jobs in a queue")),
        false => terminal::line(&format!("told the jobs of run {run} to stop: {}", steps.join(", "))),
    }
    Ok(())
}

/// Whether a process of this number exists on this host.
pub(super) fn is_alive(pid: u32) -> bool {
    // SAFETY: signal 0 only asks whether the process exists.
    i32::try_from(pid).is_ok_and(|pid| unsafe { libc::kill(pid, 0) } == 0)
}
