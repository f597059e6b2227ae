//! Patterns of step names: the first line is a pattern, the others are names and kinds of steps. The answer is that of the plainest
//! definition there is, and comes in time however many stars there are.
#![no_main]

use std::time::{Duration, Instant};

use plan::{Place, Plan, Policy, Resources, Site, StepDecl, StepId, Value};

/// Most names of one plan.
const MOST_STEPS: usize = 8;
/// Far more than the product of what 4096 bytes can hold takes.
const PATIENCE: Duration = Duration::from_secs(1);

fn step(name: &str, kind: &str) -> StepDecl {
    StepDecl {
        kind: kind.to_owned(),
        version: 1,
        params: Value::Null,
        inputs: Vec::new(),
        name: name.to_owned(),
        site: Site::default(),
        resources: Resources::default(),
        place: Place::Thread,
        policy: Policy::default(),
    }
}

/// Whether all of `pattern` means all of `text`: one row for each character of the pattern.
fn means(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for c in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        next[0] = row[0] && c == '*';
        for (at, &character) in text.iter().enumerate() {
            next[at + 1] = if c == '*' { row[at + 1] || next[at] } else { row[at] && (c == '?' || c == character) };
        }
        row = next;
    }
    row[text.len()]
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let pattern = lines.next().unwrap_or_default();
    // The kind comes after the last colon; the number keeps names apart.
    let steps: Vec<_> = lines
        .take(MOST_STEPS)
        .enumerate()
        .map(|(number, line)| {
            let (name, kind) = line.rsplit_once(':').unwrap_or((line, "tag"));
            step(&format!("{name}{number}"), kind)
        })
        .collect();
    let Ok(plan) = Plan::new(steps, Vec::new()) else { return };
    let start = Instant::now();
    let found = plan.matching(pattern);
    assert!(start.elapsed() < PATIENCE, "a pattern takes no longer than its length times that of the names");
    let ids = |test: &dyn Fn(&StepDecl) -> bool| -> Vec<StepId> {
        plan.steps().iter().enumerate().filter(|(_, step)| test(step)).map(|(index, _)| StepId(index)).collect()
    };
    let named = ids(&|step| means(pattern, &step.name));
    assert_eq!(found, if named.is_empty() { ids(&|step| means(pattern, &step.kind)) } else { named });
    for id in plan.find(pattern) {
        assert!(plan.step(id).name == pattern || plan.step(id).kind == pattern);
    }
});
