//! [`State`]: a run as seen from its records, a pure fold. It knows no clock (times come from records or from the caller), no I/O
//! and no terminal; its memory is bounded whatever the length of the run.

mod eta;
mod lanes;
mod log;
mod progress;
mod series;
mod step;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use plan::{Digest, Event, Machine, Record, Resources, RunStatus, StepId, StepSummary, Value};

pub use eta::Eta;
pub use lanes::Row;
pub use log::{LOG_LINES, Log};
pub use progress::Progress;
pub use series::{POINTS, Point, Series};
pub use step::{Done, METRICS, Step, StepState};

/// Samples of the machine's load that are kept.
pub const MACHINE_SAMPLES: usize = 600;

/// What a run says about itself when it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// Unique name of the run.
    pub run: String,
    /// Recipe path as the user gave it.
    pub recipe: String,
    /// Digest of the recipe and of everything it imported.
    pub recipe_digest: Digest,
    /// Parameters set by the user or defaulted.
    pub settings: BTreeMap<String, Value>,
    /// Version of the program.
    pub program: String,
    /// Host name.
    pub host: String,
    /// Process id of the run.
    pub pid: u32,
    /// Device that tensors compute on.
    pub device: String,
    /// Threads and memory the run may use.
    pub capacity: Resources,
    /// Declared outputs: name and step.
    pub outputs: Vec<(String, StepId)>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunEnd {
    /// How.
    pub status: RunStatus,
    /// Steps executed.
    pub executed: u64,
    /// Steps found in the store.
    pub hits: u64,
    /// Steps failed.
    pub failed: u64,
    /// Wall seconds.
    pub seconds: f64,
}

/// How many steps stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Steps that the outputs need; the sum of all other fields but `unwanted`.
    pub wanted: usize,
    /// Steps that no output needs.
    pub unwanted: usize,
    /// Steps with inputs that are not done.
    pub waiting: usize,
    /// Steps that could start.
    pub ready: usize,
    /// Steps that execute.
    pub running: usize,
    /// Steps found in the store.
    pub hits: usize,
    /// Steps executed to the end.
    pub executed: usize,
    /// Steps that failed.
    pub failed: usize,
    /// Steps behind one that failed.
    pub blocked: usize,
    /// Steps stopped on request.
    pub interrupted: usize,
}

impl Counts {
    /// Steps that are done, however.
    pub fn done(&self) -> usize {
        self.hits + self.executed
    }
}

/// Everything known about a run, from its records alone.
#[derive(Debug, Clone, Default)]
pub struct State {
    run: Option<RunInfo>,
    steps: Vec<Step>,
    rows: Vec<Row>,
    positions: BTreeMap<StepId, usize>,
    dependants: Vec<Vec<usize>>,
    machine: VecDeque<(u64, Machine)>,
    started_ms: u64,
    last_ms: u64,
    end: Option<RunEnd>,
}

impl State {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one record. Records that make no sense (unknown steps, states out of order) change as little as they can.
    /// A second `RunStarted` begins anew.
    pub fn apply(&mut self, record: &Record) {
        let time = record.time_ms;
        self.last_ms = self.last_ms.max(time);
        match &record.event {
            Event::RunStarted { run, recipe, recipe_digest, settings, program, host, pid, device, capacity, steps, outputs } => {
                *self = Self { started_ms: time, last_ms: time, ..Self::default() };
                self.run = Some(RunInfo {
                    run: run.clone(),
                    recipe: recipe.clone(),
                    recipe_digest: *recipe_digest,
                    settings: settings.clone(),
                    program: program.clone(),
                    host: host.clone(),
                    pid: *pid,
                    device: device.clone(),
                    capacity: *capacity,
                    outputs: outputs.clone(),
                });
                self.introduce(steps);
            }
            Event::StepKeyed { step, key, hit, because } => self.with(*step, |step| {
                step.key = Some(*key);
                step.hit = Some(*hit);
                step.because = because.clone();
            }),
            Event::StepStarted { step, key, threads, resumed } => {
                self.with(*step, |step| step.start(time, *key, *threads, *resumed));
            }
            Event::StepProgress { step, done, total, unit } => self.with(*step, |step| {
                step.progress.get_or_insert_with(Progress::default).update(time, *done, *total, unit);
            }),
            Event::Metrics { step, at, values } => self.with(*step, |step| step.measure(*at, values)),
            Event::Log { step, line } => self.with(*step, |step| step.log.push(line)),
            Event::StepFinished { step, key, digest, hit, seconds, bytes, metrics, .. } => {
                self.with(*step, |step| {
                    step.end(StepState::Done(if *hit { Done::Hit } else { Done::Executed }), time, Some(*seconds));
                    step.key = Some(*key);
                    step.digest = Some(*digest);
                    step.bytes = *bytes;
                    step.closing = metrics.clone();
                });
                self.wake_dependants(*step);
            }
            Event::StepFailed { step, error, seconds, .. } => self.with(*step, |step| {
                step.end(StepState::Failed, time, Some(*seconds));
                step.error = Some(log::clean(error));
            }),
            Event::StepBlocked { step, by } => {
                self.with(*step, |step| step.end(StepState::Blocked(*by), time, None));
            }
            Event::StepInterrupted { step } => self.with(*step, |step| {
                let seconds = step.started_ms.map(|start| time.saturating_sub(start) as f64 / 1000.0);
                step.end(StepState::Interrupted, time, seconds);
            }),
            Event::StepRetried { step, attempt, error, wait_s, .. } => self.with(*step, |step| {
                step.log.push(&format!("attempt {attempt} failed: {error}; the next begins in {wait_s:.0} s"));
            }),
            Event::StepAccepted { step, from, .. } => self.with(*step, |step| {
                step.log.push(&format!("the artifact of {} was declared good for it", from.short()));
            }),
            Event::Machine(sample) => {
                if self.machine.len() == MACHINE_SAMPLES {
                    self.machine.pop_front();
                }
                self.machine.push_back((time, sample.clone()));
            }
            Event::RunFinished { status, executed, hits, failed, seconds } => {
                self.end = Some(RunEnd { status: *status, executed: *executed, hits: *hits, failed: *failed, seconds: *seconds });
            }
        }
    }

    /// What the run said when it started; none before that.
    pub fn run(&self) -> Option<&RunInfo> {
        self.run.as_ref()
    }

    /// How the run ended; none while it goes on.
    pub fn end(&self) -> Option<&RunEnd> {
        self.end.as_ref()
    }

    /// All steps, inputs before what consumes them, otherwise in plan order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// One step, if the plan has it.
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(*self.positions.get(&id)?)
    }

    /// Where in [`steps`](Self::steps) a step stands.
    pub fn position(&self, id: StepId) -> Option<usize> {
        self.positions.get(&id).copied()
    }

    /// The name of a step, or `step 7` for one that the plan does not have.
    pub fn name(&self, id: StepId) -> String {
        self.step(id).map_or_else(|| format!("step {}", id.0), |step| step.summary.name.clone())
    }

    /// The lanes of the graph, one row for each of [`steps`](Self::steps).
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Steps that consume the one at this position, as positions.
    pub fn dependants(&self, position: usize) -> &[usize] {
        self.dependants.get(position).map_or(&[], Vec::as_slice)
    }

    /// Samples of the machine's load with their times in ms since the epoch, oldest first; the last [`MACHINE_SAMPLES`].
    pub fn machine(&self) -> &VecDeque<(u64, Machine)> {
        &self.machine
    }

    /// The time of the first record of the run, in ms since the epoch.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// The latest time of any record, in ms since the epoch.
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Wall milliseconds of the run so far, or in all once it ended.
    pub fn elapsed_ms(&self, now_ms: u64) -> u64 {
        match (&self.run, &self.end) {
            (_, Some(end)) => (end.seconds.max(0.0) * 1000.0) as u64,
            (Some(_), None) => now_ms.saturating_sub(self.started_ms),
            (None, None) => 0,
        }
    }

    /// How many steps stand where.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in &self.steps {
            let place = match step.state {
                StepState::Unwanted => &mut counts.unwanted,
                StepState::Waiting => &mut counts.waiting,
                StepState::Ready => &mut counts.ready,
                StepState::Running => &mut counts.running,
                StepState::Done(Done::Hit) => &mut counts.hits,
                StepState::Done(Done::Executed) => &mut counts.executed,
                StepState::Failed => &mut counts.failed,
                StepState::Blocked(_) => &mut counts.blocked,
                StepState::Interrupted => &mut counts.interrupted,
            };
            *place += 1;
        }
        counts.wanted = self.steps.len() - counts.unwanted;
        counts
    }

    /// Steps that run, in plan order.
    pub fn running(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.state == StepState::Running)
    }

    /// The position of the step most worth looking at: of those that run, one that measures something, then the one that started
    /// first; else one that failed; else the one that ended last; else the first that is wanted.
    pub fn focus(&self) -> Option<usize> {
        let positions = || self.steps.iter().enumerate();
        let running = positions()
            .filter(|(_, step)| step.state == StepState::Running)
            .min_by_key(|(position, step)| (step.metrics.is_empty(), step.started_ms, *position));
        let failed = || positions().find(|(_, step)| step.state == StepState::Failed);
        let latest = || {
            let ended = positions().filter(|(_, step)| matches!(step.state, StepState::Done(_) | StepState::Interrupted));
            ended.max_by_key(|(position, step)| (step.ended_ms, *position))
        };
        let wanted = || positions().find(|(_, step)| step.summary.wanted);
        running.or_else(failed).or_else(latest).or_else(wanted).map(|(position, _)| position).or(if self.steps.is_empty() {
            None
        } else {
            Some(0)
        })
    }

    fn with(&mut self, id: StepId, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.positions.get(&id).and_then(|&position| self.steps.get_mut(position)) {
            change(step);
        }
    }

    fn introduce(&mut self, summaries: &[StepSummary]) {
        let order = topological(summaries);
        for (position, &index) in order.iter().enumerate() {
            self.positions.entry(summaries[index].id).or_insert(position);
        }
        self.dependants = vec![Vec::new(); order.len()];
        for (position, &index) in order.iter().enumerate() {
            let summary = &summaries[index];
            let mut inputs: Vec<usize> =
                summary.inputs.iter().filter_map(|(_, id)| self.position(*id)).filter(|&input| input < position).collect();
            inputs.sort_unstable();
            inputs.dedup();
            for &input in &inputs {
                self.dependants[input].push(position);
            }
            self.steps.push(Step::new(summary.clone(), inputs));
        }
        self.rows = lanes::rows(&self.steps.iter().map(|step| step.inputs.as_slice()).collect::<Vec<_>>());
    }

    fn wake_dependants(&mut self, id: StepId) {
        let Some(position) = self.position(id) else { return };
        for next in self.dependants[position].clone() {
            let done = |&input: &usize| matches!(self.steps[input].state, StepState::Done(_));
            if self.steps[next].state == StepState::Waiting && self.steps[next].inputs.iter().all(done) {
                self.steps[next].state = StepState::Ready;
            }
        }
    }
}

/// Indices of all summaries, inputs first, otherwise as given; what lies on a circle comes last.
fn topological(summaries: &[StepSummary]) -> Vec<usize> {
    let mut index_of = BTreeMap::new();
    for (index, summary) in summaries.iter().enumerate() {
        index_of.entry(summary.id).or_insert(index);
    }
    let mut missing = vec![0_usize; summaries.len()];
    let mut dependants = vec![Vec::new(); summaries.len()];
    for (index, summary) in summaries.iter().enumerate() {
        for input in summary.inputs.iter().filter_map(|(_, id)| index_of.get(id)) {
            missing[index] += 1;
            dependants[*input].push(index);
        }
    }
    let mut ready: BinaryHeap<_> = (0..summaries.len()).filter(|&index| missing[index] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(summaries.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &next in &dependants[index] {
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    order.extend((0..summaries.len()).filter(|&index| missing[index] > 0));
    order
}

#[cfg(test)]
mod tests;
