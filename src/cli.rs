//! The command line: flags to typed arguments, one file per command. The only reader of the environment. It does not know how
//! commands do their work.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::CliError;
use crate::home::Home;
use crate::report::terminal;
use crate::steps::Registry;

mod among;
mod archive;
mod chat;
mod device;
mod diff;
mod docs;
mod doctor;
mod executor;
mod export;
mod gc;
mod generate;
mod graph;
mod index;
mod load;
mod locks;
mod logs;
mod plan;
mod remote;
mod report;
mod run;
mod runs;
mod score;
mod select;
mod show;
mod sql;
mod store;
mod sweep;
mod tag;
mod trace;
mod watch;
mod why;

/// Language-model research as one recipe: cached, queryable, reproducible.
#[derive(Debug, Parser)]
#[command(name = "workbench", version, max_term_width = 110, propagate_version = true)]
struct Arguments {
    /// Folder for store, runs and lineage.
    #[arg(long, global = true, env = "WORKBENCH_HOME", default_value = ".workbench", value_name = "DIR")]
    home: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a recipe: only what is not in the store executes.
    Run(run::Arguments),
    /// Tell what a run would do, and why.
    Plan(plan::Arguments),
    /// Tell which input, parameter or version makes a step run.
    Why(why::Arguments),
    /// Attach the dashboard to a running or finished run.
    Watch(watch::Arguments),
    /// Ask the lineage database; a shell when no query is given.
    Sql(sql::Arguments),
    /// List runs.
    Runs(runs::Arguments),
    /// Show a run, or a step's artifact.
    Show(show::Arguments),
    /// Print what the steps of a run wrote.
    Logs(logs::Arguments),
    /// Draw a recipe's steps as dot, mermaid or svg.
    Graph(graph::Arguments),
    /// Compare two runs: parameters, steps, results.
    Diff(diff::Arguments),
    /// Print a run's report.
    Report(report::Arguments),
    /// Copy an artifact out of the store.
    Export(export::Arguments),
    /// Write a run with its artifacts to one file.
    Archive(archive::ArchiveArguments),
    /// Bring a run with its artifacts back from such a file.
    Unarchive(archive::UnarchiveArguments),
    /// Name a run or an artifact, so that it is kept.
    Tag(tag::TagArguments),
    /// List such names.
    Tags,
    /// Remove such a name.
    Untag(tag::UntagArguments),
    /// Compute logits and log-probabilities of given token ids.
    Score(score::Arguments),
    /// Continue token ids or a text.
    Generate(generate::Arguments),
    /// Ask a searchable index of the data: counts, places, next tokens, documents.
    Index(index::Arguments),
    /// Find the spans of a text that stand in the training data, and where they come from.
    Trace(trace::Arguments),
    /// Talk to a model.
    Chat(chat::Arguments),
    /// Print the reference of steps, functions and tables.
    Docs(docs::Arguments),
    /// Look after the store: size, verification, clean-up.
    Cache(store::Arguments),
    /// Check this machine and this folder.
    Doctor(doctor::Arguments),
    /// Print a completion script for a shell.
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
    /// Start commands for a parent process.
    #[command(hide = true)]
    Spawner {
        /// `none` or `host`.
        network: String,
        /// The one folder that commands may write to.
        writable: PathBuf,
    },
    /// Run one step for a parent process.
    #[command(hide = true)]
    Step {
        /// The request.
        request: PathBuf,
        /// Where to answer.
        answer: PathBuf,
    },
    /// Run the step of a slot that another machine claimed.
    #[command(hide = true)]
    Job {
        /// The slot.
        slot: PathBuf,
        /// What its ticket says.
        token: String,
    },
}

/// Parses the arguments, runs the command, renders its error.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let home = Home::new(arguments.home);
    match dispatch(arguments.command, &home) {
        Ok(code) => code,
        Err(error) => {
            terminal::note(&error.to_string());
            error.code()
        }
    }
}

fn dispatch(command: Command, home: &Home) -> Result<ExitCode, CliError> {
    match command {
        Command::Run(arguments) => return run::run(&arguments, home),
        Command::Plan(arguments) => plan::run(&arguments, home)?,
        Command::Why(arguments) => why::run(&arguments, home)?,
        Command::Watch(arguments) => watch::run(&arguments, home)?,
        Command::Sql(arguments) => sql::run(&arguments, home)?,
        Command::Runs(arguments) => runs::run(&arguments, home)?,
        Command::Show(arguments) => show::run(&arguments, home)?,
        Command::Logs(arguments) => logs::run(&arguments, home)?,
        Command::Graph(arguments) => graph::run(&arguments, home)?,
        Command::Diff(arguments) => diff::run(&arguments, home)?,
        Command::Report(arguments) => report::run(&arguments, home)?,
        Command::Export(arguments) => export::run(&arguments, home)?,
        Command::Archive(arguments) => archive::archive(&arguments, home)?,
        Command::Unarchive(arguments) => archive::unarchive(&arguments, home)?,
        Command::Tag(arguments) => tag::tag(&arguments, home)?,
        Command::Tags => tag::tags(home)?,
        Command::Untag(arguments) => tag::untag(&arguments, home)?,
        Command::Score(arguments) => score::run(&arguments, home)?,
        Command::Generate(arguments) => generate::run(&arguments, home)?,
        Command::Index(arguments) => index::run(&arguments, home)?,
        Command::Trace(arguments) => trace::run(&arguments, home)?,
        Command::Chat(arguments) => chat::run(&arguments, home)?,
        Command::Docs(arguments) => docs::run(&arguments)?,
        Command::Cache(arguments) => store::run(&arguments, home)?,
        Command::Doctor(arguments) => doctor::run(&arguments, home)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "workbench", &mut script);
            terminal::data(&String::from_utf8_lossy(&script));
        }
        Command::Spawner { network, writable } => crate::exec::spawner::serve(&network, &writable)?,
        Command::Step { request, answer } => {
            crate::exec::child::serve(registry(), &request, &answer).map_err(CliError::system)?;
        }
        Command::Job { slot, token } => {
            let status = crate::exec::detached::serve(registry(), &slot, &token, &terminal::note).map_err(CliError::system)?;
            return Ok(ExitCode::from(status));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The kinds this program has.
fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(crate::steps::standard)
}

/// The folder of a checkpoint that a user means: a folder, else an artifact of a run.
fn checkpoint_folder(home: &Home, what: &str, run: Option<&str>) -> Result<PathBuf, CliError> {
    if std::path::Path::new(what).join("config.json").is_file() {
        return Ok(PathBuf::from(what));
    }
    let state = show::read_state(home, &find_run(home, run)?)?;
    let id = state.find(what)?;
    let folder = home.open_store()?.artifact(&state.digest(id)?);
    if !folder.join("config.json").is_file() {
        return Err(CliError::user(format!("`{what}` of run {} is no checkpoint: it has no config.json", state.run)));
    }
    Ok(folder)
}

/// The run a user means: the one named, else the latest.
fn find_run(home: &Home, run: Option<&str>) -> Result<String, CliError> {
    let runs = home.runs()?;
    match run {
        Some(run) if runs.iter().any(|known| known == run) => Ok(run.to_owned()),
        Some(run) => {
            let near = crate::steps::params::closest(run, runs.iter().map(String::as_str));
            let error = CliError::user(format!("there is no run `{run}` in {}", home.path().display()));
            Err(error.hint(near.map_or("`workbench runs` lists them".into(), |near| format!("did you mean `{near}`?"))))
        }
        None => runs.last().cloned().ok_or_else(|| {
            CliError::user(format!("there is no run in {}", home.path().display())).hint("start one with `workbench run RECIPE`")
        }),
    }
}
