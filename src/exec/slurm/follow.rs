//! Waiting for one step that Slurm runs: forwards what the step tells, and decides how it ended. The answer in the slot decides; the
//! queue only explains why there is none.

use std::path::Path;
use std::time::{Duration, Instant};

use cache::{Slot, SlotPaths};

use super::Options;
use super::controller::{Controller, Stop, View};
use super::queue::{JobId, State};
use crate::exec::backend::{Class, Failure, Finished};
use crate::exec::child::Answer;
use crate::exec::detached::{Sealed, Tail, Ticket, tell};
use crate::steps::Reporter;

/// How long the answer of a job that ended badly may be on its way.
const SOON: Duration = Duration::from_secs(5);
/// How long a job that a node could not start is given to show that it ran all the same.
const LAUNCH: Duration = Duration::from_secs(10);
/// How long a step may take to save and stop.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How long a job may take to die after it was cancelled.
const DIE_WITHIN: Duration = Duration::from_secs(60);
/// Looks at the queue that must miss a job before it counts as gone.
const MISSED: u32 = 2;
/// Lines of a job's output that an error shows.
const SHOWN: usize = 5;

/// What the queue says of a job that has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may yet answer.
    Wait,
    /// It has left the queue, and was seen there or not.
    Gone,
    /// It will not answer.
    Over(Class, &'static str),
}

/// Judges a job that has not answered. `grace` is how long an answer may take to be seen.
pub(super) fn judge(view: &View, grace: Duration) -> Verdict {
    if view.missed >= MISSED && view.unseen >= grace {
        // What it was last seen to be explains more than its absence.
        return view
            .row
            .as_ref()
            .and_then(|row| ending(row.state))
            .map_or(Verdict::Gone, |(class, what)| Verdict::Over(class, what));
    }
    let Some(row) = &view.row else { return Verdict::Wait };
    match (row.state, ending(row.state)) {
        (State::LaunchFailed, _) if view.unchanged >= LAUNCH.min(grace) => {
            Verdict::Over(Class::Machine, "could not be started by its node")
        }
        (State::NeverSatisfied, _) => Verdict::Over(Class::Refused, "waits for a job that will never end well"),
        (State::Completed, Some((class, what))) if view.unchanged >= grace => Verdict::Over(class, what),
        (State::Completed, _) => Verdict::Wait,
        (_, Some((class, what))) if view.unchanged >= grace.min(SOON) => Verdict::Over(class, what),
        _ => Verdict::Wait,
    }
}

/// What a final state means for a step that has not answered.
const fn ending(state: State) -> Option<(Class, &'static str)> {
    Some(match state {
        State::Completed => (Class::Machine, "ended without an answer"),
        State::Failed => (Class::Machine, "failed without an answer"),
        State::Timeout => (Class::Time, "ran into its time limit"),
        State::OutOfMemory => (Class::Memory, "ran out of the memory that it asked for"),
        State::NodeFail => (Class::Machine, "lost its node"),
        State::Preempted => (Class::Machine, "gave way to another job"),
        State::Cancelled => (Class::Refused, "was cancelled from outside"),
        _ => return None,
    })
}

/// How waiting ended.
pub(super) enum End {
    /// The step's result, or its failure.
    Ended(Result<Finished, Failure>),
    /// The job of an earlier process left nothing to take over: the step is to be submitted anew.
    Nothing,
}

/// Waits for one step.
pub(super) struct Follower<'a> {
    pub(super) controller: &'a Controller,
    pub(super) options: &'a Options,
    pub(super) slot: &'a Slot,
    pub(super) ticket: Ticket,
    pub(super) reporter: &'a dyn Reporter,
    /// Whether an earlier process submitted it.
    pub(super) adopted: bool,
}

impl Follower<'_> {
    /// Waits until the step has ended, or the run is to stop and it has stopped.
    pub(super) fn wait(mut self) -> Result<End, Failure> {
        let paths = self.slot.paths().clone();
        let mut events = Tail::new(paths.events(), 0);
        let mut log = Tail::new(paths.log(), self.ticket.log_bytes);
        let (mut told, mut trouble) = (String::new(), None);
        let (mut asked, mut killed): (Option<Instant>, Option<Instant>) = (None, None);
        let mut alive_once = false;
        let mut pause = Duration::from_millis(30);
        loop {
            let sealed = Sealed::read(&paths, &self.ticket.token).map_err(Failure::here)?;
            let said = events.lines();
            let logged = log.lines();
            if !said.is_empty() || !logged.is_empty() {
                pause = Duration::from_millis(30);
            }
            tell(&said, self.reporter);
            logged.iter().for_each(|line| self.reporter.log(line));
            let view = self.controller.view(&self.ticket.token);
            self.note_handle(&view)?;
            if let Some(sealed) = &sealed
                && let Some(result) = self.answered(sealed, &view, asked.is_some())
            {
                if let Some(rest) = log.rest() {
                    self.reporter.log(&rest);
                }
                return Ok(End::Ended(result));
            }
            if view.trouble != trouble {
                trouble.clone_from(&view.trouble);
                if let Some(words) = &trouble {
                    self.reporter.log(&format!("Slurm: {words}"));
                }
            }
            if self.reporter.should_stop() && asked.is_none() {
                asked = Some(Instant::now());
                if self.controller.stop(&self.ticket.token, Stop::Ask) {
                    return Err(Failure::Interrupted);
                }
            }
            if asked.is_some_and(|since| since.elapsed() > STOP_WITHIN) && killed.is_none() {
                killed = Some(Instant::now());
                self.controller.stop(&self.ticket.token, Stop::Kill);
            }
            if killed.is_some_and(|since| since.elapsed() > DIE_WITHIN) {
                return Err(Failure::Interrupted);
            }
            if let Some(failure) = view.refused {
                return Err(failure);
            }
            if let Some(job) = view.job {
                told = self.tell_state(job, &view, told);
                alive_once |= view.row.as_ref().is_some_and(|row| view.missed == 0 && !row.state.is_final());
                // Nothing is lost by starting again what was never seen alive: should it live after all, it leaves its slot.
                // The same holds for what is stopping: its ticket stays, and the next run looks for an answer once more.
                let expendable = self.adopted && !alive_once || asked.is_some();
                let grace = if expendable { self.options.grace.min(SOON) } else { self.options.grace };
                let verdict = judge(&view, grace);
                if verdict != Verdict::Wait && sealed.is_none() && !self.is_alive(&paths, job, &mut told)? {
                    if asked.is_some() {
                        return Err(Failure::Interrupted);
                    }
                    if self.adopted && !alive_once {
                        return Ok(End::Nothing);
                    }
                    self.controller.stop(&self.ticket.token, Stop::Kill);
                    return Ok(End::Ended(Err(self.failure(job, &verdict))));
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 5 / 4).min(Duration::from_secs(1));
        }
    }

    /// Writes down which job it is, so that a later process finds it.
    fn note_handle(&mut self, view: &View) -> Result<(), Failure> {
        if let Some(job) = view.job
            && self.ticket.handle.is_none()
        {
            self.ticket.handle = Some(job.to_string());
            self.ticket.leave(self.slot).map_err(Failure::here)?;
        }
        Ok(())
    }

    /// What an answer means; none when the step was stopped and it is not clear yet by whom, or whether it will start again.
    fn answered(&self, sealed: &Sealed, view: &View, stopping: bool) -> Option<Result<Finished, Failure>> {
        let class = match &sealed.answer {
            Answer::Done(closing) => {
                return Some(Ok(Finished { closing: closing.clone(), host: sealed.host.clone(), seconds: sealed.seconds }));
            }
            Answer::Failed(error) => return Some(Err(Failure::Failed(Class::Step, error.clone()))),
            Answer::Passing(class, error) => return Some(Err(Failure::Failed((*class).into(), error.clone()))),
            Answer::Interrupted if stopping => return Some(Err(Failure::Interrupted)),
            Answer::Interrupted if self.adopted && view.row.is_none() && view.missed < MISSED => None,
            Answer::Interrupted => match view.row.as_ref().map(|row| row.state) {
                Some(State::Cancelled) => Some((Class::Refused, "was cancelled from outside")),
                Some(State::Preempted) => Some((Class::Machine, "gave way to another job")),
                Some(State::NodeFail) => Some((Class::Machine, "lost its node")),
                Some(state) if state.is_final() => Some((Class::Time, "was told to stop, as at a time limit")),
                _ if view.missed >= MISSED => Some((Class::Time, "was told to stop, as at a time limit")),
                _ => None,
            },
        };
        if class.is_none() {
            self.controller.look();
        }
        class.map(|(class, what)| {
            let job = self.ticket.handle.as_deref().unwrap_or("?");
            let text = format!("Slurm job {job} {what}; the step saved its progress, and the next run goes on from there");
            Err(Failure::Failed(class, text))
        })
    }

    /// Says where the job stands, when that is news.
    fn tell_state(&self, job: JobId, view: &View, told: String) -> String {
        let state = view.row.as_ref().filter(|_| view.missed == 0).map(|row| (row.state, row));
        let text = match state {
            Some((State::Pending | State::NeverSatisfied, row)) if !row.reason.is_empty() => {
                format!("Slurm job {job} waits: {}", row.reason)
            }
            Some((State::Held, row)) => {
                format!("Slurm job {job} is held back ({}); `scontrol release {job}` lets it go on", row.reason)
            }
            Some((State::LaunchFailed, row)) => format!("Slurm job {job} is held back ({})", row.reason),
            Some((State::Running, row)) => format!("Slurm job {job} runs on {}", row.node),
            Some((State::Suspended, _)) => format!("Slurm job {job} is suspended"),
            Some((State::Unknown, row)) => format!("Slurm job {job} is {}, which is not understood", row.word),
            _ if told.is_empty() => format!("Slurm job {job} is in the queue"),
            _ => return told,
        };
        if text != told {
            self.reporter.log(&text);
        }
        text
    }

    /// Whether the job's process is in the slot, whatever the queue says.
    fn is_alive(&self, paths: &SlotPaths, job: JobId, told: &mut String) -> Result<bool, Failure> {
        let Some(owner) = paths.guest().map_err(Failure::here)? else { return Ok(false) };
        let text = format!("Slurm has done with job {job}, but {owner} still works at it");
        if *told != text {
            self.reporter.log(&text);
            *told = text;
        }
        Ok(true)
    }

    fn failure(&self, job: JobId, verdict: &Verdict) -> Failure {
        let output = self.options.folder.join(format!("{job}.out"));
        let (class, mut text) = match verdict {
            Verdict::Over(class, what) => (*class, format!("Slurm job {job} {what}")),
            _ => (
                Class::Machine,
                format!(
                    "Slurm job {job} is lost: it left the queue and has not answered within {} s",
                    self.options.grace.as_secs()
                ),
            ),
        };
        if matches!(verdict, Verdict::Over(_, "failed without an answer"))
            && let Some(code) = super::ask::exit_code(job)
        {
            text += &format!(" (status {code})");
        }
        if class == Class::Memory {
            text += "; ask for more with `needs(#{ memory_mib: ... })`";
        }
        let last = last_lines(&output);
        if !last.is_empty() {
            text += &format!(": {}", last.join(" | "));
        }
        if self.slot.progress().read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            text += "; its saved progress is kept and the next run goes on from there";
        }
        text += &format!("; its output is {}", output.display());
        Failure::Failed(class, text)
    }
}

/// The last lines of a file that say something.
fn last_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<String> =
        text.lines().rev().map(str::trim).filter(|line| !line.is_empty()).take(SHOWN).map(str::to_owned).collect();
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests;
