//! `workbench report`: the report that a run made, with the wall time of each stage, which is no part of the artifact.

use std::path::PathBuf;

use fs_err as fs;

use super::show::{RunState, read_state};
use crate::error::CliError;
use crate::home::Home;
use crate::report::page::{Report, Seconds};
use crate::report::terminal;
use crate::steps::report::DATA;

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
    let Some(pages) = write(home, &state)? else {
        return Err(CliError::user(format!("run {} made no report", state.run)).hint("its recipe needs a `report` step that ran"));
    };
    if arguments.html {
        terminal::line(&pages.html.display().to_string());
    } else {
        terminal::data(&fs::read_to_string(pages.markdown)?);
    }
    Ok(())
}

/// Where a run's report lies.
pub(super) struct Pages {
    /// The page.
    pub html: PathBuf,
    /// The same as text.
    pub markdown: PathBuf,
}

/// Writes the last report of a run beside its journal, with wall times; none if the run made no report.
pub(super) fn write(home: &Home, state: &RunState) -> Result<Option<Pages>, CliError> {
    let mut made = state.steps.iter().filter(|step| step.kind == "report").filter_map(|step| state.digests.get(&step.id));
    let Some(digest) = made.next_back() else { return Ok(None) };
    let store = home.open_store()?;
    let text = fs::read(store.artifact(digest).join(DATA))?;
    let report: Report = serde_json::from_slice(&text).map_err(CliError::system)?;
    let mut seconds = Seconds::new();
    for key in state.keys.values() {
        if let Some(manifest) = store.manifest(key)? {
            seconds.insert(manifest.digest.to_string(), manifest.provenance.seconds);
        }
    }
    let folder = home.run_folder(&state.run);
    let pages = Pages { html: folder.join("report.html"), markdown: folder.join("report.md") };
    fs::write(&pages.html, report.html(Some(&seconds)))?;
    fs::write(&pages.markdown, report.markdown(Some(&seconds)))?;
    Ok(Some(pages))
}
