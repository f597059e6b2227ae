//! The one owner of a run's state: asks the schedule what may start, looks keys up, hands misses to workers, publishes every
//! transition. It does not know what a step does or who listens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cache::Store;
use plan::{
    Difference, Digest, Event, InputRecord, Manifest, Plan, Preimage, Resources, RunStatus, Schedule, Source, StepId,
    StepSummary, Value, schedule,
};

use super::backend::Backend;
use super::journal::Journal;
use super::keying::{self, Done};
use super::machine::Sampler;
use super::worker::{self, Ended, Job, Message, Shared};
use crate::steps::{InputArtifact, Registry};

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
    /// Threads and memory the run may use.
    pub capacity: Resources,
    /// Where steps run, when it is not here.
    pub backend: Option<Arc<dyn Backend>>,
    /// Set to stop cleanly.
    pub stop: Arc<AtomicBool>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Status.
    pub status: RunStatus,
    /// Manifests of all steps that are done.
    pub done: Done,
}

const MACHINE_EVERY: Duration = Duration::from_secs(1);

/// Runs a plan to its end.
pub fn execute(plan: &Plan, config: RunConfig, journal: Journal) -> Outcome {
    let (sender, receiver) = channel();
    let dispatcher = Dispatcher {
        schedule: Schedule::new(plan, config.capacity),
        plan,
        journal,
        done: Done::new(),
        keyed: BTreeMap::new(),
        workers: BTreeMap::new(),
        sender,
        shared: Arc::new(Shared {
            store: config.store.clone(),
            registry: config.registry,
            run: config.run.clone(),
            program: config.program.clone(),
            device: config.device.clone(),
            backend: config.backend.clone(),
            stop: config.stop.clone(),
        }),
        config,
        executed: 0,
        hits: 0,
        failed: 0,
        interrupted: false,
        halted: false,
        started: Instant::now(),
    };
    dispatcher.run(&receiver)
}

struct Dispatcher<'a> {
    plan: &'a Plan,
    config: RunConfig,
    schedule: Schedule,
    journal: Journal,
    done: Done,
    keyed: BTreeMap<StepId, Preimage>,
    workers: BTreeMap<StepId, JoinHandle<()>>,
    sender: Sender<Message>,
    shared: Arc<Shared>,
    executed: u64,
    hits: u64,
    failed: u64,
    interrupted: bool,
    // Whether some step was stopped before its end.
    halted: bool,
    started: Instant,
}

impl Dispatcher<'_> {
    fn run(mut self, receiver: &Receiver<Message>) -> Outcome {
        self.introduce();
        let mut sampler: Option<Sampler> = None;
        let mut sampled = Instant::now();
        loop {
            self.key_ready_steps();
            while let Some((id, threads)) = self.schedule.start() {
                self.begin(id, threads);
            }
            if self.schedule.is_over() && self.workers.is_empty() {
                break;
            }
            let sampler = sampler.get_or_insert_with(Sampler::new);
            match receiver.recv_timeout(Duration::from_millis(50)) {
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
            }
            if sampled.elapsed() >= MACHINE_EVERY {
                sampled = Instant::now();
                let machine = sampler.sample();
                self.journal.publish(Event::Machine(machine));
            }
        }
        let status = match (self.failed, self.interrupted && !self.schedule.is_complete()) {
            (0, false) if !self.halted => RunStatus::Succeeded,
            (0, _) => RunStatus::Interrupted,
            _ => RunStatus::Failed,
        };
        let (executed, hits, failed) = (self.executed, self.hits, self.failed);
        let seconds = self.started.elapsed().as_secs_f64();
        self.journal.publish(Event::RunFinished { status, executed, hits, failed, seconds });
        Outcome { status, done: self.done }
    }

    fn introduce(&mut self) {
        let event = Event::RunStarted {
            run: self.config.run.clone(),
            recipe: self.config.recipe.clone(),
            recipe_digest: self.config.recipe_digest,
            settings: self.config.settings.clone(),
            program: env!("CARGO_PKG_VERSION").into(),
            host: worker::host(),
            pid: std::process::id(),
            device: self.config.device.clone(),
            capacity: self.config.capacity,
            steps: summaries(self.plan),
            outputs: self.plan.outputs().iter().map(|output| (output.name.clone(), output.step)).collect(),
        };
        self.journal.publish(event);
    }

    /// Looks up every ready step; hits are done at once and may make more steps ready.
    fn key_ready_steps(&mut self) {
        loop {
            let fresh: Vec<StepId> = self.schedule.ready().filter(|id| !self.keyed.contains_key(id)).collect();
            if fresh.is_empty() {
                return;
            }
            for id in fresh {
                let preimage = keying::preimage(self.plan, id, &self.done).expect("inputs of a ready step are done");
                let key = preimage.key();
                self.keyed.insert(id, preimage);
                match self.config.store.lookup(&key) {
                    Ok(Some(artifact)) => {
                        self.journal.publish(Event::StepKeyed { step: id, key, hit: true, because: Vec::new() });
                        self.conclude(id, artifact.manifest, true, None);
                    }
                    Ok(None) => {
                        let because = self.reasons(id);
                        self.journal.publish(Event::StepKeyed { step: id, key, hit: false, because });
                    }
                    Err(error) => self.fail(id, error.to_string(), 0.0),
                }
            }
        }
    }

    fn reasons(&self, id: StepId) -> Vec<Difference> {
        let before = self.config.store.recall(&self.config.identity, &self.plan.step(id).name).ok().flatten();
        before.map(|before| self.keyed[&id].differences(&before)).unwrap_or_default()
    }

    fn begin(&mut self, id: StepId, threads: u32) {
        let step = self.plan.step(id);
        let records = keying::inputs(self.plan, id, &self.done).expect("inputs of a ready step are done");
        let needs = self.config.backend.as_ref().map(|backend| backend.grant(step.resources));
        let job = Job {
            step: id,
            name: step.name.clone(),
            place: step.place,
            preimage: self.keyed[&id].clone(),
            inputs: self.artifacts(id, &records),
            records,
            threads: needs.map_or(threads, |needs| needs.cpus),
            needs,
        };
        let (shared, sender) = (self.shared.clone(), self.sender.clone());
        let spawned = std::thread::Builder::new().name(step.name.clone()).spawn(move || worker::run(&shared, &job, &sender));
        match spawned {
            Ok(handle) => drop(self.workers.insert(id, handle)),
            Err(error) => self.fail(id, format!("no thread can be started: {error}"), 0.0),
        }
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
            Message::Ended(id, ended) => {
                if let Some(handle) = self.workers.remove(&id) {
                    // It has sent its last message; a panic after that changes nothing.
                    let _ = handle.join();
                }
                match ended {
                    Ended::Done(manifest, hit, seconds) => self.conclude(id, *manifest, hit, Some(seconds)),
                    Ended::Failed(error, seconds) => self.fail(id, error, seconds),
                    Ended::Interrupted => {
                        self.halted = true;
                        self.schedule.finish(id, schedule::Outcome::Interrupted);
                        self.journal.publish(Event::StepInterrupted { step: id });
                    }
                }
            }
        }
    }

    fn conclude(&mut self, id: StepId, manifest: Manifest, hit: bool, seconds: Option<f64>) {
        let name = &self.plan.step(id).name;
        if let Err(error) = self.config.store.remember(&self.config.identity, name, &manifest.key) {
            let line = format!("`why` will not know this execution: {error}");
            self.journal.publish(Event::Log { step: id, line });
        }
        if hit {
            self.hits += 1;
        } else {
            self.executed += 1;
        }
        self.journal.publish(Event::StepFinished {
            step: id,
            key: manifest.key,
            digest: manifest.digest,
            hit,
            seconds: seconds.filter(|_| !hit).unwrap_or(manifest.provenance.seconds),
            bytes: manifest.bytes(),
            metrics: manifest.metrics.clone(),
        });
        self.done.insert(id, manifest);
        self.schedule.finish(id, schedule::Outcome::Done);
    }

    fn fail(&mut self, id: StepId, error: String, seconds: f64) {
        self.failed += 1;
        self.journal.publish(Event::StepFailed { step: id, error, seconds });
        for blocked in self.schedule.finish(id, schedule::Outcome::Failed) {
            self.journal.publish(Event::StepBlocked { step: blocked, by: id });
        }
    }
}

/// How the journal introduces the steps of a plan.
pub fn summaries(plan: &Plan) -> Vec<StepSummary> {
    let summary = |(index, step): (usize, &plan::StepDecl)| {
        let id = StepId(index);
        let mut inputs = Vec::new();
        let mut files = Vec::new();
        for input in &step.inputs {
            match &input.source {
                Source::Step(from) => inputs.push((input.port.clone(), *from)),
                Source::Files(list) => files.extend(list.iter().map(|file| (input.port.clone(), file.path.clone()))),
            }
        }
        StepSummary {
            id,
            name: step.name.clone(),
            kind: step.kind.clone(),
            version: step.version,
            plan_id: plan.plan_id(id),
            params: step.params.clone(),
            inputs,
            files,
            site: step.site.clone(),
            resources: step.resources,
            place: step.place,
            wanted: plan.is_wanted(id),
        }
    };
    plan.steps().iter().enumerate().map(summary).collect()
}

/// The steps of a plan that come before others and are not in the store yet, as far as can be known without running: for each
/// wanted step its verdict.
pub fn foresee(plan: &Plan, store: &Store, recipe: &str) -> Result<BTreeMap<StepId, Verdict>, cache::StoreError> {
    let mut done = Done::new();
    let mut verdicts = BTreeMap::new();
    for &id in plan.order().iter().filter(|&&id| plan.is_wanted(id)) {
        let Some(preimage) = keying::preimage(plan, id, &done) else {
            let waits: BTreeSet<StepId> =
                plan::graph::dependencies(plan.step(id)).filter(|input| !done.contains_key(input)).collect();
            verdicts.insert(id, Verdict::Unknown { waits: waits.into_iter().collect() });
            continue;
        };
        if let Some(artifact) = store.lookup(&preimage.key())? {
            done.insert(id, artifact.manifest);
            verdicts.insert(id, Verdict::Hit { key: preimage.key() });
        } else {
            let before = store.recall(recipe, &plan.step(id).name)?;
            let because = before.as_ref().map(|before| preimage.differences(before));
            verdicts.insert(id, Verdict::Miss { key: preimage.key(), because });
        }
    }
    Ok(verdicts)
}

/// What a run would do with a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Its artifact is in the store.
    Hit {
        /// Its key.
        key: plan::Key,
    },
    /// It would run.
    Miss {
        /// Its key.
        key: plan::Key,
        /// Differences to its last execution under this name; none when there was no such.
        because: Option<Vec<Difference>>,
    },
    /// Its key depends on what these steps will make.
    Unknown {
        /// The steps.
        waits: Vec<StepId>,
    },
}
