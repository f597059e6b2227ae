//! Everything a run tells: a closed list of events in one total order. Journals hold them one JSON object a line; dashboard,
//! printers and database are folds over them. This file does not know who listens.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Difference, Digest, ErrorClass, Key, Place, PlanId, Resources, Site, StepId, Value};

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the run's order, from 0.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Every wanted step is done.
    Succeeded,
    /// At least one step failed.
    Failed,
    /// Stopped on request; progress is kept.
    Interrupted,
}

/// A step as the journal introduces it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSummary {
    /// Position in the plan.
    pub id: StepId,
    /// Unique name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// The kind's VERSION.
    pub version: u32,
    /// Name of the declaration.
    pub plan_id: PlanId,
    /// Parameters, defaults filled in.
    pub params: Value,
    /// Steps it consumes: port and step, in port order.
    pub inputs: Vec<(String, StepId)>,
    /// Files it reads from outside: port and path.
    pub files: Vec<(String, String)>,
    /// Where it was declared.
    pub site: Site,
    /// What it occupies.
    pub resources: Resources,
    /// Where it runs.
    pub place: Place,
    /// Whether the wanted outputs need it.
    pub wanted: bool,
}

/// A sample of the machine's load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Share of all cores in use, 0 to 100.
    pub cpu_percent: f64,
    /// Memory in use, in MiB.
    pub memory_mib: u64,
    /// Memory there is, in MiB.
    pub memory_total_mib: u64,
    /// Load average over one minute.
    pub load: f64,
    /// GPUs: name, utilisation 0 to 100, memory in use and total in MiB.
    pub gpus: Vec<(String, f64, u64, u64)>,
}

/// What can happen in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The plan is checked and the run begins.
    RunStarted {
        /// Unique name of the run.
        run: String,
        /// Recipe path as the user gave it.
        recipe: String,
        /// Digest of the recipe's text and of everything it imported.
        recipe_digest: Digest,
        /// Parameters set by the user or defaulted: name and value.
        settings: BTreeMap<String, Value>,
        /// Version of the program.
        program: String,
        /// Host name.
        host: String,
        /// Process id of the run.
        pid: u32,
        /// Device that tensors compute on.
        device: String,
        /// Threads and memory the run may use.
        capacity: Resources,
        /// All steps, in plan order.
        steps: Vec<StepSummary>,
        /// Declared outputs: name and step.
        outputs: Vec<(String, StepId)>,
    },
    /// A step's inputs are known, and so is its key.
    StepKeyed {
        /// Step.
        step: StepId,
        /// Its key.
        key: Key,
        /// Whether the store has it.
        hit: bool,
        /// For a miss: the differences to its last execution under this name; empty when it never ran.
        because: Vec<Difference>,
    },
    /// A step begins to execute.
    StepStarted {
        /// Step.
        step: StepId,
        /// Its key.
        key: Key,
        /// Threads it has.
        threads: u32,
        /// Whether it goes on from saved progress.
        resumed: bool,
    },
    /// A step's progress.
    StepProgress {
        /// Step.
        step: StepId,
        /// Work done, in `unit`.
        done: u64,
        /// All work, if known.
        total: Option<u64>,
        /// Unit, e.g. `tokens`, `documents`.
        unit: String,
    },
    /// Measurements a step takes as it goes.
    Metrics {
        /// Step.
        step: StepId,
        /// The step's own abscissa, e.g. optimiser steps.
        at: u64,
        /// Names as OLMo-core gives them, e.g. `train/CE loss`.
        #[serde(deserialize_with = "measurements")]
        values: BTreeMap<String, f64>,
    },
    /// A line a step wrote.
    Log {
        /// Step.
        step: StepId,
        /// The line.
        line: String,
    },
    /// A step is done: executed, or found in the store.
    StepFinished {
        /// Step.
        step: StepId,
        /// Its key.
        key: Key,
        /// What came out.
        digest: Digest,
        /// True when nothing was executed.
        hit: bool,
        /// Wall seconds of this execution, or for a hit of the one that made it.
        seconds: f64,
        /// Size of the artifact.
        bytes: u64,
        /// Processor seconds of this execution, children included; 0 for a hit.
        #[serde(default)]
        cpu_seconds: f64,
        /// Most memory its process had, in MiB; 0 where that is not known.
        #[serde(default)]
        peak_memory_mib: u64,
        /// Closing figures.
        #[serde(deserialize_with = "measurements")]
        metrics: BTreeMap<String, f64>,
    },
    /// A step failed; what depends on it is blocked.
    StepFailed {
        /// Step.
        step: StepId,
        /// What went wrong and what to do.
        error: String,
        /// Wall seconds until then.
        seconds: f64,
        /// Whether another attempt could have helped.
        #[serde(default)]
        class: ErrorClass,
    },
    /// An attempt failed and another will be made.
    StepRetried {
        /// Step.
        step: StepId,
        /// Attempts so far in this run.
        attempt: u32,
        /// What went wrong.
        error: String,
        /// Why that may pass.
        class: ErrorClass,
        /// Seconds until the next attempt.
        wait_s: f64,
    },
    /// The artifact of another key was declared good for this one; a hit follows.
    StepAccepted {
        /// Step.
        step: StepId,
        /// The key it now answers.
        key: Key,
        /// The key it was made for.
        from: Key,
        /// In what the two differ.
        differences: Vec<Difference>,
    },
    /// A step cannot run because another failed.
    StepBlocked {
        /// Step.
        step: StepId,
        /// The step that failed.
        by: StepId,
    },
    /// A step was stopped on request; its progress is kept.
    StepInterrupted {
        /// Step.
        step: StepId,
    },
    /// The machine's load.
    Machine(Machine),
    /// The run ends.
    RunFinished {
        /// How.
        status: RunStatus,
        /// Steps executed.
        executed: u64,
        /// Steps found in the store.
        hits: u64,
        /// Steps failed.
        failed: u64,
        /// Wall seconds.
        seconds: f64,
    },
}

/// Reads measurements; JSON has no NaN and writes null in its place.
///
/// # Errors
/// If they are not numbers by name.
pub fn measurements<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_flat_json_lines() {
        let record = Record {
            seq: 7,
            time_ms: 1,
            event: Event::StepProgress { step: StepId(3), done: 5, total: None, unit: "tokens".into() },
        };
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(line, r#"{"seq":7,"time_ms":1,"event":"step_progress","step":3,"done":5,"total":null,"unit":"tokens"}"#);
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        let machine = Record { seq: 8, time_ms: 1, event: Event::Machine(Machine::default()) };
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&machine).unwrap()).unwrap(), machine);
    }

    #[test]
    fn a_measurement_that_is_no_number_does_not_lose_the_record() {
        let values = BTreeMap::from([("train/CE loss".to_owned(), f64::NAN)]);
        let line = serde_json::to_string(&Event::Metrics { step: StepId(0), at: 3, values }).unwrap();
        let Event::Metrics { values, .. } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert!(values["train/CE loss"].is_nan());
    }
}
