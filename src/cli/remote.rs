//! `workbench cache push` and `workbench cache pull`: artifacts and journals to and from a remote store.

use cache::{Remote, Store};
use plan::Key;

use super::select::{Selection, receive_run, rename_journal, select};
use super::show::{fold, read_state};
use crate::error::CliError;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `cache push`.
#[derive(Debug, clap::Args)]
pub(super) struct PushArguments {
    /// s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, or a folder.
    url: String,
    /// Runs, steps or outputs; the latest run when left out.
    what: Vec<String>,
    /// The run that steps and outputs are of; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
    /// Everything in the store.
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// Name of the run there.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "all")]
    name: Option<String>,
}

/// Arguments of `cache pull`.
#[derive(Debug, clap::Args)]
pub(super) struct PullArguments {
    /// s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, https://host/prefix or a folder.
    url: String,
    /// Runs, steps of runs that are known here, or whole keys.
    #[arg(required = true)]
    what: Vec<String>,
    /// The run that steps and outputs are of; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
    /// Name of the run here.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn push(arguments: &PushArguments, home: &Home, store: &Store) -> Result<(), CliError> {
    let remote = Remote::open(&arguments.url, store)?;
    let selection = if arguments.all {
        Selection { keys: store.keys()?.into_iter().collect(), runs: home.runs()? }
    } else {
        select(home, arguments.run.as_deref(), &arguments.what)?
    };
    let name = one_name(arguments.name.as_deref(), &selection.runs)?;
    let keys: Vec<Key> = selection.keys.into_iter().collect();
    let pushed = remote.push(&keys)?;
    for run in &selection.runs {
        let journal = fs_err::read(home.journal(run))?;
        match name {
            Some(name) => remote.push_run(name, &rename_journal(&journal, name)?)?,
            None => remote.push_run(run, &journal)?,
        }
    }
    let size = figures::size(pushed.bytes);
    terminal::line(&format!(
        "{} artifacts pushed: {} files, {size} ({} files were there); {} artifacts were there",
        pushed.keys, pushed.files, pushed.shared, pushed.present
    ));
    missing(&pushed.missing, "this store no longer has");
    Ok(())
}

pub(super) fn pull(arguments: &PullArguments, home: &Home, store: &Store) -> Result<(), CliError> {
    let remote = Remote::open(&arguments.url, store)?;
    let known = home.runs()?;
    let (mut keys, mut journals) = (std::collections::BTreeSet::new(), Vec::new());
    for what in &arguments.what {
        let is_key = what.parse::<Key>().is_ok();
        if known.contains(what) && arguments.name.is_none() {
            let mut selection = Selection::default();
            selection.take_run(&read_state(home, what)?);
            keys.extend(selection.keys);
        } else if let Some(journal) = if is_key { None } else { remote.journal(what)? } {
            keys.extend(super::select::done(&fold(what, &journal)));
            journals.push((what.clone(), journal));
        } else {
            let selection = select(home, arguments.run.as_deref(), std::slice::from_ref(what))
                .map_err(|error| error.hint(format!("{} has no run `{what}` either", arguments.url)))?;
            keys.extend(selection.keys);
        }
    }
    let runs: Vec<String> = journals.iter().map(|(run, _)| run.clone()).collect();
    let name = one_name(arguments.name.as_deref(), &runs)?;
    let keys: Vec<Key> = keys.into_iter().collect();
    let pulled = remote.pull(&keys)?;
    for (run, journal) in &journals {
        match name {
            Some(name) => receive_run(home, name, &rename_journal(journal, name)?)?,
            None => receive_run(home, run, journal)?,
        };
    }
    let size = figures::size(pulled.bytes);
    terminal::line(&format!("{} artifacts pulled, {size}; {} were here", pulled.keys, pulled.present));
    missing(&pulled.missing, &format!("{} does not have", arguments.url));
    Ok(())
}

/// A new name is for one run.
fn one_name<'name>(name: Option<&'name str>, runs: &[String]) -> Result<Option<&'name str>, CliError> {
    if let Some(name) = name {
        super::select::check_name(name)?;
        if runs.len() != 1 {
            return Err(CliError::user(format!("--as {name} names one run, here are {}", runs.len())).hint("name one run"));
        }
    }
    Ok(name)
}

fn missing(keys: &[Key], who: &str) {
    if !keys.is_empty() {
        let list: Vec<String> = keys.iter().take(10).map(Key::short).collect();
        let more = if keys.len() > list.len() { ", ..." } else { "" };
        terminal::note(&format!("{who} {} of them: {}{more}", keys.len(), list.join(", ")));
    }
}
