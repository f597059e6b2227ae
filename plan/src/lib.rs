//! Pure vocabulary of the workbench, in the order a recipe meets it: values, step declarations, the checked plan, keys and the
//! reasons for a miss, artifacts, the schedule, events. It knows no file system, thread, clock, script, database or tensor.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod artifact;
pub mod digest;
pub mod event;
pub mod graph;
pub mod key;
pub mod schedule;
pub mod step;
pub mod value;

pub use artifact::{Artifact, FileEntry, InputRecord, Manifest, Provenance};
pub use digest::{Digest, Hasher, Key, PlanId};
pub use event::{Event, Machine, Record, RunStatus, StepSummary};
pub use graph::{Output, Plan, PlanError};
pub use key::{Difference, Preimage};
pub use schedule::{Grant, Limits, Outcome, Schedule, State};
pub use step::{ErrorClass, Input, Place, Policy, Resources, Site, Source, SourceFile, StepDecl, StepId};
pub use value::Value;
