//! What a state knows at each point of a run.

use super::*;
use crate::sample;

#[test]
fn a_finished_run_is_counted() {
    let state = sample::state();
    let counts = state.counts();
    assert_eq!((counts.wanted, counts.unwanted, counts.hits, counts.executed), (30, 1, 5, 25));
    assert_eq!(counts.done(), counts.wanted);
    let end = state.end().unwrap();
    assert_eq!((end.status, end.executed, end.hits), (RunStatus::Succeeded, 25, 5));
    assert_eq!(state.eta(state.last_ms()), None);
    assert_eq!(state.elapsed_ms(u64::MAX), (end.seconds * 1000.0) as u64);
    let report = state.step(StepId(29)).unwrap();
    assert_eq!((report.state, report.bytes), (StepState::Done(Done::Executed), 1_234_567 * 30));
}

#[test]
fn steps_become_ready_when_all_inputs_are_done() {
    let mut state = State::new();
    for record in sample::journal() {
        state.apply(&record);
        for step in state.steps() {
            let all_done = step.inputs.iter().all(|&input| matches!(state.steps()[input].state, StepState::Done(_)));
            match step.state {
                StepState::Waiting => assert!(!all_done, "{}", step.summary.name),
                StepState::Ready | StepState::Running | StepState::Done(_) => assert!(all_done, "{}", step.summary.name),
                other => assert_eq!(other, StepState::Unwanted),
            }
        }
    }
}

#[test]
fn a_running_step_is_looked_at_and_its_end_is_foreseen() {
    let state = sample::state_while("pretrain_base");
    let step = &state.steps()[state.focus().unwrap()];
    assert_eq!(step.summary.name, "pretrain_base");
    assert_eq!(step.default_metric(), Some("train/CE loss"));
    // 80 ticks of half a second, three fifths done.
    assert!((step.eta_seconds(state.last_ms()).unwrap() - 16.0).abs() < 0.1);
    let eta = state.eta(state.last_ms()).unwrap();
    assert!(eta.at_least, "no sft has been seen yet");
    assert!(eta.seconds >= 16.0);
    assert_eq!(sample::state_while("rlvr").steps()[25].default_metric(), Some("objective/verifiable_correct_rate"));
}

#[test]
fn parallel_steps_do_not_make_the_focus_jump() {
    let mut state = State::new();
    let mut seen = Vec::new();
    for record in sample::journal() {
        state.apply(&record);
        let running: Vec<_> = state.running().map(|step| step.summary.name.clone()).collect();
        if running.len() == 3 {
            seen.push(state.steps()[state.focus().unwrap()].summary.name.clone());
        }
    }
    seen.dedup();
    assert!(seen.len() <= 2 && seen.last().unwrap() == "anneal_seed_42", "{seen:?}");
}

#[test]
fn a_failure_is_looked_at_and_blocks() {
    let state = sample::failed_state();
    let counts = state.counts();
    assert_eq!((counts.failed, counts.blocked), (1, 12));
    let step = &state.steps()[state.focus().unwrap()];
    assert!(step.error.as_ref().unwrap().contains("lower optimizer.lr"));
    assert_eq!(state.step(StepId(29)).unwrap().state, StepState::Blocked(StepId(12)));
    assert_eq!(state.name(StepId(12)), "pretrain_base");
}

#[test]
fn steps_are_ordered_inputs_first_even_when_the_plan_is_not() {
    let mut records = sample::journal();
    if let Event::RunStarted { steps, .. } = &mut records[0].event {
        steps.reverse();
    }
    let state = sample::fold(&records);
    assert_eq!(state.counts().done(), 30);
    for (position, step) in state.steps().iter().enumerate() {
        assert!(step.inputs.iter().all(|&input| input < position));
        assert_eq!(state.position(step.summary.id), Some(position));
    }
}

#[test]
fn memory_is_bounded() {
    let mut state = sample::state_while("pretrain_base");
    for tick in 0..20_000_u64 {
        let values = BTreeMap::from([("train/CE loss".to_owned(), 1.0), (format!("made up {}", tick % 999), 2.0)]);
        for event in [
            Event::Metrics { step: StepId(12), at: 10_000 + tick, values },
            Event::Log { step: StepId(12), line: format!("line {tick}") },
            Event::Machine(Machine::default()),
        ] {
            state.apply(&Record { seq: 0, time_ms: sample::START_MS, event });
        }
    }
    let step = state.step(StepId(12)).unwrap();
    assert!(step.metrics.len() <= METRICS && step.metrics["train/CE loss"].points().len() <= POINTS);
    assert_eq!(step.log.lines().len(), LOG_LINES);
    assert_eq!(state.machine().len(), MACHINE_SAMPLES);
}

#[test]
fn going_on_from_saved_progress_keeps_the_curves() {
    let key = plan::Key::from_bytes([1; 32]);
    for resumed in [true, false] {
        let mut state = sample::state_while("pretrain_base");
        state.apply(&Record { seq: 0, time_ms: 0, event: Event::StepStarted { step: StepId(12), key, threads: 1, resumed } });
        assert_eq!(state.step(StepId(12)).unwrap().metrics.is_empty(), !resumed);
    }
}
