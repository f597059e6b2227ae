//! Runs one step: claims its key, runs it in this process or in a child, commits what came out. It tells the dispatcher everything
//! and decides nothing.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use cache::{Claim, Slot, Store};
use plan::{Event, InputRecord, Manifest, Place, Preimage, Provenance, StepId};

use super::backend::{Backend, Finished, Needs, Order};
use super::{child, journal};
use crate::steps::{Closing, InputArtifact, Registry, Reporter, StepError, Work};

/// What a worker tells the dispatcher.
#[allow(clippy::large_enum_variant, reason = "nearly all messages are events")]
pub enum Message {
    /// Something to publish.
    Event(Event),
    /// The step ended.
    Ended(StepId, Ended),
}

/// How a step ended.
pub enum Ended {
    /// It is in the store; whether another run had made it, and the seconds this execution took.
    Done(Box<Manifest>, bool, f64),
    /// It failed after so many seconds.
    Failed(String, f64),
    /// It was stopped.
    Interrupted,
}

/// What all workers of a run share.
pub struct Shared {
    /// The store.
    pub store: Store,
    /// The kinds.
    pub registry: &'static Registry,
    /// Name of the run.
    pub run: String,
    /// This program, which children run.
    pub program: PathBuf,
    /// Device that tensors compute on.
    pub device: String,
    /// Where steps run, when it is not here.
    pub backend: Option<Arc<dyn Backend>>,
    /// Set when the run is asked to stop.
    pub stop: Arc<AtomicBool>,
}

/// One step to run.
pub struct Job {
    /// Its position in the plan.
    pub step: StepId,
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// What decides its result.
    pub preimage: Preimage,
    /// What it consumes.
    pub records: Vec<InputRecord>,
    /// Where that lies.
    pub inputs: Vec<InputArtifact>,
    /// Threads it has.
    pub threads: u32,
    /// What it occupies where the backend runs it.
    pub needs: Option<Needs>,
}

/// Runs a job and tells how it ended.
pub fn run(shared: &Shared, job: &Job, sender: &Sender<Message>) {
    let started = Instant::now();
    let ended = match attempt(shared, job, sender) {
        Ok((manifest, hit)) => Ended::Done(Box::new(manifest), hit, started.elapsed().as_secs_f64()),
        Err(StepError::Interrupted) => Ended::Interrupted,
        Err(StepError::Failed(error)) => Ended::Failed(error, started.elapsed().as_secs_f64()),
    };
    // The dispatcher outlives its workers.
    let _ = sender.send(Message::Ended(job.step, ended));
}

fn attempt(shared: &Shared, job: &Job, sender: &Sender<Message>) -> Result<(Manifest, bool), StepError> {
    let reporter = Channel { step: job.step, sender: sender.clone(), stop: shared.stop.clone() };
    let told = std::cell::Cell::new(false);
    let keep_waiting = |owner: &cache::Owner| {
        if !told.replace(true) {
            reporter.log(&format!("waiting: {owner} is running the same step"));
        }
        !reporter.should_stop()
    };
    let claim = match &shared.backend {
        Some(_) => shared.store.claim_in_flight(&job.preimage, &keep_waiting),
        None => shared.store.claim_wait(&job.preimage, &keep_waiting),
    };
    let slot = match claim.map_err(StepError::failed)? {
        Claim::Hit(artifact) => return Ok((artifact.manifest, true)),
        Claim::Slot(slot) => slot,
        Claim::Busy(_) => return Err(StepError::Interrupted),
    };
    reporter.event(Event::StepStarted { step: job.step, key: slot.key(), threads: job.threads, resumed: slot.resumed() });
    let started = Instant::now();
    let result = execute(shared, job, &slot, &reporter);
    let seconds = result.as_ref().map_or(started.elapsed().as_secs_f64(), |finished| finished.seconds);
    slot.add_seconds(seconds).map_err(StepError::failed)?;
    match result {
        Ok(Finished { closing, host, .. }) => {
            let provenance = Provenance {
                run: shared.run.clone(),
                step: job.name.clone(),
                finished_ms: journal::now_ms(),
                seconds: slot.attempts_seconds().map_err(StepError::failed)?,
                host,
                device: shared.device.clone(),
                threads: job.threads,
                program: env!("CARGO_PKG_VERSION").into(),
            };
            let artifact =
                slot.commit(job.preimage.kind.clone(), job.records.clone(), closing, provenance).map_err(StepError::failed)?;
            Ok((artifact.manifest, false))
        }
        Err(error) => {
            slot.abandon();
            Err(error)
        }
    }
}

fn execute(shared: &Shared, job: &Job, slot: &Slot, reporter: &Channel) -> Result<Finished, StepError> {
    if let (Some(backend), Some(needs)) = (&shared.backend, job.needs) {
        let request = request(shared, job, slot).with_whole_paths().map_err(StepError::failed)?;
        let order = Order { run: &shared.run, step: &job.name, request, needs };
        return Ok(backend.execute(&order, slot, reporter)?);
    }
    let started = Instant::now();
    let closing = execute_here(shared, job, slot, reporter)?;
    Ok(Finished { closing, host: host(), seconds: started.elapsed().as_secs_f64() })
}

/// What a process of its own is asked.
fn request(shared: &Shared, job: &Job, slot: &Slot) -> child::Request {
    child::Request {
        kind: job.preimage.kind.clone(),
        version: job.preimage.version,
        params: job.preimage.params.clone(),
        inputs: job.inputs.iter().cloned().map(Into::into).collect(),
        out: slot.out(),
        progress: slot.progress(),
        threads: job.threads.max(1) as usize,
        device: shared.device.clone(),
    }
}

fn execute_here(shared: &Shared, job: &Job, slot: &Slot, reporter: &Channel) -> Result<Closing, StepError> {
    let threads = job.threads.max(1) as usize;
    match job.place {
        Place::Child => child::run(&shared.program, &request(shared, job, slot), slot, reporter),
        Place::Thread => {
            let kind = shared.registry.get(&job.preimage.kind).expect("a plan holds registered kinds only");
            let work = Work {
                inputs: job.inputs.clone(),
                out: slot.out(),
                progress: slot.progress(),
                threads,
                device: shared.device.clone(),
                reporter,
            };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(StepError::failed)?;
            let run = || pool.install(|| kind.run(&job.preimage.params, &work));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
                .unwrap_or_else(|panic| Err(StepError::Failed(panic_text(&*panic))))
        }
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the step panicked: {}; this is a mistake of the program", text.unwrap_or_default())
}

/// The host's name.
pub fn host() -> String {
    sysinfo::System::host_name().unwrap_or_default()
}

struct Channel {
    step: StepId,
    sender: Sender<Message>,
    stop: Arc<AtomicBool>,
}

impl Channel {
    fn event(&self, event: Event) {
        // The dispatcher outlives its workers.
        let _ = self.sender.send(Message::Event(event));
    }
}

impl Reporter for Channel {
    fn progress(&self, done: u64, total: Option<u64>, unit: &str) {
        self.event(Event::StepProgress { step: self.step, done, total, unit: unit.into() });
    }
    fn metrics(&self, at: u64, values: BTreeMap<String, f64>) {
        self.event(Event::Metrics { step: self.step, at, values });
    }
    fn log(&self, line: &str) {
        self.event(Event::Log { step: self.step, line: line.into() });
    }
    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
