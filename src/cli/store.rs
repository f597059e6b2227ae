//! `workbench cache`: how large the store is, whether it is whole, what can go.

use crate::error::CliError;
use crate::home::Home;
use crate::report::{figures, terminal};

/// Arguments of `cache`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell what the store holds.
    Usage,
    /// List who holds which part of the store, on this machine and on others.
    Locks,
    /// Copy artifacts and the journal of their run to a remote store.
    Push(super::remote::PushArguments),
    /// Bring artifacts, and runs, from a remote store.
    Pull(super::remote::PullArguments),
    /// Read every artifact again and compare it with its digest.
    Verify {
        /// Set damaged artifacts aside, so that the next run makes them again.
        #[arg(long)]
        repair: bool,
    },
    /// List the artifacts that no run, tag or budget keeps, and remove them with `--apply`.
    Gc(super::gc::GcArguments),
    /// List files that are there more than once, and make one of each with `--apply`.
    Dedup(super::gc::DedupArguments),
    /// Tell how much belongs to what.
    Du(super::gc::DuArguments),
}

pub(super) fn run(arguments: &Arguments, home: &Home) -> Result<(), CliError> {
    let store = home.open_store()?;
    match &arguments.command {
        Command::Usage => {
            let usage = store.usage()?;
            let (objects, slots) = (figures::size(usage.object_bytes), figures::size(usage.slot_bytes));
            terminal::line(&format!("{} keys, {} artifacts, {objects}", usage.keys, usage.objects));
            terminal::line(&format!("{} unfinished steps, {slots}", usage.slots));
            terminal::line(&format!("leftovers of killed processes, {}", figures::size(usage.leftover_bytes)));
        }
        Command::Locks => super::locks::run(&store)?,
        Command::Push(arguments) => super::remote::push(arguments, home, &store)?,
        Command::Pull(arguments) => super::remote::pull(arguments, home, &store)?,
        Command::Verify { repair } => {
            let report = cache::verify(&store, &())?;
            report.damage.iter().for_each(|damage| terminal::line(&damage.to_string()));
            let (keys, size) = (report.keys, figures::size(report.bytes));
            terminal::line(&format!("{keys} keys, {} artifacts, {size} read, {} damaged", report.objects, report.damage.len()));
            if *repair {
                let repaired = report.repair(&store)?;
                terminal::line(&format!("{} keys set aside; the next run makes them again", repaired.keys.len()));
            } else if !report.is_clean() {
                return Err(CliError::system("the store is damaged")
                    .hint("`workbench cache verify --repair` sets damaged artifacts aside"));
            }
        }
        Command::Gc(arguments) => super::gc::gc(arguments, home, &store)?,
        Command::Dedup(arguments) => super::gc::dedup(arguments, &store)?,
        Command::Du(arguments) => super::gc::du(arguments, home, &store)?,
    }
    Ok(())
}
