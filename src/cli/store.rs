//! `workbench cache`: how large the store is, whether it is whole, what can go.

use std::collections::BTreeSet;

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
    /// Remove artifacts that none of the last runs used.
    Gc {
        /// How many of the latest runs keep their artifacts.
        #[arg(long, default_value_t = 5)]
        keep: usize,
        /// Only tell.
        #[arg(long)]
        dry_run: bool,
    },
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
        Command::Gc { keep, dry_run } => {
            let mut roots = BTreeSet::new();
            for run in home.runs()?.into_iter().rev().take(*keep) {
                let state = super::show::read_state(home, &run)?;
                roots.extend(state.keys.values().copied());
            }
            let plan = cache::GcPlan::compute(&store, &roots)?;
            let size = figures::size(plan.bytes());
            if *dry_run {
                terminal::line(&format!("{} artifacts, {size} would go", plan.keys.len()));
            } else {
                let freed = plan.apply(&store)?;
                terminal::line(&format!("{} artifacts, {} removed", freed.keys, figures::size(freed.bytes)));
            }
        }
    }
    Ok(())
}
