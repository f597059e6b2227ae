//! The loop of the thread that talks to Slurm. It does what `choose` says and writes down what came of it.

use std::time::{Duration, Instant};

use fs_err as fs;

use super::choose::Action;
use super::{MOST_NAMED, Phase, Retry, SHORTEST, Shared, Stop, TRY_FOR};
use crate::exec::backend::{Class, Failure};
use crate::exec::detached::new_token;
use crate::exec::slurm::ask::{self, Tell};
use crate::exec::slurm::command;
use crate::exec::slurm::queue::{self, JobId, Refusal};
use crate::exec::slurm::script::{self, Task};

pub(super) fn go(shared: &Shared) {
    loop {
        let mut state = shared.lock();
        let action = match state.choose(shared.options.jobs, shared.limits, Instant::now()) {
            Action::Wait(pause) => {
                // Whoever wakes it changed the state; so does time.
                drop(shared.wake.wait_timeout(state, pause));
                continue;
            }
            action => action,
        };
        drop(state);
        match action {
            Action::Submit(tasks) => {
                let now = Instant::now();
                submit(shared, Retry { batch: new_token(&shared.options.run), tasks, since: now, after: now, tries: 0 });
            }
            Action::Retry(retry) => submit_again(shared, retry),
            Action::Tell(how, jobs) => tell(shared, how, &jobs),
            Action::Look => look(shared),
            Action::Wait(_) => {}
            Action::End => return,
        }
    }
}

/// Writes the script and a list of its steps, and hands the script to `sbatch`.
fn submit(shared: &Shared, attempt: Retry) {
    let options = &shared.options;
    let tasks = &attempt.tasks;
    let path = options.folder.join(format!("{}.sh", attempt.batch));
    let written = serde_json::to_vec_pretty(&tasks.iter().map(listed).collect::<Vec<_>>())
        .map_err(std::io::Error::from)
        .and_then(|list| fs::write(options.folder.join(format!("{}.json", attempt.batch)), list))
        .and_then(|()| fs::write(&path, script::script(options, tasks)));
    if let Err(error) = written {
        return refuse(shared, tasks, Class::Machine, &error.to_string());
    }
    let said = match command::run("sbatch", &script::arguments(options, tasks, &attempt.batch, &path)) {
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return put_off(shared, attempt, error.to_string()),
        Err(error) => return refuse(shared, tasks, Class::Refused, &error.to_string()),
        Ok(said) => said,
    };
    match queue::submitted(&said.out).filter(|_| said.status.success()) {
        Some(job) => arrived(shared, tasks, job),
        None => {
            let words = said.trouble("sbatch");
            match Refusal::of(&words) {
                Refusal::Transient => put_off(shared, attempt, words),
                Refusal::Permanent => refuse(shared, tasks, Class::Refused, &format!("Slurm refuses the job: {words}")),
            }
        }
    }
}

/// What the list beside a script says of a step; its place is its index.
fn listed(task: &Task) -> serde_json::Value {
    serde_json::json!({ "token": task.token, "step": task.step, "slot": task.slot })
}

/// Tries a submission again whose first try may have reached the controller all the same.
fn submit_again(shared: &Shared, attempt: Retry) {
    match ask::jobs(&[script::job_name(&shared.options.run)]) {
        Err(words) => put_off(shared, attempt, words),
        Ok(rows) => match rows.iter().find(|(_, row)| row.comment.split(' ').next() == Some(&attempt.batch)) {
            Some((id, _)) => arrived(shared, &attempt.tasks, id.job),
            None => {
                let state = shared.lock();
                let wanted = |task: &Task| state.entries.get(&task.token).is_some_and(|entry| entry.stop == Stop::No);
                let (tasks, unwanted): (Vec<Task>, Vec<Task>) = attempt.tasks.into_iter().partition(|task| wanted(task));
                drop(state);
                withdraw(shared, &unwanted);
                if !tasks.is_empty() {
                    submit(shared, Retry { batch: new_token(&shared.options.run), tasks, ..attempt });
                }
            }
        },
    }
}

fn arrived(shared: &Shared, tasks: &[Task], job: u64) {
    let mut state = shared.lock();
    let now = Instant::now();
    for (index, task) in tasks.iter().enumerate() {
        if let Some(entry) = state.entries.get_mut(&task.token) {
            let index = u32::try_from(index).ok().filter(|_| tasks.len() > 1);
            entry.phase = Phase::Submitted(JobId { job, task: index });
            (entry.seen, entry.changed) = (now, now);
        }
    }
    (state.pause, state.trouble) = (SHORTEST, None);
}

fn refuse(shared: &Shared, tasks: &[Task], class: Class, words: &str) {
    let mut state = shared.lock();
    for task in tasks {
        if let Some(entry) = state.entries.get_mut(&task.token) {
            entry.phase = Phase::Refused(Failure::Failed(class, words.to_owned()));
        }
    }
}

fn withdraw(shared: &Shared, tasks: &[Task]) {
    let mut state = shared.lock();
    for task in tasks {
        if let Some(entry) = state.entries.get_mut(&task.token) {
            entry.phase = Phase::Refused(Failure::Interrupted);
        }
    }
}

/// Tries later, unless it has been tried for long, or nobody wants it any more.
fn put_off(shared: &Shared, attempt: Retry, words: String) {
    if attempt.since.elapsed() > TRY_FOR {
        let text = format!("Slurm has not taken the job for {} minutes: {words}", TRY_FOR.as_secs() / 60);
        return refuse(shared, &attempt.tasks, Class::Machine, &text);
    }
    let mut state = shared.lock();
    let is_wanted = |task: &Task| state.entries.get(&task.token).is_some_and(|entry| entry.stop == Stop::No);
    if !attempt.tasks.iter().any(is_wanted) {
        drop(state);
        return withdraw(shared, &attempt.tasks);
    }
    let pause = Duration::from_secs(1 << attempt.tries.min(6)).min(Duration::from_secs(60));
    state.trouble = Some(format!("{words}; submitting again in {} s", pause.as_secs()));
    state.retries.push(Retry { after: Instant::now() + pause, tries: attempt.tries + 1, ..attempt });
}

fn tell(shared: &Shared, how: Tell, jobs: &[JobId]) {
    let troubles: Vec<String> = jobs.chunks(MOST_NAMED).filter_map(|jobs| ask::tell(how, jobs).err()).collect();
    let mut state = shared.lock();
    state.pause = SHORTEST;
    if let Some(words) = troubles.into_iter().next() {
        state.trouble = Some(words);
    }
}

fn look(shared: &Shared) {
    let names: Vec<String> = shared.lock().names().into_iter().collect();
    let rows = ask::jobs(&names);
    let mut state = shared.lock();
    let now = Instant::now();
    state.looked = Some(now);
    match rows {
        Ok(rows) => {
            state.hear(&rows, now);
            if state.retries.is_empty() {
                state.trouble = None;
            }
        }
        Err(words) => {
            state.pause = (state.pause * 2).clamp(Duration::from_secs(1), super::LONGEST);
            state.trouble = Some(words);
        }
    }
}
