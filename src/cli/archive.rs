//! `workbench archive` and `workbench unarchive`: a run with its artifacts as one file, and back.

use std::path::PathBuf;

use super::select::{check_name, done, receive_run, rename_journal};
use crate::error::CliError;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `archive`.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveArguments {
    /// The run.
    run: String,
    /// File to make, such as run.tar.zst; it must not exist.
    file: PathBuf,
}

/// Arguments of `unarchive`.
#[derive(Debug, clap::Args)]
pub(super) struct UnarchiveArguments {
    /// An archive that `workbench archive` made.
    file: PathBuf,
    /// Name of the run here.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn archive(arguments: &ArchiveArguments, home: &Home) -> Result<(), CliError> {
    let run = super::find_run(home, Some(&arguments.run))?;
    let journal = fs_err::read(home.journal(&run))?;
    let keys = done(&super::show::fold(&run, &journal)).collect();
    let contents = cache::pack(&home.open_store()?, &run, &journal, &keys, &arguments.file)?;
    let (size, packed) = (figures::size(contents.bytes), figures::size(fs_err::metadata(&arguments.file)?.len()));
    terminal::line(&format!(
        "{run}: {} artifacts, {} files of {size}, in {} of {packed}",
        contents.artifacts,
        contents.files,
        arguments.file.display()
    ));
    let missing = keys.len() as u64 - contents.artifacts;
    if missing > 0 {
        terminal::note(&format!(
            "{missing} artifacts of the run are no longer in the store; their steps are told of in the journal only"
        ));
    }
    Ok(())
}

pub(super) fn unarchive(arguments: &UnarchiveArguments, home: &Home) -> Result<(), CliError> {
    let contents = cache::peek(&arguments.file)?;
    let name = arguments.name.as_deref().unwrap_or(&contents.run);
    check_name(name)?;
    let unpacked = cache::unpack(&home.open_store()?, &arguments.file)?;
    let journal = if name == unpacked.run { unpacked.journal } else { rename_journal(&unpacked.journal, name)? };
    let new = receive_run(home, name, &journal)?;
    let came = unpacked.keys.len() as u64 - unpacked.present;
    let known = if new { "" } else { ", which was here" };
    terminal::line(&format!(
        "run {name}{known}: {came} artifacts, {}; {} were here",
        figures::size(unpacked.bytes),
        unpacked.present
    ));
    Ok(())
}
