//! Tests of gathering, limits, cancelling and the pace of looking.

use std::collections::BTreeMap;

use super::*;
use crate::exec::backend::Needs;
use crate::exec::slurm::controller::LONGEST;
use crate::exec::slurm::queue::{self, Row};

const LIMITS: Limits = Limits { array: 4, cpus: 8, memory_mib: 1024 };

fn task(token: &str, cpus: u32) -> Task {
    let needs = Needs { cpus, memory_mib: 1, gpus: 0, seconds: None };
    Task { slot: "/s".into(), token: token.into(), step: token.into(), needs }
}

fn state(tasks: &[(&str, u32)], now: Instant) -> State {
    let mut state = State {
        entries: BTreeMap::new(),
        next: 0,
        first_arrival: Some(now),
        last_arrival: Some(now),
        retries: Vec::new(),
        pause: SHORTEST,
        looked: None,
        trouble: None,
        closed: false,
    };
    for (token, cpus) in tasks {
        state.add((*token).to_owned(), "run-1".into(), Phase::Waiting(task(token, *cpus)));
    }
    state
}

fn tokens(action: Action) -> Vec<String> {
    match action {
        Action::Submit(tasks) => tasks.into_iter().map(|task| task.token).collect(),
        other => panic!("expected a submission, got {other:?}"),
    }
}

/// As if Slurm had taken the step as this job.
fn taken(state: &mut State, token: &str, job: u64) {
    state.entries.get_mut(token).unwrap().phase = Phase::Submitted(JobId { job, task: None });
}

fn row(text: &str) -> BTreeMap<JobId, Row> {
    queue::rows(text).0
}

#[test]
fn steps_that_need_the_same_go_together_and_in_order() {
    let start = Instant::now();
    let mut state = state(&[("z", 1), ("y", 2), ("x", 1), ("w", 1)], start);
    assert!(matches!(state.choose(10, LIMITS, start), Action::Wait(pause) if pause <= WINDOW));
    let later = start + WINDOW;
    assert_eq!(tokens(state.choose(10, LIMITS, later)), ["z", "x", "w"]);
    assert_eq!(tokens(state.choose(10, LIMITS, later)), ["y"]);
    assert!(matches!(state.choose(10, LIMITS, later), Action::Wait(_)));
}

#[test]
fn steps_that_keep_coming_are_not_gathered_for_ever() {
    let start = Instant::now();
    let mut state = state(&[("a", 1)], start);
    let late = start + LONGEST_WINDOW;
    state.last_arrival = Some(late);
    assert_eq!(tokens(state.choose(10, LIMITS, late)), ["a"]);
}

#[test]
fn neither_arrays_nor_the_queue_grow_over_their_limits() {
    let start = Instant::now();
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut state = state(&names.map(|name| (name, 1)), start);
    let later = start + WINDOW;
    assert_eq!(tokens(state.choose(6, LIMITS, later)), ["a", "b", "c", "d"]);
    assert_eq!(tokens(state.choose(6, LIMITS, later)), ["e", "f"]);
    assert!(matches!(state.choose(6, LIMITS, later), Action::Wait(_)));
    taken(&mut state, "a", 1);
    state.looked = Some(later);
    assert!(matches!(state.choose(6, LIMITS, later), Action::Wait(_)), "it is in the queue");
    state.hear(&row("1|COMPLETED|None|n|"), later);
    assert_eq!(tokens(state.choose(6, LIMITS, later)), ["g"]);
    let no_arrays = Limits { array: 1, ..LIMITS };
    let mut state = super::tests::state(&[("a", 1), ("b", 1)], start);
    assert_eq!(tokens(state.choose(6, no_arrays, later)), ["a"]);
}

#[test]
fn the_queue_is_asked_less_and_less_until_something_changes() {
    let start = Instant::now();
    let mut state = state(&[("a", 1)], start);
    taken(&mut state, "a", 1);
    assert!(matches!(state.choose(1, LIMITS, start), Action::Look));
    assert!(state.hear(&row("1|PENDING|Resources||"), start));
    let mut pauses = Vec::new();
    for _ in 0..30 {
        state.looked = Some(start);
        assert!(!state.hear(&row("1|PENDING|Resources||"), start));
        pauses.push(state.pause);
    }
    assert!(pauses.is_sorted() && pauses[0] > SHORTEST);
    assert_eq!(*pauses.last().unwrap(), LONGEST);
    assert!(matches!(state.choose(1, LIMITS, start + LONGEST / 2), Action::Wait(_)));
    assert!(matches!(state.choose(1, LIMITS, start + LONGEST), Action::Look));
    assert!(state.hear(&row("1|RUNNING|None|n|"), start));
    assert_eq!(state.pause, SHORTEST);
    assert!(state.hear(&BTreeMap::new(), start), "it left the queue");
    assert!(!state.hear(&BTreeMap::new(), start));
    assert_eq!((state.entries["a"].missed, state.entries["a"].row.as_ref().unwrap().word.as_str()), (2, "RUNNING"));
}

#[test]
fn an_array_that_was_cancelled_as_a_whole_is_seen_in_its_tasks() {
    let start = Instant::now();
    let mut state = state(&[("a", 1)], start);
    state.entries.get_mut("a").unwrap().phase = Phase::Submitted(JobId { job: 7, task: Some(2) });
    state.hear(&row("7|PENDING|None||"), start);
    assert!(state.entries["a"].row.is_none());
    state.hear(&row("7|CANCELLED|Resources||"), start);
    assert!(has_ended(&state.entries["a"]));
}

#[test]
fn jobs_are_told_once_and_again_while_they_do_not_end() {
    let start = Instant::now();
    let mut state = state(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)], start);
    for (token, job) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        taken(&mut state, token, job);
        state.entries.get_mut(token).unwrap().stop = Stop::Ask;
    }
    state.looked = Some(start);
    state.hear(&row("1|RUNNING|None|n|\n2|COMPLETED|None|n|\n3|PENDING|Priority||"), start);
    let told = |action: Action| match action {
        Action::Tell(how, jobs) => (how, jobs.iter().map(ToString::to_string).collect::<Vec<_>>()),
        other => panic!("expected to tell, got {other:?}"),
    };
    assert_eq!(told(state.choose(1, LIMITS, start)), (Tell::Cancel, vec!["3".into(), "4".into()]));
    assert_eq!(told(state.choose(1, LIMITS, start)), (Tell::Save, vec!["1".into()]));
    assert!(matches!(state.choose(1, LIMITS, start), Action::Wait(_)));
    state.hear(&row("1|RUNNING|None|n|\n3|RUNNING|None|n|\n4|CANCELLED|None||"), start);
    assert_eq!(told(state.choose(1, LIMITS, start)), (Tell::Save, vec!["3".into()]), "it began meanwhile");
    assert_eq!(told(state.choose(1, LIMITS, start + TELL_EVERY)), (Tell::Save, vec!["1".into(), "3".into()]));
    state.entries.get_mut("a").unwrap().stop = Stop::Kill;
    assert_eq!(told(state.choose(1, LIMITS, start + TELL_EVERY)), (Tell::Cancel, vec!["1".into()]));
    state.closed = true;
    assert!(matches!(state.choose(1, LIMITS, start), Action::End));
}
