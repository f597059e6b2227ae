//! The questions and commands that Slurm gets: one program each. It keeps no state.

use std::collections::BTreeMap;

use super::command;
use super::controller::{Limits, MOST_NAMED};
use super::queue::{self, JobId, Row, State};

/// All jobs of these names that Slurm still knows, ended ones included.
///
/// # Errors
/// If `squeue` gives no answer; that says nothing about jobs.
pub(super) fn jobs(names: &[String]) -> Result<BTreeMap<JobId, Row>, String> {
    // SAFETY: it cannot fail.
    let user = unsafe { libc::getuid() };
    let arguments = [
        "--noheader".to_owned(),
        "--array".to_owned(),
        "--states=all".to_owned(),
        format!("--user={user}"),
        format!("--name={}", names.join(",")),
        format!("--format={}", queue::FORMAT),
    ];
    let said = command::run("squeue", &arguments).map_err(|error| error.to_string())?;
    if said.status.success() { Ok(queue::rows(&said.out).0) } else { Err(said.trouble("squeue")) }
}

/// How a job is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// SIGTERM for the batch process, which is the step itself: it saves and ends when it has.
    Save,
    /// It leaves the queue. One that runs gets SIGTERM as well, and soon SIGKILL.
    Cancel,
}

impl Tell {
    /// The gentlest way for a job of this state; it may not have been seen yet.
    pub(super) fn gently(state: Option<State>) -> Self {
        match state {
            Some(State::Running | State::Suspended | State::Ending | State::Unknown) => Self::Save,
            _ => Self::Cancel,
        }
    }
}

/// Tells jobs to stop. Jobs are named by id alone: with further conditions `scancel` takes all waiting tasks of an array for one.
///
/// # Errors
/// If `scancel` cannot be run. That some job has ended meanwhile is no error.
pub(super) fn tell(how: Tell, jobs: &[JobId]) -> Result<(), String> {
    let options: &[&str] = match how {
        Tell::Save => &["--signal=TERM", "--batch"],
        Tell::Cancel => &[],
    };
    let ids = jobs.iter().map(ToString::to_string);
    let arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).chain(ids).collect();
    command::run("scancel", &arguments).map(drop).map_err(|error| error.to_string())
}

/// Tells the jobs called `name` among these that have not ended to stop and save, by what the queue says of them now.
///
/// # Errors
/// If Slurm cannot be reached.
pub(super) fn stop(name: &str, jobs: &[JobId]) -> Result<(), String> {
    let rows = self::jobs(&[name.to_owned()])?;
    for how in [Tell::Cancel, Tell::Save] {
        let live = jobs
            .iter()
            .filter(|job| rows.get(job).is_some_and(|row| !row.state.is_final() && Tell::gently(Some(row.state)) == how));
        let live: Vec<JobId> = live.copied().collect();
        for some in live.chunks(MOST_NAMED) {
            tell(how, some)?;
        }
    }
    Ok(())
}

/// What the site allows. `partition` is the one that jobs go to, if it was named.
///
/// # Errors
/// If Slurm cannot be reached.
pub(super) fn limits(partition: Option<&str>) -> Result<Limits, String> {
    let ask = |program: &str, arguments: &[String]| {
        let said = command::run(program, arguments).map_err(|error| error.to_string())?;
        if said.status.success() { Ok(said.out) } else { Err(said.trouble(program)) }
    };
    let config = ask("scontrol", &["show".into(), "config".into()])?;
    let mut arguments = vec!["--noheader".to_owned(), "--Node".to_owned(), "--format=%c %m".to_owned()];
    arguments.extend(partition.map(|partition| format!("--partition={partition}")));
    let nodes = ask("sinfo", &arguments)?;
    // A partition that does not exist has no nodes; sbatch will say so.
    let (cpus, memory_mib) = queue::largest_node(&nodes).unwrap_or((1, 1024));
    Ok(Limits { array: queue::max_array(&config), cpus, memory_mib })
}

/// The status that a job ended with, as Slurm writes it; none when it is not known any more.
pub(super) fn exit_code(job: JobId) -> Option<String> {
    let said = command::run("scontrol", &["--oneliner".into(), "show".into(), "job".into(), job.to_string()]).ok()?;
    let code = said.out.split_whitespace().find_map(|word| word.strip_prefix("ExitCode="))?;
    Some(code.split(':').next().unwrap_or(code).to_owned())
}
