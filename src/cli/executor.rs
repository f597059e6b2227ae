//! `--executor` of `workbench run`: where steps run. It starts no run.

use std::sync::Arc;
use std::time::Duration;

use plan::Resources;

use crate::error::CliError;
use crate::exec::backend::Backend;
use crate::exec::slurm::{self, Slurm};
use crate::home::Home;

/// Where the steps of a run execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Place {
    /// On this machine.
    Local,
    /// As jobs of Slurm; the home lies on a file system that all nodes see under the same path.
    Slurm,
}

/// Arguments that say where steps run.
#[derive(Debug, clap::Args)]
pub(super) struct ExecutorArguments {
    /// Where steps run.
    #[arg(long, value_enum, default_value = "local")]
    executor: Place,
    /// Slurm partition; the site's default if none is given.
    #[arg(long, value_name = "PARTITION", help_heading = "Slurm")]
    slurm_partition: Option<String>,
    /// Slurm account that pays.
    #[arg(long, value_name = "ACCOUNT", help_heading = "Slurm")]
    slurm_account: Option<String>,
    /// Further options of sbatch in one argument, e.g. "--qos=low --exclude=node7".
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true, help_heading = "Slurm")]
    slurm_args: Option<String>,
    /// Most jobs in the queue at the same time, tasks of arrays counted each.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Slurm")]
    slurm_jobs: u32,
    /// Seconds that the answer of a job may take to be seen after the job has ended; a slow file system needs more.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, help_heading = "Slurm")]
    slurm_grace: u64,
}

/// A backend and what steps may occupy there.
pub(super) type Elsewhere = (Arc<dyn Backend>, Resources);

impl ExecutorArguments {
    /// Whether steps run on this machine; refuses options that then mean nothing.
    ///
    /// # Errors
    /// If there is an option for another executor.
    pub(super) fn check(&self) -> Result<Place, CliError> {
        let given = [
            ("--slurm-partition", self.slurm_partition.is_some()),
            ("--slurm-account", self.slurm_account.is_some()),
            ("--slurm-args", self.slurm_args.is_some()),
        ];
        match given.iter().find(|(_, given)| *given && self.executor == Place::Local) {
            Some((name, _)) => {
                Err(CliError::user(format!("{name} means nothing to steps that run on this machine"))
                    .hint("add --executor slurm"))
            }
            None => self.extra().map(|_| self.executor),
        }
    }

    fn extra(&self) -> Result<Vec<String>, CliError> {
        let split = slurm::split_arguments(self.slurm_args.as_deref().unwrap_or_default());
        split.map_err(|error| CliError::user(format!("--slurm-args: {error}")))
    }

    /// The backend for a run; none when steps run here.
    ///
    /// # Errors
    /// If the options are wrong, or the backend cannot be reached.
    pub(super) fn start(&self, home: &Home, run: &str) -> Result<Option<Elsewhere>, CliError> {
        if self.check()? == Place::Local {
            return Ok(None);
        }
        let options = slurm::Options {
            run: run.to_owned(),
            program: std::env::current_exe()?,
            folder: std::path::absolute(home.run_folder(run))?.join("slurm"),
            partition: self.slurm_partition.clone(),
            account: self.slurm_account.clone(),
            extra: self.extra()?,
            jobs: self.slurm_jobs as usize,
            grace: Duration::from_secs(self.slurm_grace),
        };
        let slurm = Slurm::start(options).map_err(|error| {
            // Nothing ran, so there is no run; a folder that cannot be removed does no harm.
            let _ = std::fs::remove_dir(home.run_folder(run));
            CliError::system(format!("Slurm cannot be used: {error}"))
                .hint("`sinfo` must work here; without Slurm, leave --executor out")
        })?;
        let capacity = slurm.capacity();
        Ok(Some((Arc::new(slurm), capacity)))
    }
}
