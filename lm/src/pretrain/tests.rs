//! Tests of the training loop: resuming, schedules, errors.

use std::cell::Cell;
use std::sync::Arc;

use super::*;
use crate::random::Stream;

/// A language in which each token mostly decides the next one.
fn tokens(n: u64) -> Vec<u32> {
    let stream = Stream::new(1, "language");
    let mut last = 0;
    (0..n)
        .map(|i| {
            last = if stream.uniform(i) < 0.9 { (last * 5 + 3) % 512 } else { stream.below(n + i, 512) as u32 };
            last
        })
        .collect()
}

fn source() -> Vec<Ingredient> {
    vec![Ingredient { label: "language".into(), tokens: Arc::new(tokens(20_000)), ratio: 1.0 }]
}

fn start() -> Start {
    Start::Fresh { config: ModelConfig::olmo2("pico").unwrap(), seed: 1 }
}

fn config(steps: u64) -> PretrainConfig {
    PretrainConfig { micro_batch: 3, ..PretrainConfig::new(32, 256, 256 * steps, 3e-3) }
}

#[derive(Default)]
struct Recorder {
    losses: Vec<f64>,
    names: Vec<String>,
    stop_after: Option<usize>,
    asked: Cell<usize>,
}

impl Observer for Recorder {
    fn metric(&mut self, _step: u64, name: &str, value: f64) {
        if name == "train/CE loss" {
            self.losses.push(value);
        }
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.into());
        }
    }
    fn progress(&mut self, _done: u64, _total: u64) {}
    fn should_stop(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.stop_after.is_some_and(|n| self.losses.len() >= n)
    }
    fn elapsed(&self) -> f64 {
        self.losses.len() as f64
    }
}

#[test]
fn training_learns_and_reports_olmo_cores_names() {
    let out = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let summary = pretrain(&config(60), &start(), source(), out.path(), None, &mut recorder).unwrap();
    assert!((recorder.losses[0] - (512.0_f64).ln()).abs() < 0.2, "{}", recorder.losses[0]);
    assert!(summary.mean_final_loss < 0.85 * recorder.losses[0], "{summary:?}");
    for name in [
        "train/CE loss",
        "train/PPL",
        "train/Z loss",
        "optim/total grad norm",
        "optim/LR",
        "throughput/total tokens",
        "throughput/device/TPS",
    ] {
        assert!(recorder.names.iter().any(|known| known == name), "{name}");
    }
    let saved = Checkpoint::read(out.path()).unwrap();
    let record = saved.training.unwrap().record;
    assert_eq!((record.step, record.tokens), (60, 60 * 256));
    assert!((record.lr - 3e-4).abs() < 1e-12, "{}", record.lr);
}

fn files(dir: &Path) -> Vec<Vec<u8>> {
    ["config.json", "model.safetensors", "training.json", "training.safetensors"]
        .map(|name| fs_err::read(dir.join(name)).unwrap())
        .to_vec()
}

#[test]
fn interruptions_do_not_change_a_bit() {
    let (straight, resumed, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(12);
    let whole = pretrain(&config, &start(), source(), straight.path(), None, &mut Recorder::default()).unwrap();
    let saving = Saving { dir: &state.path().join("progress"), every_steps: 2, every_seconds: f64::INFINITY };
    for (stop, step) in [(5, 5), (4, 9)] {
        let mut recorder = Recorder { stop_after: Some(stop), ..Recorder::default() };
        let error = pretrain(&config, &start(), source(), resumed.path(), Some(saving), &mut recorder).unwrap_err();
        assert!(matches!(error, TrainError::Stopped { step: at, total: 12 } if at == step), "{error}");
    }
    let rest = pretrain(&config, &start(), source(), resumed.path(), Some(saving), &mut Recorder::default()).unwrap();
    assert_eq!(whole, rest);
    assert!(files(straight.path()) == files(resumed.path()));
    assert!(!saving.dir.exists(), "progress is cleared");
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let run = |threads: usize| {
        let out = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pretrain(&config(4), &start(), source(), out.path(), None, &mut crate::observe::Silent)).unwrap();
        files(out.path())
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn an_anneal_starts_where_its_parent_stopped() {
    let (parent, child) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut base = config(8);
    base.rate.shape = RateShape::Cosine { floor: 0.5 };
    pretrain(&base, &start(), source(), parent.path(), None, &mut Recorder::default()).unwrap();
    let mut anneal = config(4);
    anneal.rate = RateConfig {
        peak: PeakRate::Reached,
        shape: RateShape::Linear { floor: 0.0 },
        warmup_tokens: 0,
        horizon_tokens: None,
        start_tokens: 0,
        rewarm_tokens: 0,
    };
    let start = Start::Checkpoint(parent.path().to_path_buf());
    pretrain(&anneal, &start, source(), child.path(), None, &mut Recorder::default()).unwrap();
    let record = Checkpoint::read(child.path()).unwrap().training.unwrap().record;
    assert_eq!((record.step, record.tokens, record.lr, record.peak_lr), (12, 12 * 256, 0.0, 1.5e-3));
    let fresh = self::start();
    let error = pretrain(&anneal, &fresh, source(), child.path(), None, &mut Recorder::default()).unwrap_err();
    assert!(error.to_string().contains("no learning rate"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let out = tempfile::tempdir().unwrap();
    let mut config = config(30);
    config.rate.peak = PeakRate::Rate(1e30);
    config.max_grad_norm = None;
    let error = pretrain(&config, &start(), source(), out.path(), None, &mut Recorder::default()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    assert!(!out.path().join("config.json").exists());
}

#[test]
fn two_replicas_follow_one_device() {
    let run = |devices: usize| {
        let dir = tempfile::tempdir().unwrap();
        let placement = Placement { devices: vec![device::cpu(); devices], ..Placement::default() };
        let mut recorder = Recorder::default();
        pretrain_on(&placement, &config(4), &start(), source(), dir.path(), None, &mut recorder).unwrap();
        recorder.losses
    };
    let (one, two) = (run(1), run(2));
    assert!(one.iter().zip(&two).all(|(one, two)| (one - two).abs() < 1e-4), "{one:?} {two:?}");
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Placement { devices: Vec::new(), ..Placement::default() };
    let error = pretrain_on(&nowhere, &config(1), &start(), source(), dir.path(), None, &mut Recorder::default());
    assert!(error.unwrap_err().to_string().contains("at least one device"));
}
