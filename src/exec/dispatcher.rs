//! The one owner of a run's state: asks the schedule what may start, looks keys up, hands misses to workers, publishes every
//! transition. It does not know what a step does or who listens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use cache::{Names, Recent, Store};
use plan::{
    Digest, ErrorClass, Event, Grant, InputRecord, Key, Limits, Manifest, Plan, Preimage, Resources, RunStatus, Schedule, Source,
    StepId, Value, schedule,
};

use super::backend::Backend;
use super::committer::Committer;
use super::crew::Crew;
use super::journal::Journal;
use super::keying::{self, Done};
use super::machine::Sampler;
use super::pools::Pools;
use super::summary::summaries;
use super::worker::{self, Demand, Ended, Job, Message, Shared, Used};
use crate::steps::{InputArtifact, Registry};

mod lookup;

/// What a run needs beside its plan.
pub struct RunConfig {
    /// Name of the run.
    pub run: String,
    /// Recipe path as the user gave it.
    pub recipe: String,
    /// The recipe whatever folder it is named from; `why` finds earlier executions by it.
    pub identity: String,
    /// Digest of everything the recipe read.
    pub recipe_digest: Digest,
    /// Parameters of the recipe.
    pub settings: BTreeMap<String, Value>,
    /// The recipe's folder, to which files from outside are relative.
    pub base: PathBuf,
    /// The store.
    pub store: Store,
    /// The kinds.
    pub registry: &'static Registry,
    /// This program, which children run.
    pub program: PathBuf,
    /// Device that tensors compute on.
    pub device: String,
    /// Threads, memory and GPUs the run may use.
    pub capacity: Resources,
    /// Most of each named limit.
    pub limits: Limits,
    /// What the user said of single steps.
    pub wishes: Wishes,
    /// What a failure does to the rest of the run.
    pub on_failure: OnFailure,
    /// Where steps run, when it is not here.
    pub backend: Option<Arc<dyn Backend>>,
    /// A store elsewhere that is asked before a step runs.
    pub remote: Option<Arc<cache::Remote>>,
    /// Set to stop cleanly.
    pub stop: Arc<AtomicBool>,
}

/// What the user said of single steps.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Steps to execute though the store has them.
    pub force: BTreeSet<StepId>,
    /// Steps whose artifact under their last key is good for the new one.
    pub accept: BTreeSet<StepId>,
    /// When given, nothing else may execute.
    pub only: Option<BTreeSet<StepId>>,
}

/// What a failure does to the rest of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// What runs ends; nothing more starts.
    #[default]
    Stop,
    /// Whatever does not depend on it runs.
    KeepGoing,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Status.
    pub status: RunStatus,
    /// Manifests of all steps that are done.
    pub done: Done,
    /// Temporary artifacts that nothing waits for any more.
    pub temporary: Vec<Key>,
}

const MACHINE_EVERY: Duration = Duration::from_secs(1);
/// The dispatcher looks up at least this often, for signals.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Runs a plan to its end.
///
/// # Errors
/// If the store cannot be read, or no thread can be started.
pub fn execute(plan: &Plan, config: RunConfig, journal: Journal) -> Result<Outcome, cache::StoreError> {
    let (sender, receiver) = channel();
    let names = config.store.names(&config.identity)?;
    let recent = config.store.recent(&config.identity)?;
    let committer = Committer::start(config.store.clone(), sender.clone())?;
    let dispatcher = Dispatcher {
        schedule: Schedule::new(plan, config.capacity, &config.limits),
        plan,
        journal,
        names,
        recent,
        done: Done::new(),
        keyed: BTreeMap::new(),
        active: BTreeSet::new(),
        crew: Crew::default(),
        attempts: BTreeMap::new(),
        before_force: BTreeMap::new(),
        temporary: BTreeMap::new(),
        pauses: BTreeSet::new(),
        sender,
        committer,
        shared: Arc::new(Shared {
            store: config.store.clone(),
            registry: config.registry,
            run: config.run.clone(),
            program: config.program.clone(),
            device: config.device.clone(),
            backend: config.backend.clone(),
            remote: config.remote.clone(),
            stop: config.stop.clone(),
            pools: Pools::default(),
            host: worker::host(),
        }),
        config,
        executed: 0,
        hits: 0,
        failed: 0,
        interrupted: false,
        ranked: false,
        halted: false,
        started: Instant::now(),
    };
    Ok(dispatcher.run(&receiver))
}

struct Dispatcher<'a> {
    plan: &'a Plan,
    config: RunConfig,
    schedule: Schedule,
    journal: Journal,
    names: Names,
    recent: Recent,
    done: Done,
    keyed: BTreeMap<StepId, Preimage>,
    // Steps whose worker has not said its last word.
    active: BTreeSet<StepId>,
    crew: Crew,
    attempts: BTreeMap<StepId, u32>,
    // What forced steps had made before.
    before_force: BTreeMap<StepId, Digest>,
    // Temporary artifacts that nothing waits for.
    temporary: BTreeMap<StepId, Key>,
    // When the next attempt at a step begins.
    pauses: BTreeSet<(Instant, StepId)>,
    sender: Sender<Message>,
    committer: Committer,
    shared: Arc<Shared>,
    executed: u64,
    hits: u64,
    failed: u64,
    interrupted: bool,
    ranked: bool,
    // Whether some step was stopped before its end.
    halted: bool,
    started: Instant,
}

impl Dispatcher<'_> {
    fn run(mut self, receiver: &Receiver<Message>) -> Outcome {
        self.introduce();
        self.revive();
        let mut sampler: Option<Sampler> = None;
        let mut sampled = Instant::now();
        loop {
            self.wake();
            self.key_ready_steps();
            while let Some((id, grant)) = self.schedule.start() {
                self.begin(id, grant);
            }
            self.journal.flush();
            if self.schedule.is_over() && self.active.is_empty() {
                break;
            }
            let sampler = sampler.get_or_insert_with(Sampler::new);
            let pause = self.pauses.first().map(|(due, _)| due.saturating_duration_since(Instant::now()));
            match receiver.recv_timeout(pause.unwrap_or(LOOK_UP).min(LOOK_UP)) {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the dispatcher holds a sender"),
            }
            while let Ok(message) = receiver.try_recv() {
                self.hear(message);
            }
            if self.config.stop.load(Ordering::Relaxed) && !self.interrupted {
                self.interrupted = true;
                self.schedule.stop();
                for (_, id) in std::mem::take(&mut self.pauses) {
                    self.interrupt(id);
                }
            }
            if sampled.elapsed() >= MACHINE_EVERY {
                sampled = Instant::now();
                let machine = sampler.sample();
                self.journal.publish(Event::Machine(machine));
            }
        }
        self.end()
    }

    fn end(mut self) -> Outcome {
        crate::steps::shell::rest();
        let status = match (self.failed, self.interrupted && !self.schedule.is_complete()) {
            (0, false) if !self.halted => RunStatus::Succeeded,
            (0, _) => RunStatus::Interrupted,
            _ => RunStatus::Failed,
        };
        for saved in [self.names.close(), self.recent.save()] {
            if let Err(error) = saved {
                let line = format!("the store's memory of this recipe cannot be written, so the next run looks further: {error}");
                self.journal.publish(Event::Log { step: StepId(0), line });
            }
        }
        let (executed, hits, failed) = (self.executed, self.hits, self.failed);
        let seconds = self.started.elapsed().as_secs_f64();
        self.journal.publish(Event::RunFinished { status, executed, hits, failed, seconds });
        if executed > 0 {
            self.journal.sync();
        }
        Outcome { status, done: self.done, temporary: self.temporary.into_values().collect() }
    }

    fn introduce(&mut self) {
        let event = Event::RunStarted {
            run: self.config.run.clone(),
            recipe: self.config.recipe.clone(),
            recipe_digest: self.config.recipe_digest,
            settings: self.config.settings.clone(),
            program: env!("CARGO_PKG_VERSION").into(),
            host: self.shared.host.clone(),
            pid: std::process::id(),
            device: self.config.device.clone(),
            capacity: self.config.capacity,
            steps: summaries(self.plan),
            outputs: self.plan.outputs().iter().map(|output| (output.name.clone(), output.step)).collect(),
        };
        self.journal.publish(event);
    }

    /// Begins again what has waited long enough.
    fn wake(&mut self) {
        let now = Instant::now();
        while let Some(&(due, id)) = self.pauses.first()
            && due <= now
        {
            self.pauses.pop_first();
            self.schedule.wake(id);
        }
    }

    fn begin(&mut self, id: StepId, grant: Grant) {
        let step = self.plan.step(id);
        if let Some(error) = self.refusal(id) {
            return self.fail(id, ErrorClass::Failed, error, 0.0);
        }
        *self.attempts.entry(id).or_default() += 1;
        let records = keying::inputs(self.plan, id, &self.done).expect("inputs of a ready step are done");
        let needs = self.config.backend.as_ref().map(|backend| backend.grant(step.resources, &step.policy));
        let job = Job {
            step: id,
            name: step.name.clone(),
            place: step.place,
            policy: step.policy.clone(),
            preimage: self.keyed[&id].clone(),
            inputs: self.artifacts(id, &records),
            records,
            grant: Grant { cpus: needs.map_or(grant.cpus, |needs| needs.cpus), ..grant },
            needs,
            demand: if self.config.wishes.force.contains(&id) { Demand::Anew } else { Demand::Any },
        };
        let (shared, sender, committer) = (self.shared.clone(), self.sender.clone(), self.committer.door());
        match self.crew.run(Box::new(move || worker::run(&shared, &job, &sender, &committer))) {
            Ok(()) => drop(self.active.insert(id)),
            Err(error) => self.fail(id, ErrorClass::Failed, format!("no thread can be started: {error}"), 0.0),
        }
    }

    /// Why a step must not run at all.
    fn refusal(&self, id: StepId) -> Option<String> {
        let step = self.plan.step(id);
        if self.config.wishes.only.as_ref().is_some_and(|only| !only.contains(&id)) {
            return Some("it is not in the store, and `--only` lets nothing run but what it names; leave `--only` out".into());
        }
        if step.resources.gpus > self.config.capacity.gpus {
            let (needs, has) = (step.resources.gpus, self.config.capacity.gpus);
            return Some(format!("it needs {needs} GPUs and the run has {has}; `--gpus N` says how many there are"));
        }
        None
    }

    fn artifacts(&self, id: StepId, records: &[InputRecord]) -> Vec<InputArtifact> {
        let mut artifacts = Vec::new();
        let mut records = records.iter();
        for input in &self.plan.step(id).inputs {
            match &input.source {
                Source::Step(from) => {
                    let manifest = &self.done[from];
                    let folder = self.config.store.artifact(&manifest.digest);
                    let record = records.next().expect("a record for every input");
                    artifacts.push(InputArtifact {
                        port: input.port.clone(),
                        name: self.plan.step(*from).name.clone(),
                        path: input.part.as_ref().map_or(folder.clone(), |part| folder.join(part)),
                        label: input.part.clone().unwrap_or_default(),
                        metrics: manifest.metrics.clone(),
                        digest: record.digest,
                    });
                }
                Source::Files(files) => artifacts.extend(files.iter().map(|file| {
                    records.next();
                    InputArtifact {
                        port: input.port.clone(),
                        name: file.path.clone(),
                        path: self.config.base.join(&file.path),
                        label: file.path.clone(),
                        metrics: BTreeMap::new(),
                        digest: file.digest,
                    }
                })),
            }
        }
        artifacts
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.journal.publish(event),
            Message::Settled(id) => {
                self.active.remove(&id);
                self.schedule.settle(id);
            }
            Message::Ended(id, ended) => {
                self.active.remove(&id);
                match ended {
                    Ended::Done { manifest, hit, seconds, used } => {
                        self.compare_with_before(id, &manifest);
                        self.conclude(id, *manifest, (!hit).then_some((seconds, used)));
                    }
                    Ended::Failed { class, error, seconds } => self.retry_or_fail(id, class, error, seconds),
                    Ended::Interrupted => self.interrupt(id),
                }
            }
        }
    }

    fn interrupt(&mut self, id: StepId) {
        self.halted = true;
        self.schedule.finish(id, schedule::Outcome::Interrupted);
        self.journal.publish(Event::StepInterrupted { step: id });
    }

    /// Ends a step that is done; `execution` is none when nothing was executed.
    fn conclude(&mut self, id: StepId, manifest: Manifest, execution: Option<(f64, Used)>) {
        let name = &self.plan.step(id).name;
        let took_ms = execution.map(|_| (manifest.provenance.seconds * 1000.0) as u64);
        if let Err(error) = self.names.remember(name, manifest.key, took_ms) {
            let line = format!("`why` will not know this execution: {error}");
            self.journal.publish(Event::Log { step: id, line });
        }
        if execution.is_some() {
            self.executed += 1;
            self.recent.note(&manifest);
        } else {
            self.hits += 1;
        }
        let used = execution.map(|(_, used)| used).unwrap_or_default();
        self.journal.publish(Event::StepFinished {
            step: id,
            key: manifest.key,
            digest: manifest.digest,
            hit: execution.is_none(),
            seconds: execution.map_or(manifest.provenance.seconds, |(seconds, _)| seconds),
            bytes: manifest.bytes(),
            cpu_seconds: used.cpu_seconds,
            peak_memory_mib: used.peak_memory_mib,
            metrics: manifest.metrics.clone(),
        });
        self.keyed.remove(&id);
        self.done.insert(id, manifest);
        self.schedule.finish(id, schedule::Outcome::Done);
        self.release_temporaries(id);
    }

    fn retry_or_fail(&mut self, id: StepId, class: ErrorClass, error: String, seconds: f64) {
        let attempt = self.attempts.get(&id).copied().unwrap_or(1);
        let wait_s = self.plan.step(id).policy.wait_after(attempt, class).filter(|_| !self.interrupted);
        let Some(wait_s) = wait_s else { return self.fail(id, class, error, seconds) };
        self.schedule.pause(id);
        self.pauses.insert((Instant::now() + Duration::from_secs_f64(wait_s), id));
        self.journal.publish(Event::StepRetried { step: id, attempt, error, class, wait_s });
    }

    fn fail(&mut self, id: StepId, class: ErrorClass, error: String, seconds: f64) {
        self.failed += 1;
        self.journal.publish(Event::StepFailed { step: id, error, seconds, class });
        for blocked in self.schedule.finish(id, schedule::Outcome::Failed) {
            self.journal.publish(Event::StepBlocked { step: blocked, by: id });
        }
        if self.config.on_failure == OnFailure::Stop {
            self.schedule.stop();
        }
    }
}
