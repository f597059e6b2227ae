//! `workbench export`: copies an artifact out of the store. A checkpoint is in the Hugging Face layout already; training state is
//! left behind unless asked for.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::CliError;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A step's or output's name, or the beginning of a key.
    what: String,
    /// Folder to make; it must not exist.
    to: PathBuf,
    /// The run; the latest when left out.
    #[arg(long, short)]
    run: Option<String>,
    /// `hf`: what `transformers` loads; `all`: every file, optimiser state included.
    #[arg(long, default_value = "hf", value_parser = ["hf", "all"])]
    format: String,
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let run = super::find_run(home, arguments.run.as_deref())?;
    let state = super::show::read_state(home, &run)?;
    let id = state.find(&arguments.what)?;
    let store = home.open_store()?;
    let from = store.artifact(&state.digest(id)?);
    if arguments.to.exists() {
        return Err(CliError::user(format!("{} exists", arguments.to.display())).hint("name a folder that does not exist"));
    }
    let partial = arguments.to.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let bytes = copy(&from, &partial, arguments.format == "all")?;
    fs::rename(&partial, &arguments.to)?;
    terminal::note(&format!("{} of {} in {}", figures::size(bytes), arguments.what, arguments.to.display()));
    Ok(())
}

fn copy(from: &Path, to: &Path, everything: bool) -> Result<u64, CliError> {
    fs::create_dir_all(to)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            bytes += copy(&source, &target, everything)?;
        } else if everything || !entry.file_name().to_string_lossy().starts_with("training.") {
            // Not fs::copy: the store's files are read-only, a user's copy is not.
            bytes += std::io::copy(&mut fs::File::open(&source)?, &mut fs::File::create(&target)?)?;
        }
    }
    Ok(bytes)
}
