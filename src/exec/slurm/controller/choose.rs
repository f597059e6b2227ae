//! What the thread that talks to Slurm does next. Pure: a state and a time give an action.

use std::time::{Duration, Instant};

use super::{Entry, LONGEST_WINDOW, Limits, MOST_TASKS, Phase, Retry, SHORTEST, State, Stop, TELL_EVERY, WINDOW};
use crate::exec::slurm::ask::Tell;
use crate::exec::slurm::queue::JobId;
use crate::exec::slurm::script::Task;

/// The next thing to do.
#[derive(Debug)]
pub(super) enum Action {
    /// Submit these, which need the same.
    Submit(Vec<Task>),
    /// Submit these again, unless they arrived after all.
    Retry(Retry),
    /// Tell jobs to stop.
    Tell(Tell, Vec<JobId>),
    /// Ask the queue.
    Look,
    /// Wait, unless woken.
    Wait(Duration),
    /// The run is over.
    End,
}

impl State {
    pub(super) fn choose(&mut self, jobs: usize, limits: Limits, now: Instant) -> Action {
        if self.closed {
            return Action::End;
        }
        for how in [Tell::Cancel, Tell::Save] {
            let jobs = self.choose_told(how, now);
            if !jobs.is_empty() {
                return Action::Tell(how, jobs);
            }
        }
        if let Some(due) = self.retries.iter().position(|retry| retry.after <= now) {
            return Action::Retry(self.retries.swap_remove(due));
        }
        let mut wait = Duration::from_secs(60);
        match self.choose_tasks(jobs, limits, now) {
            Ok(tasks) if !tasks.is_empty() => return Action::Submit(tasks),
            Ok(_) => {}
            Err(later) => wait = wait.min(later),
        }
        if !self.names().is_empty() {
            let due = self.looked.map_or(now, |looked| looked + self.pause);
            if due <= now {
                return Action::Look;
            }
            wait = wait.min(due - now);
        }
        for retry in &self.retries {
            wait = wait.min(retry.after.saturating_duration_since(now));
        }
        for entry in self.entries.values() {
            if let Some((_, at)) = entry.told {
                wait = wait.min((at + TELL_EVERY).saturating_duration_since(now));
            }
        }
        Action::Wait(wait.max(Duration::from_millis(1)))
    }

    /// The jobs to tell so now; again from time to time, since one may begin between two looks.
    fn choose_told(&mut self, how: Tell, now: Instant) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for entry in self.entries.values_mut() {
            let Phase::Submitted(job) = entry.phase else { continue };
            if has_ended(entry) {
                entry.told = None;
                continue;
            }
            let wanted = match entry.stop {
                Stop::No => continue,
                Stop::Ask => Tell::gently(entry.row.as_ref().map(|row| row.state)),
                Stop::Kill => Tell::Cancel,
            };
            if wanted == how && entry.told.is_none_or(|(told, at)| told != how || now >= at + TELL_EVERY) {
                entry.told = Some((how, now));
                jobs.push(job);
            }
        }
        jobs
    }

    /// The steps to submit now, those that came first before the others; or how long to gather yet.
    fn choose_tasks(&mut self, jobs: usize, limits: Limits, now: Instant) -> Result<Vec<Task>, Duration> {
        let mut waiting: Vec<(&u64, &Task)> = Vec::new();
        let mut busy = 0;
        for entry in self.entries.values() {
            match &entry.phase {
                Phase::Waiting(task) => waiting.push((&entry.number, task)),
                Phase::Submitting => busy += 1,
                Phase::Submitted(_) => busy += usize::from(!has_ended(entry)),
                Phase::Refused(_) => {}
            }
        }
        waiting.sort_unstable_by_key(|(number, _)| **number);
        let (Some(first), Some(last)) = (self.first_arrival, self.last_arrival) else { return Ok(Vec::new()) };
        if waiting.is_empty() {
            (self.first_arrival, self.last_arrival) = (None, None);
            return Ok(Vec::new());
        }
        let due = (last + WINDOW).min(first + LONGEST_WINDOW);
        if due > now {
            return Err(due - now);
        }
        let most = jobs.saturating_sub(busy).min(limits.array as usize).min(MOST_TASKS);
        let needs = waiting[0].1.needs;
        let chosen: Vec<Task> =
            waiting.iter().filter(|(_, task)| task.needs == needs).take(most).map(|(_, task)| (*task).clone()).collect();
        for task in &chosen {
            if let Some(entry) = self.entries.get_mut(&task.token) {
                entry.phase = Phase::Submitting;
            }
        }
        if chosen.is_empty() { Err(SHORTEST) } else { Ok(chosen) }
    }
}

fn has_ended(entry: &Entry) -> bool {
    entry.row.as_ref().is_some_and(|row| row.state.is_final())
}

#[cfg(test)]
mod tests;
