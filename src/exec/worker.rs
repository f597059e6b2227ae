//! Runs one step: claims its key, runs it in this process, in a child or through a backend, seals what came out and hands it to the
//! committer. It tells the dispatcher everything and decides nothing.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache::{Claim, Filled, Slot, Store};
use plan::{ErrorClass, Event, Grant, InputRecord, Manifest, Place, Policy, Preimage, Provenance, StepId};

use super::backend::{self, Backend, Needs, Order};
use super::committer::{Door, Finished};
use super::pools::Pools;
use super::{child, journal};
use crate::steps::{Closing, InputArtifact, Registry, Reporter, StepError, Work};

/// What a worker tells the dispatcher.
#[allow(clippy::large_enum_variant, reason = "nearly all messages are events")]
pub enum Message {
    /// Something to publish.
    Event(Event),
    /// The step occupies nothing any more; what it made is on its way into the store.
    Settled(StepId),
    /// The step ended.
    Ended(StepId, Ended),
}

/// Processor seconds and most memory in MiB; 0 where that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Used {
    /// Processor seconds, children included.
    pub cpu_seconds: f64,
    /// Most memory its process had, in MiB.
    pub peak_memory_mib: u64,
}

/// How a step ended.
pub enum Ended {
    /// It is in the store.
    Done {
        /// Its record.
        manifest: Box<Manifest>,
        /// Whether somebody else had made it.
        hit: bool,
        /// Wall seconds this execution took.
        seconds: f64,
        /// What it used.
        used: Used,
    },
    /// It failed.
    Failed {
        /// Whether another attempt could help.
        class: ErrorClass,
        /// What went wrong.
        error: String,
        /// Wall seconds until then.
        seconds: f64,
    },
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
    /// A store elsewhere that is asked before a step runs.
    pub remote: Option<Arc<cache::Remote>>,
    /// Set when the run is asked to stop.
    pub stop: Arc<AtomicBool>,
    /// Threads for steps that run in this process.
    pub pools: Pools,
    /// This host's name.
    pub host: String,
}

/// Whether what the store has will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// It will.
    Any,
    /// It is to be made again.
    Anew,
}

/// One step to run.
pub struct Job {
    /// Its position in the plan.
    pub step: StepId,
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// How it is treated.
    pub policy: Policy,
    /// What decides its result.
    pub preimage: Preimage,
    /// What it consumes.
    pub records: Vec<InputRecord>,
    /// Where that lies.
    pub inputs: Vec<InputArtifact>,
    /// What it has to itself.
    pub grant: Grant,
    /// What it occupies where the backend runs it.
    pub needs: Option<Needs>,
    /// Whether what the store has will do.
    pub demand: Demand,
}

/// Runs a job and tells how it ended.
pub fn run(shared: &Shared, job: &Job, sender: &Sender<Message>, committer: &Door) {
    let started = Instant::now();
    let reporter = Channel {
        step: job.step,
        sender: sender.clone(),
        stop: shared.stop.clone(),
        deadline: job.policy.timeout_s.map(|seconds| started + Duration::from_secs_f64(seconds.clamp(0.0, 1e9))),
        used: Mutex::default(),
    };
    let ended = match attempt(shared, job, &reporter) {
        Ok(Made::Hit(manifest)) => {
            Some(Ended::Done { manifest: Box::new(manifest), hit: true, seconds: 0.0, used: Used::default() })
        }
        Ok(Made::Sealed(sealed, used)) => {
            let seconds = started.elapsed().as_secs_f64();
            // The dispatcher outlives its workers.
            let settled = || drop(sender.send(Message::Settled(job.step)));
            committer.pass(Finished { step: job.step, sealed: *sealed, seconds, used }, settled);
            None
        }
        Err(StepError::Interrupted) if reporter.is_late() && !shared.stop.load(Ordering::Relaxed) => {
            let limit = job.policy.timeout_s.unwrap_or_default();
            let error = format!("it took longer than the {limit} s it may; its progress is kept");
            Some(Ended::Failed { class: ErrorClass::Timeout, error, seconds: started.elapsed().as_secs_f64() })
        }
        Err(StepError::Interrupted) => Some(Ended::Interrupted),
        Err(error) => {
            let (class, seconds) = (error.class(), started.elapsed().as_secs_f64());
            Some(Ended::Failed { class, error: error.to_string(), seconds })
        }
    };
    if let Some(ended) = ended {
        let _ = sender.send(Message::Ended(job.step, ended));
    }
}

#[allow(clippy::large_enum_variant, reason = "one for each step that runs")]
enum Made {
    Hit(Manifest),
    Sealed(Box<cache::Sealed>, Used),
}

fn attempt(shared: &Shared, job: &Job, reporter: &Channel) -> Result<Made, StepError> {
    let told = std::cell::Cell::new(false);
    let keep_waiting = |owner: &cache::Owner| {
        if !told.replace(true) {
            reporter.log(&format!("waiting: {owner} is running the same step"));
        }
        !reporter.should_stop()
    };
    let claim = match (job.demand, &shared.backend) {
        (Demand::Anew, _) => shared.store.claim_anew(&job.preimage, &keep_waiting),
        (Demand::Any, Some(_)) => shared.store.claim_in_flight(&job.preimage, &keep_waiting),
        (Demand::Any, None) => shared.store.claim_wait(&job.preimage, &keep_waiting),
    };
    let slot = match claim.map_err(StepError::failed)? {
        Claim::Hit(artifact) => return Ok(Made::Hit(artifact.manifest)),
        Claim::Slot(slot) => slot,
        Claim::Busy(_) => return Err(StepError::Interrupted),
    };
    let slot = match (&shared.remote, job.demand) {
        (Some(remote), Demand::Any) if !slot.in_flight() => match fill(remote, slot, shared, job, reporter)? {
            Filled::Hit(artifact) => {
                reporter.log(&format!("brought from the remote store, {} bytes", artifact.manifest.bytes()));
                return Ok(Made::Hit(artifact.manifest));
            }
            Filled::Absent(slot) => *slot,
        },
        _ => slot,
    };
    let threads = job.grant.cpus;
    reporter.event(Event::StepStarted { step: job.step, key: slot.key(), threads, resumed: slot.resumed() });
    let started = Instant::now();
    let result = execute(shared, job, &slot, reporter);
    let seconds = result.as_ref().map_or(started.elapsed().as_secs_f64(), |finished| finished.seconds);
    slot.add_seconds(seconds);
    match result {
        Ok(backend::Finished { closing, host, .. }) => {
            let used = *reporter.used.lock().unwrap_or_else(PoisonError::into_inner);
            let provenance = Provenance {
                run: shared.run.clone(),
                step: job.name.clone(),
                finished_ms: journal::now_ms(),
                seconds: slot.attempts_seconds(),
                host,
                device: shared.device.clone(),
                threads,
                program: env!("CARGO_PKG_VERSION").into(),
                cpu_seconds: used.cpu_seconds,
                peak_memory_mib: used.peak_memory_mib,
                temp: job.policy.temp,
                accepted_from: None,
            };
            let sealed = slot.seal(job.preimage.kind.clone(), job.records.clone(), closing, provenance);
            Ok(Made::Sealed(Box::new(sealed.map_err(StepError::failed)?), used))
        }
        Err(error) => {
            slot.abandon();
            Err(error)
        }
    }
}

/// Asks the remote store for the artifact. A remote store that cannot be reached costs nothing but the question: the step then runs.
fn fill(remote: &cache::Remote, slot: Slot, shared: &Shared, job: &Job, reporter: &Channel) -> Result<Filled, StepError> {
    match remote.fill(slot) {
        Ok(filled) => Ok(filled),
        Err(error) => {
            reporter.log(&format!("the remote store does not help: {}; the step runs here", StepError::failed(error)));
            match shared.store.claim_wait(&job.preimage, &|_| !reporter.should_stop()).map_err(StepError::failed)? {
                Claim::Hit(artifact) => Ok(Filled::Hit(Box::new(artifact))),
                Claim::Slot(slot) => Ok(Filled::Absent(Box::new(slot))),
                Claim::Busy(_) => Err(StepError::Interrupted),
            }
        }
    }
}

fn execute(shared: &Shared, job: &Job, slot: &Slot, reporter: &Channel) -> Result<backend::Finished, StepError> {
    if let (Some(backend), Some(needs)) = (&shared.backend, job.needs) {
        let mut request = request(shared, job, slot).with_whole_paths().map_err(StepError::failed)?;
        // Which ones it gets is for the other side to say.
        request.gpus.clear();
        fs_err::create_dir_all(slot.progress()).map_err(StepError::failed)?;
        let order = Order { run: &shared.run, step: &job.name, request, needs };
        return Ok(backend.execute(&order, slot, reporter)?);
    }
    let started = Instant::now();
    let closing = execute_here(shared, job, slot, reporter)?;
    Ok(backend::Finished { closing, host: shared.host.clone(), seconds: started.elapsed().as_secs_f64() })
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
        threads: job.grant.cpus.max(1) as usize,
        device: shared.device.clone(),
        gpus: job.grant.gpus.clone(),
    }
}

fn execute_here(shared: &Shared, job: &Job, slot: &Slot, reporter: &Channel) -> Result<Closing, StepError> {
    let threads = job.grant.cpus.max(1) as usize;
    match job.place {
        Place::Child => {
            fs_err::create_dir_all(slot.progress()).map_err(StepError::failed)?;
            child::run(&shared.program, &request(shared, job, slot), slot, reporter)
        }
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
            let run = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kind.run(&job.preimage.params, &work)));
            let (result, cpu_seconds) = shared.pools.run(threads, run).map_err(StepError::failed)?;
            reporter.used(cpu_seconds, 0);
            result.unwrap_or_else(|panic| Err(StepError::Failed(panic_text(&*panic))))
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
    deadline: Option<Instant>,
    used: Mutex<Used>,
}

impl Channel {
    fn event(&self, event: Event) {
        // The dispatcher outlives its workers.
        let _ = self.sender.send(Message::Event(event));
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
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
        self.stop.load(Ordering::Relaxed) || self.is_late()
    }
    fn used(&self, cpu_seconds: f64, peak_memory_mib: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.cpu_seconds += cpu_seconds;
        used.peak_memory_mib = used.peak_memory_mib.max(peak_memory_mib);
    }
}
