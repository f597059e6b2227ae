//! A synthetic journal of a whole run, for tests: thirty wanted steps and one that no output needs, some found in the store, three at the
//! same time, curves with noise. The same on every call.

use std::collections::BTreeMap;

use plan::{
    Difference, Digest, Event, Key, Machine, Place, PlanId, Record, Resources, RunStatus, Site, StepId, StepSummary, Value,
};

use crate::state::State;

/// When the sample run starts, ms since the epoch.
pub(crate) const START_MS: u64 = 1_750_000_000_000;

const STEPS: &[(&str, &str, &[usize])] = &[
    ("cargo_crates", "source", &[]),
    ("tagged", "tag", &[0]),
    ("deduped", "dedup", &[1]),
    ("filtered", "filter", &[2]),
    ("mixed", "mix", &[3]),
    ("train_documents", "split", &[4]),
    ("valid_documents", "split", &[4]),
    ("tokenizer", "train_tokenizer", &[5]),
    ("tokens", "tokenize", &[5, 7]),
    ("valid_tokens", "tokenize", &[6, 7]),
    ("seedling", "pretrain", &[8]),
    ("grown", "grow", &[10]),
    ("pretrain_base", "pretrain", &[11, 8]),
    ("dolmino", "source", &[]),
    ("dolmino_filtered", "filter", &[13]),
    ("dolmino_tokens", "tokenize", &[14, 7]),
    ("anneal_seed_42", "anneal", &[12, 15]),
    ("anneal_seed_42069", "anneal", &[12, 15]),
    ("anneal_seed_666", "anneal", &[12, 15]),
    ("soup", "average", &[16, 17, 18]),
    ("arithmetic_chat", "source", &[]),
    ("sft", "sft", &[19, 20, 7]),
    ("preferences", "preferences", &[21, 20]),
    ("dpo", "dpo", &[21, 22]),
    ("problems", "source", &[]),
    ("rlvr", "rlvr", &[23, 24]),
    ("evaluate_base", "evaluate", &[12, 9]),
    ("evaluate_soup", "evaluate", &[19, 9]),
    ("evaluate_chat", "evaluate", &[25, 9]),
    ("report", "report", &[26, 27, 28]),
    ("scratch", "pretrain", &[8]),
];

fn id(index: usize) -> [u8; 32] {
    std::array::from_fn(|byte| (index * 37 + byte * 11 + 5) as u8)
}

fn params(kind: &str) -> Value {
    match kind {
        "filter" => Value::map([("predicate", Value::Script("|doc| doc.gopher.word_count >= 50 && doc.pii.count < 5".into()))]),
        "pretrain" | "anneal" => Value::map([
            (
                "model",
                Value::map([("d_model", Value::Int(128)), ("layers", Value::Int(4)), ("rope_theta", Value::Float(500_000.0))]),
            ),
            (
                "optimizer",
                Value::map([("lr", Value::Float(0.0003)), ("betas", Value::List(vec![Value::Float(0.9), Value::Float(0.95)]))]),
            ),
            ("tokens", Value::Int(1_200_000)),
            ("seed", Value::Int(42)),
        ]),
        _ => Value::map([("seed", Value::Int(0))]),
    }
}

fn summary(index: usize) -> StepSummary {
    let (name, kind, inputs) = STEPS[index];
    let site = Site { file: "recipes/olmo2.rhai".into(), line: 10 + index as u32, column: 14 };
    StepSummary {
        id: StepId(index),
        name: name.into(),
        kind: kind.into(),
        version: 1,
        plan_id: PlanId::from_bytes(id(index + 500)),
        params: params(kind),
        inputs: inputs.iter().map(|&input| (STEPS[input].1.to_owned(), StepId(input))).collect(),
        files: if kind == "source" { vec![("files".into(), "corpora/list.txt".into())] } else { Vec::new() },
        site,
        resources: Resources { cpus: 2, memory_mib: 1024, gpus: 0 },
        place: if kind == "source" { Place::Thread } else { Place::Child },
        wanted: name != "scratch",
    }
}

struct Writer {
    time_ms: u64,
    records: Vec<Record>,
}

impl Writer {
    fn tell(&mut self, event: Event) {
        self.records.push(Record { seq: self.records.len() as u64, time_ms: self.time_ms, event });
    }

    fn load(&mut self) {
        let wave = 10.0 * ((self.time_ms - START_MS) as f64 / 9000.0).sin();
        self.tell(Event::Machine(Machine {
            cpu_percent: 65.0 + wave * 3.0,
            memory_mib: (5000.0 + wave * 160.0) as u64,
            memory_total_mib: 15_800,
            load: 1.7,
            gpus: Vec::new(),
        }));
    }

    fn keyed(&mut self, step: usize, hit: bool) {
        let lr = |lr| Some(Value::Float(lr));
        let changed = Difference::Param { path: "optimizer.lr".into(), before: lr(0.001), after: lr(0.0003) };
        let because = if STEPS[step].1 == "anneal" { vec![changed] } else { Vec::new() };
        self.tell(Event::StepKeyed { step: StepId(step), key: Key::from_bytes(id(step)), hit, because });
    }

    fn start(&mut self, step: usize) {
        self.keyed(step, false);
        self.tell(Event::StepStarted { step: StepId(step), key: Key::from_bytes(id(step)), threads: 2, resumed: false });
        self.tell(Event::Log { step: StepId(step), line: format!("{} begins", STEPS[step].0) });
    }

    fn finish(&mut self, step: usize, hit: bool, seconds: f64) {
        let figures: &[(&str, f64)] = match STEPS[step].1 {
            "evaluate" => &[("eval/arithmetic/accuracy", 0.62), ("eval/cost/seconds", 14.0), ("eval/valid/bits_per_byte", 1.287)],
            "pretrain" | "anneal" => &[("cost/flops", 3.1e14), ("cost/tokens", 1_200_000.0), ("train/CE loss", 3.1234)],
            _ => &[("documents", 12_345.0)],
        };
        self.tell(Event::StepFinished {
            step: StepId(step),
            key: Key::from_bytes(id(step)),
            digest: Digest::from_bytes(id(step + 1000)),
            hit,
            seconds,
            bytes: 1_234_567 * (step as u64 + 1),
            cpu_seconds: 1.9 * seconds,
            peak_memory_mib: 420,
            metrics: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        });
    }

    fn work(&mut self, steps: &[usize], ticks: u64) {
        steps.iter().for_each(|&step| self.start(step));
        let began = self.time_ms;
        for tick in 1..=ticks {
            self.time_ms += 500;
            for &step in steps {
                let unit = if STEPS[step].1 == "rlvr" { "rollouts" } else { "tokens" };
                let total = if STEPS[step].1 == "source" { None } else { Some(ticks * 10_000) };
                self.tell(Event::StepProgress { step: StepId(step), done: tick * 10_000, total, unit: unit.into() });
                let values = curves(step, tick, ticks);
                if !values.is_empty() {
                    self.tell(Event::Metrics { step: StepId(step), at: tick * 10, values });
                }
                if tick % 8 == 0 {
                    self.tell(Event::Log {
                        step: StepId(step),
                        line: format!("[{tick:>4}/{ticks}] {} goes well", STEPS[step].0),
                    });
                }
            }
            if tick % 2 == 0 {
                self.load();
            }
        }
        steps.iter().for_each(|&step| self.finish(step, false, (self.time_ms - began) as f64 / 1000.0));
    }
}

fn curves(step: usize, tick: u64, ticks: u64) -> BTreeMap<String, f64> {
    let share = tick as f64 / ticks as f64;
    // A multiplicative hash, from -0.5 to 0.5.
    let noise = ((tick + step as u64 * 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1 << 24) as f64 - 0.5;
    let pairs: Vec<(&str, f64)> = match STEPS[step].1 {
        "pretrain" | "anneal" | "sft" | "dpo" => vec![
            ("optim/lr", 3e-4 * (share * 10.0).min(1.0) * (1.0 - share * 0.9)),
            ("optim/total grad norm", 1.0 + noise * 0.4 + (-share * 8.0).exp() * 6.0),
            ("throughput/device/TPS", 19_000.0 + noise * 900.0),
            ("train/CE loss", 3.0 + 5.0 * (-share * 6.0).exp() + noise * 0.25),
            ("train/PPL", (3.0 + 5.0 * (-share * 6.0).exp() + noise * 0.25).exp()),
        ],
        "rlvr" => vec![
            ("objective/kl", 0.02 * share + noise * 0.004),
            ("objective/verifiable_correct_rate", (0.1 + share * 0.7 + noise * 0.15).clamp(0.0, 1.0)),
            ("policy/entropy", 1.2 - share * 0.6 + noise * 0.1),
        ],
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn started() -> Writer {
    let mut writer = Writer { time_ms: START_MS, records: Vec::new() };
    writer.tell(Event::RunStarted {
        run: "20250615-brave-otter".into(),
        recipe: "recipes/olmo2.rhai".into(),
        recipe_digest: Digest::from_bytes(id(999)),
        settings: BTreeMap::from([("size".to_owned(), Value::Str("nano".into()))]),
        program: "0.1.0".into(),
        host: "bench".into(),
        pid: 4242,
        device: "cpu".into(),
        capacity: Resources { cpus: 2, memory_mib: 12_000, gpus: 0 },
        steps: (0..STEPS.len()).map(summary).collect(),
        outputs: vec![("report".into(), StepId(29))],
    });
    writer.load();
    writer
}

/// The journal of a run that succeeds.
pub(crate) fn journal() -> Vec<Record> {
    let mut writer = started();
    for step in 0..5 {
        writer.time_ms += 20;
        writer.keyed(step, true);
        writer.finish(step, true, 10.0 + step as f64);
    }
    for (step, (_, kind, _)) in STEPS.iter().enumerate().take(30).skip(5) {
        match *kind {
            "anneal" if step > 16 => {}
            "anneal" => writer.work(&[16, 17, 18], 40),
            "pretrain" => writer.work(&[step], 80),
            "sft" | "dpo" | "rlvr" => writer.work(&[step], 50),
            _ => writer.work(&[step], 6),
        }
    }
    let seconds = (writer.time_ms - START_MS) as f64 / 1000.0;
    writer.tell(Event::RunFinished { status: RunStatus::Succeeded, executed: 25, hits: 5, failed: 0, seconds });
    writer.records
}

/// Everything after the run succeeded.
pub(crate) fn state() -> State {
    fold(&journal())
}

/// The run while a step is three fifths done.
pub(crate) fn state_while(name: &str) -> State {
    let journal = journal();
    let here = |record: &Record| match &record.event {
        Event::StepProgress { step, done, total: Some(total), .. } => STEPS[step.0].0 == name && done * 5 >= total * 3,
        _ => false,
    };
    let end = journal.iter().position(here).expect("the step reports progress");
    fold(&journal[..=end])
}

/// A run in which `pretrain_base` failed and what depends on it is blocked.
pub(crate) fn failed_state() -> State {
    let mut state = state_while("pretrain_base");
    let mut time_ms = state.last_ms();
    let mut tell = |event| {
        time_ms += 10;
        state.apply(&Record { seq: 0, time_ms, event });
    };
    let error = "the loss is not finite at step 481\nlower optimizer.lr or set clip_grad_norm";
    tell(Event::StepFailed { step: StepId(12), error: error.into(), seconds: 24.0, class: plan::ErrorClass::Failed });
    for step in [16, 17, 18, 19, 21, 22, 23, 25, 26, 27, 28, 29] {
        tell(Event::StepBlocked { step: StepId(step), by: StepId(12) });
    }
    tell(Event::RunFinished { status: RunStatus::Failed, executed: 8, hits: 5, failed: 1, seconds: 91.0 });
    state
}

/// The fold of records.
pub(crate) fn fold(records: &[Record]) -> State {
    let mut state = State::new();
    records.iter().for_each(|record| state.apply(record));
    state
}
