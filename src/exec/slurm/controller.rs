//! The one thread of a run that talks to Slurm: it gathers steps that need the same into job arrays, asks the queue once for all
//! jobs, and cancels by lists. The threads that wait for a step read from it how their job stands. It does not know what a step
//! leaves in its slot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Options;
use super::ask::Tell;
use super::queue::{JobId, Row};
use super::script::Task;
use crate::exec::backend::{Class, Failure};

mod act;
mod choose;

/// Pause between two looks at the queue after something changed.
const SHORTEST: Duration = Duration::from_millis(200);
/// Pause while nothing changes.
const LONGEST: Duration = Duration::from_secs(30);
/// How long steps that need the same are gathered after the last has come.
const WINDOW: Duration = Duration::from_millis(150);
/// How long at most.
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
/// How often a job that should stop is told so.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long a submission is tried again while the controller is away.
const TRY_FOR: Duration = Duration::from_secs(900);
/// Most tasks of one array, whatever the site allows: the script names each.
const MOST_TASKS: usize = 1000;
/// Most jobs that one `scancel` names.
pub(super) const MOST_NAMED: usize = 100;

/// What the site allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Most tasks of an array; 1 where there are no arrays.
    pub(super) array: u32,
    /// Threads of the largest node.
    pub(super) cpus: u32,
    /// Its memory in MiB.
    pub(super) memory_mib: u64,
}

/// What is to become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// It goes on.
    No,
    /// It saves and stops; if it has not begun, it is cancelled.
    Ask,
    /// It is cancelled.
    Kill,
}

/// How far a submission has come.
#[derive(Debug, Clone)]
enum Phase {
    /// To be submitted.
    Waiting(Task),
    /// Handed to `sbatch`, perhaps more than once.
    Submitting,
    /// In the queue.
    Submitted(JobId),
    /// Not taken.
    Refused(Failure),
}

/// A step that this run waits for.
#[derive(Debug)]
struct Entry {
    number: u64,
    name: String,
    phase: Phase,
    row: Option<Row>,
    // Looks that missed the job since it was seen, or since it was submitted.
    missed: u32,
    seen: Instant,
    changed: Instant,
    stop: Stop,
    told: Option<(Tell, Instant)>,
}

/// How a job stands, for the thread that waits for it.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The job, once it is in the queue.
    pub(super) job: Option<JobId>,
    /// Why it was not taken.
    pub(super) refused: Option<Failure>,
    /// What the queue last said of it.
    pub(super) row: Option<Row>,
    /// Looks that missed it since.
    pub(super) missed: u32,
    /// Time since it was last seen.
    pub(super) unseen: Duration,
    /// Time since what the queue says of it changed.
    pub(super) unchanged: Duration,
    /// What is wrong with Slurm at the moment.
    pub(super) trouble: Option<String>,
}

/// A submission that is to be tried again.
#[derive(Debug)]
struct Retry {
    batch: String,
    tasks: Vec<Task>,
    since: Instant,
    after: Instant,
    tries: u32,
}

#[derive(Debug)]
struct State {
    entries: BTreeMap<String, Entry>,
    next: u64,
    first_arrival: Option<Instant>,
    last_arrival: Option<Instant>,
    retries: Vec<Retry>,
    pause: Duration,
    looked: Option<Instant>,
    trouble: Option<String>,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    limits: Limits,
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Talks to Slurm for all steps of a run.
#[derive(Debug)]
pub(super) struct Controller {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Controller {
    /// Starts the thread.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(options: Options, limits: Limits) -> std::io::Result<Self> {
        let state = State {
            entries: BTreeMap::new(),
            next: 0,
            first_arrival: None,
            last_arrival: None,
            retries: Vec::new(),
            pause: SHORTEST,
            looked: None,
            trouble: None,
            closed: false,
        };
        let shared = Arc::new(Shared { options, limits, state: Mutex::new(state), wake: Condvar::new() });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("slurm".into()).spawn(move || act::go(&theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What the site allows.
    pub(super) fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Takes a step to be submitted.
    pub(super) fn submit(&self, task: Task) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.first_arrival.get_or_insert(now);
        state.last_arrival = Some(now);
        let name = super::script::job_name(&self.shared.options.run);
        state.add(task.token.clone(), name, Phase::Waiting(task));
        self.shared.wake.notify_all();
    }

    /// Takes a job that an earlier process submitted for a step of the run whose jobs are called `name`.
    pub(super) fn adopt(&self, token: &str, name: String, job: JobId) {
        let mut state = self.shared.lock();
        state.add(token.to_owned(), name, Phase::Submitted(job));
        state.pause = SHORTEST;
        self.shared.wake.notify_all();
    }

    /// How the job of a token stands.
    pub(super) fn view(&self, token: &str) -> View {
        let state = self.shared.lock();
        let gone = |reason: &str| View {
            job: None,
            refused: Some(Failure::Failed(Class::Machine, reason.to_owned())),
            row: None,
            missed: 0,
            unseen: Duration::ZERO,
            unchanged: Duration::ZERO,
            trouble: None,
        };
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return gone("the thread that talks to Slurm is gone; this is a mistake of the program");
        }
        let Some(entry) = state.entries.get(token) else { return gone("the step was withdrawn from Slurm") };
        View {
            job: if let Phase::Submitted(job) = entry.phase { Some(job) } else { None },
            refused: if let Phase::Refused(failure) = &entry.phase { Some(failure.clone()) } else { None },
            row: entry.row.clone(),
            missed: entry.missed,
            unseen: entry.seen.elapsed(),
            unchanged: entry.changed.elapsed(),
            trouble: state.trouble.clone(),
        }
    }

    /// Stops the job of a token, harder if it was asked before. Tells whether it was never submitted and is now forgotten.
    pub(super) fn stop(&self, token: &str, how: Stop) -> bool {
        let mut state = self.shared.lock();
        let Some(entry) = state.entries.get_mut(token) else { return true };
        if matches!(entry.phase, Phase::Waiting(_)) {
            state.entries.remove(token);
            return true;
        }
        if how > entry.stop {
            entry.stop = how;
            self.shared.wake.notify_all();
        }
        false
    }

    /// Looks at the queue soon: something is about to have changed.
    pub(super) fn look(&self) {
        let mut state = self.shared.lock();
        if state.pause > SHORTEST {
            state.pause = SHORTEST;
            self.shared.wake.notify_all();
        }
    }

    /// Waits for the job of a token no longer.
    pub(super) fn forget(&self, token: &str) {
        self.shared.lock().entries.remove(token);
        self.shared.wake.notify_all();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // What a panic said is on the terminal.
            let _ = thread.join();
        }
    }
}

impl State {
    fn add(&mut self, token: String, name: String, phase: Phase) {
        let (number, now) = (self.next, Instant::now());
        self.next += 1;
        let entry = Entry { number, name, phase, row: None, missed: 0, seen: now, changed: now, stop: Stop::No, told: None };
        self.entries.insert(token, entry);
    }

    /// What the queue said of all jobs. Tells whether that is news.
    fn hear(&mut self, rows: &BTreeMap<JobId, Row>, now: Instant) -> bool {
        let mut news = false;
        for entry in self.entries.values_mut() {
            let Phase::Submitted(job) = entry.phase else { continue };
            // An array that was cancelled before any task began is kept as one job.
            let whole = || rows.get(&JobId { task: None, ..job }).filter(|row| row.state.is_final());
            match rows.get(&job).or_else(whole) {
                Some(row) => {
                    let same = entry.row.as_ref().is_some_and(|old| (old.state, &old.reason) == (row.state, &row.reason));
                    if !same {
                        entry.changed = now;
                        news = true;
                    }
                    entry.row = Some(row.clone());
                    entry.seen = now;
                    entry.missed = 0;
                }
                None => {
                    news |= entry.missed == 0;
                    entry.missed = entry.missed.saturating_add(1);
                }
            }
        }
        self.pause = if news { SHORTEST } else { (self.pause * 3 / 2).min(LONGEST) };
        news
    }

    /// The names of the jobs that are waited for.
    fn names(&self) -> BTreeSet<String> {
        let submitted = self.entries.values().filter(|entry| matches!(entry.phase, Phase::Submitted(_)));
        submitted.map(|entry| entry.name.clone()).collect()
    }
}
