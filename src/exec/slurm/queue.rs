//! What Slurm's programs print, and what its words for a job mean. Reads defensively: what cannot be understood is left out, never
//! taken for an end. It runs no program.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A job, or one task of a job array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct JobId {
    /// The job, or the array.
    pub(super) job: u64,
    /// The task of an array.
    pub(super) task: Option<u32>,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task {
            Some(task) => write!(f, "{}_{task}", self.job),
            None => write!(f, "{}", self.job),
        }
    }
}

impl std::str::FromStr for JobId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is no job of Slurm");
        let (job, task) = text.split_once('_').map_or((text, None), |(job, task)| (job, Some(task)));
        let job = job.parse().map_err(|_| error())?;
        let task = task.map(str::parse).transpose().map_err(|_| error())?;
        Ok(Self { job, task })
    }
}

/// Where a job stands, in the words of Slurm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for its turn.
    Pending,
    /// A person holds it back.
    Held,
    /// A node could not start it; Slurm holds it back. It may have run all the same.
    LaunchFailed,
    /// It waits for a job that will never end well.
    NeverSatisfied,
    /// It runs, or is about to.
    Running,
    /// It is stopped for a while.
    Suspended,
    /// It is ending.
    Ending,
    /// It ended with status 0.
    Completed,
    /// It ended with another status.
    Failed,
    /// It ran into its time limit.
    Timeout,
    /// It used more memory than it asked for.
    OutOfMemory,
    /// Its node died or could not be booted.
    NodeFail,
    /// It gave way to another job.
    Preempted,
    /// Somebody cancelled it.
    Cancelled,
    /// A word that this program does not know.
    Unknown,
}

impl State {
    /// From a state and a reason as `squeue` prints them.
    pub(super) fn parse(state: &str, reason: &str) -> Self {
        let state = state.split_whitespace().next().unwrap_or_default().trim_end_matches('+');
        match state.to_ascii_uppercase().as_str() {
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" => {
                let reason = reason.to_ascii_lowercase().replace('_', " ");
                if reason.contains("launch failed") {
                    Self::LaunchFailed
                } else if reason.starts_with("jobheld") || state == "SPECIAL_EXIT" {
                    Self::Held
                } else if reason.contains("dependencyneversatisfied") {
                    Self::NeverSatisfied
                } else {
                    Self::Pending
                }
            }
            "RUNNING" | "CONFIGURING" | "RESIZING" | "STAGE_OUT" => Self::Running,
            "SUSPENDED" | "STOPPED" => Self::Suspended,
            "COMPLETING" | "SIGNALING" => Self::Ending,
            "COMPLETED" => Self::Completed,
            "FAILED" => Self::Failed,
            "TIMEOUT" | "DEADLINE" => Self::Timeout,
            "OUT_OF_MEMORY" => Self::OutOfMemory,
            "NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => Self::NodeFail,
            "PREEMPTED" => Self::Preempted,
            "CANCELLED" | "REVOKED" => Self::Cancelled,
            _ => Self::Unknown,
        }
    }

    /// Whether it has ended for good.
    pub(super) const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::Failed
                | Self::Timeout
                | Self::OutOfMemory
                | Self::NodeFail
                | Self::Preempted
                | Self::Cancelled
        )
    }
}

/// One line of `squeue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Where it stands.
    pub(super) state: State,
    /// The state as printed.
    pub(super) word: String,
    /// Why it waits; empty when there is nothing to say.
    pub(super) reason: String,
    /// The node it is on; empty when it is on none.
    pub(super) node: String,
    /// What it was submitted with.
    pub(super) comment: String,
}

/// Longest range of tasks that is believed.
const MOST_LISTED: u32 = 10_000_000;

/// What [`rows`] reads: job, state, reason, node, comment.
pub(super) const FORMAT: &str = "%i|%T|%r|%N|%k";

/// Reads what `squeue --format=FORMAT` printed. Gives the rows, and how many lines were none.
pub(super) fn rows(text: &str) -> (BTreeMap<JobId, Row>, usize) {
    let mut found = BTreeMap::new();
    let mut odd = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut cells = line.splitn(5, '|').map(str::trim);
        let (Some(id), Some(word), Some(reason)) = (cells.next(), cells.next(), cells.next()) else {
            odd += 1;
            continue;
        };
        let Some(ids) = tasks(id) else {
            odd += 1;
            continue;
        };
        let said = |text: &str| if matches!(text, "None" | "(null)" | "N/A") { String::new() } else { text.to_owned() };
        let (node, comment) = (cells.next().map(said).unwrap_or_default(), cells.next().map(said).unwrap_or_default());
        let row = Row { state: State::parse(word, reason), word: word.to_owned(), reason: said(reason), node, comment };
        found.extend(ids.into_iter().map(|id| (id, row.clone())));
    }
    (found, odd)
}

/// The jobs of a line: one, or all tasks of an array that Slurm keeps together (`7_[0-3,9%2]`), as it does those that were
/// cancelled before they began.
fn tasks(text: &str) -> Option<Vec<JobId>> {
    let Some((job, list)) = text.strip_suffix(']').and_then(|text| text.split_once("_[")) else {
        return text.parse().ok().map(|id| vec![id]);
    };
    let job = job.parse().ok()?;
    let list = list.split('%').next().unwrap_or_default();
    let mut ids = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last, step) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?, step.parse::<usize>().ok()?);
        if step == 0 || first > last || last - first > MOST_LISTED {
            return None;
        }
        ids.extend((first..=last).step_by(step).map(|task| JobId { job, task: Some(task) }));
    }
    Some(ids)
}

/// The job that `sbatch --parsable` printed; sites wrap it and print more.
pub(super) fn submitted(text: &str) -> Option<u64> {
    text.lines().rev().map(str::trim).find_map(|line| {
        let line = line.strip_prefix("Submitted batch job ").unwrap_or(line);
        line.split(';').next().unwrap_or_default().trim().parse().ok()
    })
}

/// How a refused submission is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may pass.
    Transient,
    /// It will be refused again.
    Permanent,
}

/// What of `sbatch`'s words tells of a controller that is busy or away, or of a full queue.
const TRANSIENT: [&str; 17] = [
    "socket timed out",
    "unable to contact slurm controller",
    "zero bytes were transmitted",
    "connection refused",
    "connection timed out",
    "connection reset",
    "communication connection failure",
    "communications connection failure",
    "transport endpoint",
    "temporarily unable",
    "resource temporarily unavailable",
    "standby mode",
    "try again",
    "retrying",
    "submit limit",
    "submitjoblimit",
    "limit reached",
];

impl Refusal {
    /// From the words of `sbatch`.
    pub(super) fn of(words: &str) -> Self {
        let words = words.to_ascii_lowercase();
        if TRANSIENT.iter().any(|known| words.contains(known)) { Self::Transient } else { Self::Permanent }
    }
}

/// Most tasks of an array, from `scontrol show config`: indices are below `MaxArraySize`. 1 where arrays are off or nothing is said.
pub(super) fn max_array(text: &str) -> u32 {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    let value = lines.find(|(name, _)| name.trim() == "MaxArraySize").map(|(_, value)| value.trim());
    value.and_then(|value| value.parse().ok()).unwrap_or(1).max(1)
}

/// Threads and memory in MiB of the largest node, from `sinfo --Node --format="%c %m"`.
pub(super) fn largest_node(text: &str) -> Option<(u32, u64)> {
    let number = |text: &str| text.trim_end_matches('+').parse::<u64>().ok();
    let nodes = text.lines().filter_map(|line| {
        let (cpus, memory) = line.trim().split_once(' ')?;
        Some((u32::try_from(number(cpus)?).ok()?, number(memory.trim())?))
    });
    nodes.max()
}

#[cfg(test)]
mod tests;
