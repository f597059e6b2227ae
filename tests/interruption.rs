//! A run that is interrupted at any moment and started again ends with the same bytes.

use std::process::Child;

use plan::{Event, Record, StepId};

use crate::bench::{Bench, Ran};
use crate::training;

fn step_of(events: &str, name: &str) -> Option<StepId> {
    events.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok()).find_map(|record| match record.event {
        Event::RunStarted { steps, .. } => steps.into_iter().find(|step| step.name == name).map(|step| step.id),
        _ => None,
    })
}

fn signal(pid: u32, name: &str) {
    assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// The process that runs a step for the run `child`.
fn step_process(child: &Child) -> Option<u32> {
    let output = std::process::Command::new("pgrep").args(["-P", &child.id().to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().next()?.parse().ok()
}

/// Starts a run and acts on it when `step` has begun and told of its first progress.
fn cut(bench: &Bench, step: &str, act: &dyn Fn(&Child)) -> Option<i32> {
    let mut child = bench.start(&["r.rhai"], "cut.jsonl");
    let events = bench.path("cut.jsonl");
    let id = std::cell::OnceCell::new();
    let running = bench.wait_for(&mut child, "cut.jsonl", &|record| {
        let id = id.get_or_init(|| step_of(&std::fs::read_to_string(&events).unwrap_or_default(), step).unwrap());
        matches!(record.event, Event::StepProgress { step, .. } if step == *id)
    });
    assert!(running, "{step} never ran");
    act(&child);
    child.wait().unwrap().code()
}

fn finish(bench: &Bench, whole: &Ran) {
    let ran = bench.run_ok(&["r.rhai"]);
    assert_eq!(ran.digests, whole.digests);
}

/// The tiny flow with enough to do after each cut that a signal finds the run alive on a busy machine.
fn bench() -> Bench {
    let bench = training::bench();
    let longer = training::TINY.replace("#{ steps: 3,", "#{ steps: 40,");
    assert_ne!(longer, training::TINY);
    bench.write("r.rhai", &longer);
    bench
}

#[test]
fn interrupted_and_killed_runs_end_with_the_same_bytes() {
    let whole = bench().run_ok(&["r.rhai"]);

    let bench = bench();
    let code = cut(&bench, "seedling", &|child| signal(child.id(), "INT"));
    assert_eq!(code, Some(130));
    assert!(bench.ok(&["runs"]).contains("interrupted"));
    let code = cut(&bench, "base", &|child| signal(child.id(), "KILL"));
    assert_eq!(code, None);
    assert!(bench.ok(&["runs"]).contains("killed"));
    cut(&bench, "chat", &|child| {
        if let Some(pid) = step_process(child) {
            signal(pid, "KILL");
        }
    });
    finish(&bench, &whole);
    assert!(bench.ok(&["cache", "verify"]).contains("0 damaged"));
}

#[test]
fn a_run_killed_at_random_moments_loses_nothing() {
    let whole = crate::rerun::bench().run_ok(&["r.rhai"]);
    for wait in [0u64, 3, 9, 27, 81, 160] {
        let bench = crate::rerun::bench();
        let mut child = bench.start(&["r.rhai"], "cut.jsonl");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let _ = child.kill();
        child.wait().unwrap();
        let ran = bench.run_ok(&["r.rhai"]);
        assert_eq!(ran.digests, whole.digests, "killed after {wait} ms");
    }
}
