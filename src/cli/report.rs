//! `workbench report`: prints the report that a run made, or names the page.

use fs_err as fs;

use super::show::read_state;
use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run; the latest when left out.
    run: Option<String>,
    /// Print the path of the page instead of the text.
    #[arg(long)]
    html: bool,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let state = read_state(home, &super::find_run(home, arguments.run.as_deref())?)?;
    let made = state.steps.iter().filter(|step| step.kind == "report").filter_map(|step| state.digests.get(&step.id));
    let Some(digest) = made.last() else {
        return Err(CliError::user(format!("run {} made no report", state.run)).hint("its recipe needs a `report` step that ran"));
    };
    let folder = home.open_store()?.artifact(digest);
    if arguments.html {
        terminal::line(&folder.join("report.html").display().to_string());
    } else {
        terminal::data(&fs::read_to_string(folder.join("report.md"))?);
    }
    Ok(())
}
