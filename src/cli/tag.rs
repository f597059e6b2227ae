//! `workbench tag`, `workbench tags` and `workbench untag`: names that keep artifacts from being collected.

use cache::Tag;

use super::select::select;
use crate::error::CliError;
use crate::home::Home;
use crate::report::{figures, terminal};
use crate::steps::params::closest;

/// Arguments of `tag`.
#[derive(Debug, clap::Args)]
pub(super) struct TagArguments {
    /// A run, or a step, an output or the beginning of a key of one.
    what: String,
    /// Name: letters, digits, `.`, `_` and `-`.
    name: String,
    /// The run that the step is of; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
}

/// Arguments of `untag`.
#[derive(Debug, clap::Args)]
pub(super) struct UntagArguments {
    /// Name of the tag.
    name: String,
}

pub(super) fn tag(arguments: &TagArguments, home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    let selection = select(home, arguments.run.as_deref(), std::slice::from_ref(&arguments.what))?;
    let of = match selection.runs.first() {
        Some(run) => format!("run {run}"),
        None => format!("{} of run {}", arguments.what, super::find_run(home, arguments.run.as_deref())?),
    };
    let mut keys = Vec::new();
    for key in selection.keys {
        if store.lookup(&key)?.is_some() {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(CliError::user(format!("nothing of {of} is in the store")).hint("run the recipe again to make it"));
    }
    store.tag(&Tag { name: arguments.name.clone(), of: of.clone(), keys: keys.clone() })?;
    terminal::line(&format!("{} keeps {} artifacts of {of}", arguments.name, keys.len()));
    Ok(())
}

pub(super) fn tags(home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    let tags = store.tags()?;
    let groups = tags.iter().map(|tag| (tag.name.clone(), tag.keys.iter().copied().collect())).collect();
    let usage = store.disk_use(&groups)?;
    let width = tags.iter().map(|tag| tag.name.len()).max().unwrap_or(0);
    for tag in &tags {
        let size = usage.shares.iter().find(|share| share.name == tag.name).map_or(0, |share| share.bytes);
        terminal::line(&format!(
            "{:<width$}  {:>10}  {:>5} artifacts  {}",
            tag.name,
            figures::size(size),
            tag.keys.len(),
            tag.of
        ));
    }
    Ok(())
}

pub(super) fn untag(arguments: &UntagArguments, home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    if !store.untag(&arguments.name)? {
        let tags = store.tags()?;
        let near = closest(&arguments.name, tags.iter().map(|tag| tag.name.as_str()));
        let hint = near.map_or("`workbench tags` lists them".into(), |near| format!("did you mean `{near}`?"));
        return Err(CliError::user(format!("there is no tag `{}`", arguments.name)).hint(hint));
    }
    terminal::line(&format!("{} is gone; its artifacts stay until `workbench cache gc`", arguments.name));
    Ok(())
}
