//! Where steps run when they do not run on this machine. A backend gets one step and its slot, and blocks until the step has ended
//! somewhere; [`super::detached`] is the protocol that a process far away follows, [`super::slurm`] the backend that submits such
//! processes to Slurm. It does not know stores or schedules.

use cache::Slot;
use plan::{ErrorClass, Policy, Resources};

use super::child::Request;
use crate::steps::{Closing, Reporter, StepError};

/// One step for a backend.
#[derive(Debug)]
pub struct Order<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Name of the step.
    pub step: &'a str,
    /// What it is to do, with whole paths.
    pub request: Request,
    /// What it occupies.
    pub needs: Needs,
}

/// What a step occupies where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// Threads.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Accelerators.
    pub gpus: u32,
    /// Longest time in seconds; none where the site decides.
    pub seconds: Option<u64>,
}

/// How a step ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Its closing figures.
    pub closing: Closing,
    /// Where it ran.
    pub host: String,
    /// Wall seconds that it ran, without waiting in a queue.
    pub seconds: f64,
}

/// Why a step did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The run is stopping; progress is kept.
    Interrupted,
    /// It did not work out.
    Failed(Class, String),
}

/// Whose fault a failure is, and so whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The step itself failed: it will again.
    Step,
    /// The machine did: a node died, the job was lost or preempted. Trying again goes on from saved progress.
    Machine,
    /// It was stopped at its time limit. Trying again goes on from saved progress.
    Time,
    /// It needed more memory than it asked for: try again with more.
    Memory,
    /// It cannot be started as asked for, or somebody cancelled it: a person must act.
    Refused,
}

impl Class {
    /// Whether trying again, unchanged, may help.
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::Machine | Self::Time)
    }
}

impl From<ErrorClass> for Class {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Failed => Self::Step,
            ErrorClass::Transient => Self::Machine,
            ErrorClass::Killed => Self::Memory,
            ErrorClass::Timeout => Self::Time,
        }
    }
}

impl Failure {
    /// Trouble with this machine or the store.
    pub fn here(error: impl std::error::Error) -> Self {
        match StepError::failed(error) {
            StepError::Interrupted => Self::Interrupted,
            StepError::Failed(text) | StepError::Passing(_, text) => Self::Failed(Class::Machine, text),
        }
    }
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Interrupted => Self::Interrupted,
            Failure::Failed(Class::Machine, text) => Self::Passing(ErrorClass::Transient, text),
            Failure::Failed(Class::Time, text) => Self::Passing(ErrorClass::Timeout, text),
            Failure::Failed(Class::Memory, text) => Self::Passing(ErrorClass::Killed, text),
            Failure::Failed(Class::Step | Class::Refused, text) => Self::Failed(text),
        }
    }
}

/// Runs steps elsewhere. The slots it gets were claimed by [`cache::Store::claim_in_flight`]: an earlier process may have left one
/// whose step still runs, or has ended meanwhile.
pub trait Backend: Send + Sync {
    /// What a step may occupy there when it wants `wanted`.
    fn grant(&self, wanted: Resources, policy: &Policy) -> Needs;

    /// Runs a step, or takes over the one that an earlier process started, and waits for its end. Its files lie in the slot then.
    ///
    /// # Errors
    /// The step's own failure, or what happened to it.
    fn execute(&self, order: &Order<'_>, slot: &Slot, reporter: &dyn Reporter) -> Result<Finished, Failure>;
}
