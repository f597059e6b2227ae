//! Which artifacts a user means by names of runs, steps, outputs and keys, and how the journal of a run moves between machines. It
//! does not know what is done with the artifacts.

use std::collections::BTreeSet;
use std::io::Write;

use fs_err as fs;
use plan::{Event, Key, Record};

use super::show::{RunState, read_state};
use crate::error::CliError;
use crate::home::Home;

/// Artifacts, and the runs that were named as a whole.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Keys of the artifacts.
    pub keys: BTreeSet<Key>,
    /// Runs.
    pub runs: Vec<String>,
}

/// What `what` names: runs, else steps and outputs of `run` (the latest when left out), else whole keys. The latest run when it
/// names nothing.
pub(super) fn select(home: &Home, run: Option<&str>, what: &[String]) -> Result<Selection, CliError> {
    let mut selection = Selection::default();
    let runs = home.runs()?;
    if what.is_empty() {
        let run = super::find_run(home, run)?;
        selection.take_run(&read_state(home, &run)?);
        return Ok(selection);
    }
    for name in what {
        if runs.contains(name) {
            selection.take_run(&read_state(home, name)?);
        } else if let Ok(key) = name.parse::<Key>() {
            selection.keys.insert(key);
        } else {
            let state = read_state(home, &super::find_run(home, run)?)?;
            let id = state.find(name)?;
            state.digest(id)?;
            selection.keys.extend(state.keys.get(&id));
        }
    }
    Ok(selection)
}

impl Selection {
    /// Adds a run with the artifacts of its steps that are done.
    pub(super) fn take_run(&mut self, state: &RunState) {
        self.keys.extend(done(state));
        self.runs.push(state.run.clone());
    }
}

/// Keys of the steps of a run that are done.
pub(super) fn done(state: &RunState) -> impl Iterator<Item = Key> {
    state.keys.iter().filter(|(id, _)| state.digests.contains_key(id)).map(|(_, key)| *key)
}

/// The journal of a run under another name.
pub(super) fn rename_journal(journal: &[u8], name: &str) -> Result<Vec<u8>, CliError> {
    let end = journal.iter().position(|&byte| byte == b'\n').unwrap_or(journal.len());
    let wrong = |error: String| CliError::user(format!("the journal of the run cannot be read: {error}"));
    let mut first: Record = serde_json::from_slice(&journal[..end]).map_err(|error| wrong(error.to_string()))?;
    match &mut first.event {
        Event::RunStarted { run, .. } => name.clone_into(run),
        _ => return Err(wrong("it does not begin with the start of a run".into())),
    }
    let mut renamed = serde_json::to_vec(&first).map_err(CliError::system)?;
    renamed.extend_from_slice(&journal[end..]);
    Ok(renamed)
}

/// Makes a run that came from elsewhere known here. Never replaces one; says whether it is new.
pub(super) fn receive_run(home: &Home, run: &str, journal: &[u8]) -> Result<bool, CliError> {
    check_name(run)?;
    let path = home.journal(run);
    let taken = |path: &std::path::Path| {
        CliError::user(format!("there is another run `{run}` here: {}", path.display()))
            .hint("give this one another name with `--as`")
    };
    if path.parent().is_some_and(std::path::Path::exists) {
        return if path.exists() && fs::read(&path)? == journal { Ok(false) } else { Err(taken(&path)) };
    }
    let folder = home.run_folder(run);
    let runs = folder.parent().unwrap_or(home.path());
    fs::create_dir_all(runs)?;
    let draft = runs.join(format!("{run}.partial-{}", std::process::id()));
    let mut file = fs::File::create(&draft)?;
    file.write_all(journal)?;
    file.sync_all()?;
    match std::fs::create_dir(&folder) {
        Ok(()) => fs::rename(&draft, &path)?,
        Err(error) => {
            fs::remove_file(&draft)?;
            return Err(if error.kind() == std::io::ErrorKind::AlreadyExists { taken(&path) } else { error.into() });
        }
    }
    Ok(true)
}

/// Whether a run may be called so: a name of one folder.
pub(super) fn check_name(run: &str) -> Result<(), CliError> {
    let odd = run.is_empty() || run.len() > 200 || run.starts_with('.') || run.trim() != run;
    if odd || run.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) {
        return Err(
            CliError::user(format!("`{}` cannot be the name of a run", run.escape_debug())).hint("give it another with `--as`")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_run_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        assert!(receive_run(&home, "r-1", b"one\n").unwrap());
        assert!(!receive_run(&home, "r-1", b"one\n").unwrap());
        assert!(receive_run(&home, "r-1", b"two\n").unwrap_err().to_string().contains("another run"));
        assert_eq!(fs::read(home.journal("r-1")).unwrap(), b"one\n");
        for name in ["../r", "", ".", "..", "a/b", "a\nb", " a"] {
            assert!(receive_run(&home, name, b"x").is_err(), "{name:?}");
        }
        assert_eq!(home.runs().unwrap(), ["r-1"]);
    }
}
