//! Steps as jobs of Slurm: one job, or one task of a job array, for each. A job runs `workbench job SLOT TOKEN` on its node, which
//! has the same file system; the answer file in the slot decides how it ended, so that Slurm may be away, restart or forget. A job
//! outlives the run that submitted it: the next run finds its ticket in the slot and waits for it, or takes its answer.

use std::path::PathBuf;
use std::time::Duration;

use cache::{Slot, SlotPaths, Store};
use plan::{Policy, Resources};

use super::backend::{Backend, Failure, Finished, Needs, Order};
use super::detached::{self, Ticket, request_digest};
use crate::steps::Reporter;

mod ask;
mod command;
mod controller;
mod follow;
mod queue;
mod script;

use controller::Controller;
use follow::{End, Follower};
use queue::JobId;
use script::Task;

pub use script::split_arguments;

/// What tickets call this backend.
const NAME: &str = "slurm";
/// How often somebody who is to leave a slot is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// GPUs that steps may ask for together: which of them exist is for Slurm to say.
const MOST_GPUS: u32 = 1024;

/// How steps are submitted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the run; its jobs are called so.
    pub run: String,
    /// This program, as nodes find it.
    pub program: PathBuf,
    /// Where scripts and the jobs' own output go; nodes see it too.
    pub folder: PathBuf,
    /// Partition; the site's default if none.
    pub partition: Option<String>,
    /// Account that pays.
    pub account: Option<String>,
    /// Further options of `sbatch`.
    pub extra: Vec<String>,
    /// Most jobs in the queue at the same time, tasks of arrays counted each.
    pub jobs: usize,
    /// How long the answer of a job that has left the queue may take to be seen.
    pub grace: Duration,
}

/// Runs steps on a Slurm cluster.
#[derive(Debug)]
pub struct Slurm {
    options: Options,
    controller: Controller,
}

impl Slurm {
    /// Asks Slurm for its limits and starts to talk to it.
    ///
    /// # Errors
    /// If Slurm cannot be reached, or the folder cannot be made.
    pub fn start(options: Options) -> Result<Self, String> {
        let limits = ask::limits(options.partition.as_deref())?;
        fs_err::create_dir_all(&options.folder).map_err(|error| error.to_string())?;
        let controller = Controller::start(options.clone(), limits).map_err(|error| error.to_string())?;
        Ok(Self { options, controller })
    }

    /// What steps may occupy together: as many of the largest node as jobs may be in the queue.
    pub fn capacity(&self) -> Resources {
        let limits = self.controller.limits();
        let jobs = u32::try_from(self.options.jobs).unwrap_or(u32::MAX);
        Resources {
            cpus: limits.cpus.saturating_mul(jobs),
            memory_mib: limits.memory_mib.saturating_mul(u64::from(jobs)),
            gpus: MOST_GPUS,
        }
    }

    /// Takes over the job that an earlier process submitted for this slot, if it is there or has answered.
    fn take_over(&self, order: &Order<'_>, slot: &Slot, reporter: &dyn Reporter) -> Result<End, Failure> {
        let ticket = Ticket::read(slot.paths()).map_err(Failure::here)?;
        let Some(ticket) = ticket.filter(|ticket| ticket.backend == NAME && ticket.request == request_digest(&order.request))
        else {
            return Ok(End::Nothing);
        };
        let answered = detached::Sealed::read(slot.paths(), &ticket.token).map_err(Failure::here)?;
        let stopped = |sealed: &detached::Sealed| sealed.answer == super::child::Answer::Interrupted;
        let name = script::job_name(&ticket.run);
        let job = match (handle(&ticket), &answered) {
            // It saved its progress; a new job goes on from there.
            (_, Some(sealed)) if stopped(sealed) => return Ok(End::Nothing),
            (Some(job), _) => job,
            // It has answered, and that is all that matters.
            (None, Some(_)) => JobId { job: 0, task: None },
            (None, None) => match find(&ticket, &self.options.folder, reporter)? {
                Some(job) => job,
                None => return Ok(End::Nothing),
            },
        };
        reporter.log(&format!("takes over Slurm job {job}, which run {} submitted", ticket.run));
        self.controller.adopt(&ticket.token, name, job);
        let token = ticket.token.clone();
        let follower = Follower { controller: &self.controller, options: &self.options, slot, ticket, reporter, adopted: true };
        let end = follower.wait();
        self.controller.forget(&token);
        end
    }

    /// Empties the slot; turns out a job that an earlier process submitted.
    fn clear(slot: &Slot, reporter: &dyn Reporter) -> Result<(), Failure> {
        let old = Ticket::read(slot.paths()).map_err(Failure::here)?;
        if let Some(ticket) = &old
            && let Some(job) = handle(ticket)
        {
            // If it cannot be cancelled, it leaves when it misses its ticket.
            let _ = ask::stop(&script::job_name(&ticket.run), &[job]);
        }
        let mut told = false;
        while let Some(owner) = slot.evict().map_err(Failure::here)? {
            if reporter.should_stop() {
                return Err(Failure::Interrupted);
            }
            if !std::mem::replace(&mut told, true) {
                reporter.log(&format!("waiting: {owner} is to leave this step"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn submit(&self, order: &Order<'_>, slot: &Slot, reporter: &dyn Reporter) -> Result<Finished, Failure> {
        Self::clear(slot, reporter)?;
        let request = serde_json::to_vec_pretty(&order.request).map_err(Failure::here)?;
        slot.leave_request(&request).map_err(Failure::here)?;
        let token = detached::new_token(order.run);
        let ticket = detached::ticket(NAME, token.clone(), order.run, order.step, &order.request, slot.paths());
        ticket.leave(slot).map_err(Failure::here)?;
        let folder = std::path::absolute(slot.paths().folder()).map_err(Failure::here)?;
        self.controller.submit(Task { slot: folder, token: token.clone(), step: order.step.to_owned(), needs: order.needs });
        let follower = Follower { controller: &self.controller, options: &self.options, slot, ticket, reporter, adopted: false };
        let end = follower.wait();
        let result = match end {
            Ok(End::Ended(result)) => result,
            Ok(End::Nothing) => Err(Failure::Interrupted),
            Err(failure) => Err(failure),
        };
        self.controller.forget(&token);
        result
    }
}

impl Backend for Slurm {
    fn grant(&self, wanted: Resources, policy: &Policy) -> Needs {
        let cpus = wanted.cpus.clamp(1, self.controller.limits().cpus.max(1));
        let seconds = policy.timeout_s.map(|seconds| seconds.ceil() as u64);
        Needs { cpus, memory_mib: wanted.memory_mib, gpus: wanted.gpus, seconds }
    }

    fn execute(&self, order: &Order<'_>, slot: &Slot, reporter: &dyn Reporter) -> Result<Finished, Failure> {
        let taken = if slot.in_flight() { self.take_over(order, slot, reporter)? } else { End::Nothing };
        let result = match taken {
            End::Ended(result) => result,
            End::Nothing => self.submit(order, slot, reporter),
        };
        if matches!(result, Err(Failure::Failed(..))) {
            // Whatever is left of the job has nothing to do here any more. Progress stays.
            slot.evict().map_err(Failure::here)?;
        }
        result
    }
}

/// The job of a ticket, if its process wrote it down.
fn handle(ticket: &Ticket) -> Option<JobId> {
    ticket.handle.as_ref()?.parse().ok()
}

/// The job of a ticket whose process died before it wrote the job down: the queue and the list beside the script tell.
fn find(ticket: &Ticket, folder: &std::path::Path, reporter: &dyn Reporter) -> Result<Option<JobId>, Failure> {
    let names = [script::job_name(&ticket.run)];
    let mut told = false;
    let rows = loop {
        match ask::jobs(&names) {
            Ok(rows) => break rows,
            Err(_) if reporter.should_stop() => return Err(Failure::Interrupted),
            Err(words) => {
                if !std::mem::replace(&mut told, true) {
                    reporter.log(&format!("Slurm: {words}"));
                }
                std::thread::sleep(LOOK_AGAIN * 4);
            }
        }
    };
    // <runs>/<this run>/slurm and <runs>/<that run>/slurm
    let runs = folder.parent().and_then(std::path::Path::parent).unwrap_or(folder);
    Ok(rows.into_iter().find_map(|(id, row)| {
        let batch = row.comment.split(' ').next()?;
        let list = std::fs::read(runs.join(&ticket.run).join("slurm").join(format!("{batch}.json"))).ok()?;
        let list: Vec<serde_json::Value> = serde_json::from_slice(&list).ok()?;
        let index = list.iter().position(|task| task["token"] == ticket.token.as_str())?;
        let task = u32::try_from(index).ok().filter(|_| list.len() > 1);
        Some(JobId { job: id.job, task })
    }))
}

/// Cancels the jobs of a run whose process is gone. Gives the names of their steps.
///
/// # Errors
/// If the store cannot be read, or Slurm cannot be reached.
pub fn cancel(store: &Store, run: &str) -> Result<Vec<String>, String> {
    let mut steps = Vec::new();
    let mut jobs = Vec::new();
    for slot in store.slots().map_err(|error| error.to_string())? {
        let Some(ticket) = in_flight(&slot.paths, run)? else { continue };
        if let Some(job) = handle(&ticket) {
            jobs.push(job);
            steps.push(ticket.step);
        }
    }
    ask::stop(&script::job_name(run), &jobs)?;
    Ok(steps)
}

/// The ticket of a slot, if a job of this run is to fill it and has not answered.
fn in_flight(paths: &SlotPaths, run: &str) -> Result<Option<Ticket>, String> {
    let ticket = Ticket::read(paths).map_err(|error| error.to_string())?;
    let Some(ticket) = ticket.filter(|ticket| ticket.backend == NAME && ticket.run == run) else { return Ok(None) };
    let answered = detached::Sealed::read(paths, &ticket.token).map_err(|error| error.to_string())?;
    Ok(Some(ticket).filter(|_| answered.is_none()))
}
