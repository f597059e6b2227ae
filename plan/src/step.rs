//! [`StepDecl`]: one declared step. Its fields fall in two groups that never mix: what decides the result (kind, version, params,
//! inputs) and what does not (name, site, resources, place). It does not know what a kind does.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, Value};

/// The position of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId(pub usize);

/// Where a recipe declared something: file, line and column, both from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Site {
    /// The recipe or module, as the user named it.
    pub file: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What a running step occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Most threads it uses; it gets fewer when fewer are free, never less than one.
    pub cpus: u32,
    /// Memory it needs, in MiB.
    pub memory_mib: u64,
    /// GPUs it has to itself.
    #[serde(default)]
    pub gpus: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: 1, memory_mib: 512, gpus: 0 }
    }
}

/// Why an attempt at a step failed, as far as that decides whether another may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorClass {
    /// The step says that it cannot be done.
    #[default]
    Failed,
    /// Something outside was out of order for a while: the network, a node, a scheduler.
    Transient,
    /// The process was killed, for want of memory or by somebody.
    Killed,
    /// It took longer than it may.
    Timeout,
}

impl ErrorClass {
    /// All classes, with the names recipes use.
    pub const ALL: [(&'static str, Self); 4] =
        [("failed", Self::Failed), ("transient", Self::Transient), ("killed", Self::Killed), ("timeout", Self::Timeout)];

    /// The name recipes use.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, class)| *class == self).map_or("failed", |(name, _)| name)
    }
}

/// How a step is to be treated while and after it runs. Not in any key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Attempts after the first, for errors of the classes in `retry_on`.
    pub retries: u32,
    /// Classes worth another attempt.
    pub retry_on: Vec<ErrorClass>,
    /// Seconds before the second attempt; doubled before each further one, up to ten minutes.
    pub backoff_s: f64,
    /// Seconds an attempt may take; none for as long as it likes.
    pub timeout_s: Option<f64>,
    /// What it takes of limits that the user names: name and amount.
    pub limits: BTreeMap<String, u32>,
    /// Whether its artifact may go once everything that needs it is done.
    pub temp: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries: 2,
            retry_on: vec![ErrorClass::Transient],
            backoff_s: 1.0,
            timeout_s: None,
            limits: BTreeMap::new(),
            temp: false,
        }
    }
}

impl Policy {
    /// Longest wait between two attempts, in seconds.
    pub const MOST_BACKOFF_S: f64 = 600.0;

    /// Seconds to wait after the `attempt`th attempt (from 1) failed so, or none when it was the last.
    pub fn wait_after(&self, attempt: u32, class: ErrorClass) -> Option<f64> {
        if attempt > self.retries || !self.retry_on.contains(&class) {
            return None;
        }
        let doublings = f64::from(attempt.saturating_sub(1).min(30));
        Some((self.backoff_s * doublings.exp2()).clamp(0.0, Self::MOST_BACKOFF_S))
    }
}

/// Where a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On a thread of the run's process.
    Thread,
    /// In a process of its own, so that its death fails one step only.
    Child,
}

/// A file outside the store that a recipe reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Path relative to the recipe's folder, with `/`.
    pub path: String,
    /// Digest of its bytes when the recipe was evaluated.
    pub digest: Digest,
    /// Size in bytes.
    pub bytes: u64,
}

/// What an input port is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The artifact of another step.
    Step(StepId),
    /// Files outside the store, in order.
    Files(Vec<SourceFile>),
}

/// One connected port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Name of the port; a port that takes many has one entry for each.
    pub port: String,
    /// What it is connected to.
    pub source: Source,
    /// The folder of the artifact that is meant, when it is not all of it (`split` makes `train` and `valid`).
    pub part: Option<String>,
}

/// One declared step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDecl {
    /// Kind, as the registry names it.
    pub kind: String,
    /// The kind's VERSION: raised whenever the same params and inputs give other bytes.
    pub version: u32,
    /// All parameters that decide the result, defaults filled in; a map.
    pub params: Value,
    /// Connected ports, in port order.
    pub inputs: Vec<Input>,
    /// What people call it; unique in a plan. Not in the key.
    pub name: String,
    /// Where it was declared. Not in the key.
    pub site: Site,
    /// What it occupies while it runs. Not in the key.
    pub resources: Resources,
    /// Where it runs. Not in the key.
    pub place: Place,
    /// How it is treated. Not in the key.
    pub policy: Policy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let policy = Policy { retries: 3, retry_on: vec![ErrorClass::Killed], backoff_s: 250.0, ..Policy::default() };
        let waits: Vec<_> = (1..=4).map(|attempt| policy.wait_after(attempt, ErrorClass::Killed)).collect();
        assert_eq!(waits, [Some(250.0), Some(500.0), Some(600.0), None]);
        assert_eq!(policy.wait_after(1, ErrorClass::Failed), None);
        assert_eq!(ErrorClass::Timeout.name(), "timeout");
    }
}
