//! A small made-up history: two runs of one recipe, the second with another learning rate.

use std::collections::BTreeMap;

use plan::key::InputDigest;
use plan::{
    Digest, Event, FileEntry, InputRecord, Key, Manifest, Place, PlanId, Preimage, Provenance, Resources, RunStatus, Site,
    StepId, StepSummary, Value,
};

use super::{Runs, lines};
use crate::Lineage;

const STEPS: [(&str, &str); 4] = [("raw", "documents"), ("tokens", "tokenize"), ("base", "pretrain"), ("report", "evaluate")];

pub(super) struct Story {
    pub(super) runs: Runs,
    pub(super) manifests: Vec<(Manifest, Preimage)>,
}

impl Story {
    pub(super) fn lineage(&self) -> Lineage {
        let mut lineage = Lineage::open_in_memory().unwrap();
        let report = lineage.sync(&self.runs.journals, &mut self.manifests.clone().into_iter()).unwrap();
        assert!(report.rows > 50 && report.warnings.is_empty(), "{report:?}");
        lineage
    }
}

fn params(step: usize, lr: f64) -> Value {
    match step {
        0 => Value::map([("path", Value::Str("books".into()))]),
        1 => Value::map([("vocab_size", Value::Int(4096))]),
        2 => Value::map([
            ("optim", Value::map([("lr", Value::Float(lr))])),
            ("mix", Value::List(vec![Value::map([("weight", Value::Float(0.5))])])),
        ]),
        _ => Value::map::<String>([]),
    }
}

fn metrics(step: usize, lr: f64) -> BTreeMap<String, f64> {
    let pairs: &[(&str, f64)] = match step {
        0 => &[("documents", 12.0), ("licence/MIT", 7.0), ("licence/CC0-1.0", 5.0), ("source/books", 12.0)],
        2 => &[("cost/tokens", 1000.0), ("cost/flops", 6e9)],
        3 => &[("eval/accuracy", 0.0)],
        _ => &[],
    };
    let mut metrics: BTreeMap<_, _> = pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    if let Some(accuracy) = metrics.get_mut("eval/accuracy") {
        *accuracy = if lr > 0.001 { 0.25 } else { 0.5 };
    }
    metrics
}

pub(super) fn summary(id: usize, lr: f64) -> StepSummary {
    let (name, kind) = STEPS[id];
    StepSummary {
        id: StepId(id),
        name: name.into(),
        kind: kind.into(),
        version: 1,
        plan_id: PlanId::from_bytes([id as u8; 32]),
        params: params(id, lr),
        inputs: if id == 0 { vec![] } else { vec![("input".into(), StepId(id - 1))] },
        files: if id == 0 { vec![("documents".into(), "data/books.txt".into())] } else { vec![] },
        site: Site { file: "tiny.rhai".into(), line: id as u32 + 1, column: 5 },
        resources: Resources::default(),
        place: if id == 2 { Place::Child } else { Place::Thread },
        wanted: true,
    }
}

pub(super) fn started(run: &str, lr: f64) -> Event {
    Event::RunStarted {
        run: run.into(),
        recipe: "tiny.rhai".into(),
        recipe_digest: Digest::from_bytes([9; 32]),
        settings: BTreeMap::from([("lr".into(), Value::Float(lr)), ("size".into(), Value::Str("nano".into()))]),
        program: "0.1.0".into(),
        host: "box".into(),
        pid: 7,
        device: "cpu".into(),
        capacity: Resources { cpus: 2, memory_mib: 4096 },
        steps: (0..STEPS.len()).map(|id| summary(id, lr)).collect(),
        outputs: vec![("report".into(), StepId(3))],
    }
}

fn preimage(id: usize, lr: f64, inputs: &[InputRecord]) -> Preimage {
    let inputs = inputs.iter().map(|i| InputDigest { port: i.port.clone(), digest: i.digest }).collect();
    Preimage { format: 1, kind: STEPS[id].1.into(), version: 1, params: params(id, lr), inputs }
}

/// Runs the story's plan: events of a run, and manifests of what it executes; `done` has the keys and digests so far.
fn play(run: &str, lr: f64, start_ms: u64, manifests: &mut Vec<(Manifest, Preimage)>) -> Vec<u8> {
    let mut events = vec![started(run, lr)];
    let mut last: Option<(Key, Digest)> = None;
    let (mut executed, mut hits) = (0, 0);
    for (id, (name, kind)) in STEPS.into_iter().enumerate() {
        let input = match last {
            Some((key, digest)) => InputRecord { port: "input".into(), digest, key: Some(key) },
            None => InputRecord { port: "documents data/books.txt".into(), digest: Digest::from_bytes([8; 32]), key: None },
        };
        let preimage = preimage(id, lr, std::slice::from_ref(&input));
        let (key, step) = (preimage.key(), StepId(id));
        let found = manifests.iter().find(|(manifest, _)| manifest.key == key).map(|(manifest, _)| manifest.clone());
        let hit = found.is_some();
        let before = manifests.iter().rev().find(|(manifest, _)| manifest.provenance.step == name);
        let because = if hit { vec![] } else { before.map_or(vec![], |(_, before)| preimage.differences(before)) };
        events.push(Event::StepKeyed { step, key, hit, because });
        if !hit {
            events.push(Event::StepStarted { step, key, threads: 2, resumed: false });
            if id == 2 {
                for at in 0..3_u32 {
                    let values = BTreeMap::from([("train/CE loss".to_owned(), 4.0 / f64::from(at + 1))]);
                    events.push(Event::Metrics { step, at: u64::from(at) * 10, values });
                }
                events.push(Event::StepProgress { step, done: 1000, total: Some(1000), unit: "tokens".into() });
            }
            events.push(Event::Log { step, line: format!("{name} is done") });
        }
        let manifest = found.unwrap_or_else(|| Manifest {
            format: 1,
            key,
            digest: Digest::from_bytes(key.as_bytes().map(|byte| byte ^ 0x55)),
            kind: kind.into(),
            files: vec![FileEntry {
                path: "data".into(),
                bytes: 100 * (id as u64 + 1),
                digest: Digest::from_bytes([id as u8; 32]),
            }],
            inputs: vec![input],
            metrics: metrics(id, lr),
            provenance: Provenance {
                run: run.into(),
                step: name.into(),
                finished_ms: start_ms + 1000 * events.len() as u64,
                seconds: id as f64 + 0.5,
                host: "box".into(),
                device: "cpu".into(),
                threads: 2,
                program: "0.1.0".into(),
                temp: false,
            },
        });
        events.push(Event::StepFinished {
            step,
            key,
            digest: manifest.digest,
            hit,
            seconds: manifest.provenance.seconds,
            bytes: manifest.bytes(),
            metrics: manifest.metrics.clone(),
        });
        last = Some((key, manifest.digest));
        if hit {
            hits += 1;
        } else {
            executed += 1;
            manifests.push((manifest, preimage));
        }
    }
    events.push(Event::RunFinished { status: RunStatus::Succeeded, executed, hits, failed: 0, seconds: 20.0 });
    lines(start_ms, &events)
}

/// Two finished runs, `calm-ant` with a learning rate of 0.01 and `bold-bee` with 0.001; the first two steps are shared.
pub(super) fn story() -> Story {
    let (mut runs, mut manifests) = (Runs::new(), Vec::new());
    let first = play("calm-ant", 0.01, 1_700_000_000_000, &mut manifests);
    let second = play("bold-bee", 0.001, 1_700_000_100_000, &mut manifests);
    runs.write("calm-ant", &first);
    runs.write("bold-bee", &second);
    Story { runs, manifests }
}
