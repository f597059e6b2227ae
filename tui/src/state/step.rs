//! [`Step`]: one step as its records tell it. It does not know other steps.

use std::collections::BTreeMap;

use plan::{Difference, Digest, Key, StepId, StepSummary};

use super::{Log, Progress, Series};

/// Names of metrics kept for one step; more are dropped.
pub const METRICS: usize = 256;

/// How a step got done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was in the store.
    Hit,
    /// It was executed.
    Executed,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// No output needs it.
    Unwanted,
    /// Some inputs are not done.
    Waiting,
    /// All inputs are done.
    Ready,
    /// It executes.
    Running,
    /// Its artifact is in the store.
    Done(Done),
    /// It failed.
    Failed,
    /// A step it depends on failed: this one.
    Blocked(StepId),
    /// It was stopped on request.
    Interrupted,
}

impl StepState {
    /// One word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unwanted => "unwanted",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done(Done::Hit) => "cached",
            Self::Done(Done::Executed) => "done",
            Self::Failed => "failed",
            Self::Blocked(_) => "blocked",
            Self::Interrupted => "stopped",
        }
    }

    /// Whether the step may still do something in this run.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Ready | Self::Running)
    }
}

/// One step as its records tell it.
#[derive(Debug, Clone)]
pub struct Step {
    /// How the journal introduced it.
    pub summary: StepSummary,
    /// Positions of the steps it consumes, ascending, without repeats.
    pub inputs: Vec<usize>,
    /// Where it stands.
    pub state: StepState,
    /// Its key, once the inputs are known.
    pub key: Option<Key>,
    /// Whether the store had it, once the key is known.
    pub hit: Option<bool>,
    /// For a miss, what differs from its last execution; empty when it never ran.
    pub because: Vec<Difference>,
    /// When it began to execute, ms since the epoch.
    pub started_ms: Option<u64>,
    /// When it ended in whatever way, ms since the epoch.
    pub ended_ms: Option<u64>,
    /// Wall seconds, once it ended; for a hit, of the execution that made it.
    pub seconds: Option<f64>,
    /// Threads it had.
    pub threads: u32,
    /// Whether it went on from saved progress.
    pub resumed: bool,
    /// Its progress.
    pub progress: Option<Progress>,
    /// Curves by name; at most [`METRICS`].
    pub metrics: BTreeMap<String, Series>,
    /// Closing figures.
    pub closing: BTreeMap<String, f64>,
    /// What came out.
    pub digest: Option<Digest>,
    /// Size of the artifact in bytes.
    pub bytes: u64,
    /// Lines it wrote.
    pub log: Log,
    /// What went wrong and what to do.
    pub error: Option<String>,
}

impl Step {
    pub(super) fn new(summary: StepSummary, inputs: Vec<usize>) -> Self {
        let state = match (summary.wanted, inputs.is_empty()) {
            (false, _) => StepState::Unwanted,
            (true, true) => StepState::Ready,
            (true, false) => StepState::Waiting,
        };
        Self {
            summary,
            inputs,
            state,
            key: None,
            hit: None,
            because: Vec::new(),
            started_ms: None,
            ended_ms: None,
            seconds: None,
            threads: 0,
            resumed: false,
            progress: None,
            metrics: BTreeMap::new(),
            closing: BTreeMap::new(),
            digest: None,
            bytes: 0,
            log: Log::default(),
            error: None,
        }
    }

    /// Wall milliseconds of its execution: so far while it runs, in all once it ended; none before it starts.
    pub fn elapsed_ms(&self, now_ms: u64) -> Option<u64> {
        match (self.state, self.seconds) {
            (StepState::Running, _) => self.started_ms.map(|start| now_ms.saturating_sub(start)),
            (_, Some(seconds)) => Some((seconds.max(0.0) * 1000.0) as u64),
            (_, None) => None,
        }
    }

    /// Seconds until it ends, from its progress; none unless it runs and its rate is known.
    pub fn eta_seconds(&self, now_ms: u64) -> Option<f64> {
        (self.state == StepState::Running).then_some(self.progress.as_ref())??.eta_seconds(now_ms)
    }

    /// The metric to show when nobody asked for one: the first of `train/CE loss`, `objective/verifiable_correct_rate`, a name
    /// with `loss`, with `reward`, with `acc`; else the first by name.
    pub fn default_metric(&self) -> Option<&str> {
        let named = |wanted: &str| self.metrics.get_key_value(wanted).map(|(name, _)| name.as_str());
        let like = |part: &str| self.metrics.keys().map(String::as_str).find(|name| name.to_ascii_lowercase().contains(part));
        named("train/CE loss")
            .or_else(|| named("objective/verifiable_correct_rate"))
            .or_else(|| like("loss"))
            .or_else(|| like("reward"))
            .or_else(|| like("acc"))
            .or_else(|| self.metrics.keys().next().map(String::as_str))
    }

    pub(super) fn start(&mut self, time_ms: u64, key: Key, threads: u32, resumed: bool) {
        self.state = StepState::Running;
        self.key = Some(key);
        self.threads = threads;
        self.resumed = resumed;
        self.started_ms = Some(time_ms);
        self.ended_ms = None;
        self.seconds = None;
        self.error = None;
        self.progress = None;
        if !resumed {
            self.metrics.clear();
        }
    }

    pub(super) fn end(&mut self, state: StepState, time_ms: u64, seconds: Option<f64>) {
        self.state = state;
        self.ended_ms = Some(time_ms);
        self.seconds = seconds.filter(|seconds| seconds.is_finite());
    }

    pub(super) fn measure(&mut self, at: u64, values: &BTreeMap<String, f64>) {
        for (name, value) in values {
            if let Some(series) = self.metrics.get_mut(name) {
                series.push(at, *value);
            } else if self.metrics.len() < METRICS {
                let mut series = Series::default();
                series.push(at, *value);
                self.metrics.insert(name.clone(), series);
            }
        }
    }
}
