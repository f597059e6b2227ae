//! `workbench logs`: what the steps of a run wrote, and how they failed.

use std::time::Duration;

use plan::Event;

use crate::error::CliError;
use crate::exec::journal::Tail;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run; the latest when left out.
    run: Option<String>,
    /// Only this step.
    #[arg(long, short)]
    step: Option<String>,
    /// Only steps that failed.
    #[arg(long)]
    failed: bool,
    /// Go on until the run ends.
    #[arg(long, short)]
    follow: bool,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let run = super::find_run(home, arguments.run.as_deref())?;
    let state = super::show::read_state(home, &run)?;
    let wanted = arguments.step.as_deref().map(|step| state.find(step)).transpose()?;
    let mut tail = Tail::open(&home.journal(&run))?;
    loop {
        let mut over = false;
        for record in tail.read()? {
            let (step, text) = match record.event {
                Event::Log { step, line } => (step, line),
                Event::StepFailed { step, error, .. } => (step, format!("failed: {error}")),
                Event::RunFinished { .. } => {
                    over = true;
                    continue;
                }
                _ => continue,
            };
            let failed = state.words.get(&step).is_some_and(|word| word.starts_with("failed"));
            if wanted.is_none_or(|wanted| wanted == step) && (!arguments.failed || failed) {
                let name = state.steps.get(step.0).map_or("?", |step| step.name.as_str());
                terminal::line(&format!("{} {name}: {text}", figures::time(record.time_ms)));
            }
        }
        if over || !arguments.follow {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
