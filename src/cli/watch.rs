//! `workbench watch`: the dashboard over a run's journal, while it runs or afterwards; or a picture of it.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use plan::{Event, Record};

use crate::error::CliError;
use crate::exec::journal::{Tail, now_ms};
use crate::home::Home;
use crate::report::terminal;

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run; the latest when left out.
    run: Option<String>,
    /// Write a picture of the dashboard instead of showing it.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Select this step in the picture.
    #[arg(long, requires = "svg")]
    step: Option<String>,
    /// Columns of the picture.
    #[arg(long, default_value_t = 130, requires = "svg")]
    width: u16,
    /// Lines of the picture.
    #[arg(long, default_value_t = 42, requires = "svg")]
    height: u16,
    /// Seconds into the run at which the picture is taken; its end when left out.
    #[arg(long, requires = "svg")]
    at: Option<f64>,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let run = super::find_run(home, arguments.run.as_deref())?;
    let mut tail = Tail::open(&home.journal(&run))?;
    if let Some(path) = &arguments.svg {
        return picture(arguments, &tail.read()?, path);
    }
    if !terminal::is_interactive() {
        return Err(
            CliError::user("watch needs a terminal").hint("`workbench logs --follow` prints lines, `--svg FILE` draws a picture")
        );
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut pid = None;
        while let Ok(records) = tail.read() {
            let quiet = records.is_empty();
            for record in records {
                if let Event::RunStarted { pid: started, .. } = record.event {
                    pid = Some(started);
                }
                if sender.send(record).is_err() {
                    return;
                }
            }
            // Dropping the sender tells the dashboard that nothing more will come.
            if quiet && pid.is_some_and(|pid| !super::runs::is_alive(pid)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    dashboard(&receiver, tui::Mode::Watcher, tui::AtEnd::Stay, &|| {})
}

/// Shows the dashboard until the user or the run ends it.
pub(super) fn dashboard(
    receiver: &Receiver<Record>,
    mode: tui::Mode,
    at_end: tui::AtEnd,
    interrupt: &dyn Fn(),
) -> Result<(), CliError> {
    let colour = if terminal::wants_colour() { tui::Colour::On } else { tui::Colour::Off };
    let mut source = tui::app::from_channel(receiver);
    tui::App::new(tui::Options { mode, at_end, colour }).run(&mut source, interrupt, &now_ms)?;
    Ok(())
}

fn picture(arguments: &Arguments, records: &[Record], path: &std::path::Path) -> Result<(), CliError> {
    let mut state = tui::State::new();
    let start = records.first().map_or(0, |record| record.time_ms);
    let end = arguments.at.map_or(u64::MAX, |seconds| start + (seconds * 1e3) as u64);
    let mut now = start;
    for record in records.iter().take_while(|record| record.time_ms <= end) {
        now = record.time_ms;
        state.apply(record);
    }
    let mut ui = tui::Ui::default();
    if let Some(name) = &arguments.step {
        let found = state.steps().iter().find(|step| step.summary.name == *name);
        let step = found.ok_or_else(|| CliError::user(format!("the run has no step `{name}`")))?;
        ui.selected = Some(step.summary.id);
    }
    fs_err::write(path, tui::svg::render(&state, &ui, now, arguments.width, arguments.height))?;
    Ok(())
}
