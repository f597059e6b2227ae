//! `workbench run`: executes a recipe, with the dashboard on a terminal and one line per change elsewhere.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use lm::device::Devices;
use plan::{Limits, Record, Resources, RunStatus};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::executor::ExecutorArguments;
use super::load::{Loaded, RecipeArguments, load};
use super::select::Selection;
use crate::error::{CliError, Fault};
use crate::exec::journal::{Journal, Subscriber};
use crate::exec::{self, OnFailure, Outcome, RunConfig, Wishes, machine};
use crate::home::Home;
use crate::report::text::Printer;
use crate::report::{figures, terminal};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    selection: Selection,
    /// What tensors compute on: `cpu`, `cuda`, `cuda:1`, `cuda:0,1` (pretraining shares its batches between both) or `wgpu`. It
    /// is provenance: it does not enter any key.
    #[arg(long, default_value = "cpu", value_name = "NAME", value_parser = super::device::parse)]
    device: Devices,
    /// Threads that steps may use together; all by default.
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Memory that steps may use together, in MiB; all by default.
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// GPUs that steps may use together; those the driver shows by default.
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,
    /// Most of a named limit that steps may take together; 1 for limits that are not given.
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    limit: Vec<(String, u32)>,
    /// Bring artifacts that this store lacks from a remote store: s3://, gs://, az://, http(s):// or a folder.
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// After a failure, go on with whatever does not depend on it.
    #[arg(long, short = 'k')]
    keep_going: bool,
    /// Print one line per change, also on a terminal.
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Print one JSON object per event.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    executor: ExecutorArguments,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<ExitCode, CliError> {
    arguments.executor.check()?;
    // Before anything runs: a step that finds out is late.
    super::device::open(&arguments.device)?;
    let store = home.open_store()?;
    let mut loaded = load(&arguments.recipe, &store)?;
    let wishes = arguments.selection.apply(&mut loaded.plan, &loaded.recipe)?;
    for note in &loaded.evaluation.notes {
        terminal::note(note);
    }
    let stem = arguments.recipe.recipe.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
    let lease = store.lease()?;
    let run = home.new_run(&stem)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first asks to stop, a second ends the program at once; progress on disk is whole at any moment.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let elsewhere = arguments.executor.start(home, &run)?;
    let mut config = config(arguments, &loaded, wishes, store.clone(), run.clone(), stop.clone())?;
    if let Some((backend, capacity)) = elsewhere {
        (config.backend, config.capacity) = (Some(backend), capacity);
    }
    let path = home.journal(&run);
    let outcome = if arguments.json {
        let printer: Subscriber = Box::new(|record| {
            if let Ok(text) = serde_json::to_string(record) {
                terminal::line(&text);
            }
        });
        exec::execute(&loaded.plan, config, Journal::create(&path, vec![printer])?)?
    } else if arguments.plain || !terminal::is_interactive() {
        let mut printer = Printer::new();
        let subscriber: Subscriber = Box::new(move |record| printer.lines(record).iter().for_each(|line| terminal::line(line)));
        exec::execute(&loaded.plan, config, Journal::create(&path, vec![subscriber])?)?
    } else {
        with_dashboard(&loaded, config, &path, &stop)?
    };
    if !arguments.json {
        finish(&loaded, home, &run)?;
    }
    drop(lease);
    if !outcome.temporary.is_empty() {
        match store.drop_temps(&outcome.temporary) {
            Ok(freed) if freed.bytes == 0 => {}
            Ok(freed) => terminal::note(&format!("{} of temporary artifacts removed", figures::size(freed.bytes))),
            Err(error) => terminal::note(&format!("temporary artifacts stay for now: {error}")),
        }
    }
    match outcome.status {
        RunStatus::Succeeded => Ok(ExitCode::SUCCESS),
        RunStatus::Failed => Err(CliError {
            fault: Fault::Step,
            message: "some steps failed".into(),
            hint: Some(format!("`workbench logs {run} --failed` shows what they wrote; what succeeded is kept")),
        }),
        RunStatus::Interrupted => {
            let hint = Some("run it again to go on from there".into());
            Err(CliError { fault: Fault::Interrupted, message: "interrupted; nothing is lost".into(), hint })
        }
    }
}

fn config(
    arguments: &Arguments,
    loaded: &Loaded,
    wishes: Wishes,
    store: cache::Store,
    run: String,
    stop: Arc<AtomicBool>,
) -> Result<RunConfig, CliError> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let remote_store = store.clone();
    let settings = loaded.evaluation.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
    Ok(RunConfig {
        run,
        recipe: loaded.recipe.clone(),
        identity: loaded.identity.clone(),
        recipe_digest: loaded.evaluation.recipe_digest,
        settings,
        base: loaded.base.clone(),
        store,
        registry: super::registry(),
        program: std::env::current_exe()?,
        device: arguments.device.to_string(),
        capacity: Resources {
            cpus: arguments.threads.unwrap_or(threads),
            memory_mib: arguments.memory.unwrap_or_else(machine::total_memory_mib),
            gpus: match arguments.gpus {
                Some(gpus) => gpus,
                None if loaded.plan.steps().iter().any(|step| step.resources.gpus > 0) => {
                    machine::gpus().map_or(0, |gpus| gpus.len() as u32)
                }
                None => 0,
            },
        },
        limits: arguments.limit.iter().cloned().collect::<Limits>(),
        wishes,
        on_failure: if arguments.keep_going { OnFailure::KeepGoing } else { OnFailure::Stop },
        backend: None,
        remote: arguments.remote.as_deref().map(|url| cache::Remote::open(url, &remote_store)).transpose()?.map(Arc::new),
        stop,
    })
}

fn with_dashboard(
    loaded: &Loaded,
    config: RunConfig,
    journal: &std::path::Path,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome, CliError> {
    let (sender, receiver) = mpsc::channel::<Record>();
    // A dashboard that is gone hears nothing more; the run goes on.
    let subscriber: Subscriber = Box::new(move |record| drop(sender.send(record.clone())));
    let journal = Journal::create(journal, vec![subscriber])?;
    std::thread::scope(|scope| {
        let runner = scope.spawn(move || exec::execute(&loaded.plan, config, journal));
        let interrupt = || stop.store(true, Ordering::Relaxed);
        let shown = super::watch::dashboard(&receiver, tui::Mode::Owner, tui::AtEnd::Leave, &interrupt);
        let outcome = runner.join().map_err(|_| CliError::system("the dispatcher panicked; this is a mistake of the program"))?;
        shown?;
        Ok(outcome?)
    })
}

/// Reads `NAME=N`.
fn limit(text: &str) -> Result<(String, u32), String> {
    let wrong = || format!("`{text}` is not of the form NAME=N, with N from 1");
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    let number = number.trim().parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    Ok((name.trim().to_owned(), number))
}

/// After the run: where its outputs are.
fn finish(loaded: &Loaded, home: &Home, run: &str) -> Result<(), CliError> {
    let state = super::show::read_state(home, run)?;
    let store = home.open_store()?;
    for output in loaded.plan.outputs() {
        if let Some(digest) = state.digests.get(&output.step) {
            let name = &output.name;
            terminal::line(&format!("output {name}: {}", store.artifact(digest).display()));
        }
    }
    if let Some(sweep) = &loaded.sweep {
        let table = sweep.table(&state);
        terminal::data(&table.text());
        let folder = home.run_folder(run);
        for (name, text) in [("sweep.csv", table.csv()), ("sweep.html", table.html(run))] {
            fs_err::write(folder.join(name), text)?;
        }
        terminal::line(&format!("table and plot of the sweep: {}", folder.join("sweep.html").display()));
    }
    if let Some(pages) = super::report::write(home, &state)? {
        terminal::line(&format!("report with wall times: {}", pages.html.display()));
    }
    Ok(())
}
