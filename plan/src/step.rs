//! [`StepDecl`]: one declared step. Its fields fall in two groups that never mix: what decides the result (kind, version, params,
//! inputs) and what does not (name, site, resources, place). It does not know what a kind does.

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
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: 1, memory_mib: 512 }
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
}
