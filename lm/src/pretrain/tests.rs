//! Tests of the training loop: resuming, schedules, errors.

use std::cell::Cell;
use std::sync::Arc;

use super::*;
use crate::config::{Family, Sizes};
use crate::loader::batches::Change;
use crate::loader::{Instances, LongDocuments, RepetitionFilter};
use crate::model::recompute::Recompute;
use crate::optim::rules::{Rules, Trainable};
use crate::optim::skip::SkipStepConfig;
use crate::random::Stream;
use crate::schedule::Shape;

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

/// Small models of three kinds: dense, with a gated delta rule, with experts.
const FAMILIES: [Family; 3] = [Family::Olmo2, Family::OlmoHybrid, Family::Olmoe];

fn family(family: Family) -> Start {
    let sizes = Sizes { n_layers: 2, hidden_size: 32, n_heads: 2, n_kv_heads: 2, intermediate_size: 32, vocab_size: 512 };
    Start::Fresh { config: family.model(&sizes), seed: 1 }
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
    /// Everything that does not depend on the clock.
    metrics: Vec<(u64, String, f64)>,
    names: Vec<String>,
    stop_after: Option<usize>,
    asked: Cell<usize>,
}

impl Observer for Recorder {
    fn metric(&mut self, step: u64, name: &str, value: f64) {
        if !name.starts_with("throughput/device") {
            self.metrics.push((step, name.into(), value));
        }
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

/// A run of 12 steps, and one that is stopped after 5 and 9 of them.
fn with_interruptions(config: &PretrainConfig, start: &Start, data: impl Fn() -> Data) {
    let (straight, resumed, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut recorder = Recorder::default();
    let whole = pretrain(config, start, data(), straight.path(), None, &mut recorder).unwrap();
    let saving = Saving { dir: &state.path().join("progress"), every_steps: 2, every_seconds: f64::INFINITY };
    let mut metrics = Vec::new();
    for (stop, step) in [(5, 5), (4, 9)] {
        let mut recorder = Recorder { stop_after: Some(stop), ..Recorder::default() };
        let error = pretrain(config, start, data(), resumed.path(), Some(saving), &mut recorder).unwrap_err();
        assert!(matches!(error, TrainError::Stopped { step: at, total: 12 } if at == step), "{error}");
        metrics.append(&mut recorder.metrics);
    }
    let mut last = Recorder::default();
    let rest = pretrain(config, start, data(), resumed.path(), Some(saving), &mut last).unwrap();
    metrics.append(&mut last.metrics);
    assert_eq!(whole, rest);
    assert!(files(straight.path()) == files(resumed.path()));
    assert_eq!(recorder.metrics, metrics);
    assert!(!saving.dir.exists(), "progress is cleared");
}

#[test]
fn interruptions_do_not_change_a_bit() {
    for family in FAMILIES {
        with_interruptions(&config(12), &self::family(family), || source().into());
    }
}

#[test]
fn interruptions_do_not_change_a_bit_of_anything_else() {
    let change = |after_tokens, tokens| Change { after_tokens, tokens };
    // 2 steps of 128, then 256 tokens; sequences of 8, 16 and 32.
    let config = PretrainConfig {
        batch_tokens: 128,
        batch_changes: vec![change(256, 256)],
        length_changes: vec![change(512, 16), change(1024, 32)],
        sequence_length: 8,
        micro_batch: 9,
        skip_step: Some(SkipStepConfig { window: 6, min_history: 3, sigma: 1.0 }),
        merge_last: 5,
        validation: ValidationConfig { every_steps: 3, max_tokens: Some(300) },
        filter: Some(RepetitionFilter { max_count: 3, ..RepetitionFilter::default() }),
        ..config(11)
    };
    assert_eq!((config.n_steps(), config.n_tokens()), (12, 2816));
    let held_out = |label: &str| HeldOut { label: label.into(), tokens: Arc::new(tokens(900)) };
    with_interruptions(&config, &start(), || Data { training: source(), validation: vec![held_out("a"), held_out("b")] });
    let mut recorder = Recorder::default();
    let out = tempfile::tempdir().unwrap();
    let summary = pretrain(&config, &start(), source(), out.path(), None, &mut recorder).unwrap();
    assert!(summary.skipped_steps > 0, "one standard deviation is little: {summary:?}");
    let steps = Checkpoint::read(out.path()).unwrap().training.unwrap().optimizer.step;
    assert_eq!(steps, 12 - summary.skipped_steps);
}

/// A run on `n` replicas that share the CPU: what it says, and what it leaves.
fn on_replicas(n: usize, config: &PretrainConfig, start: &Start, data: Data) -> (Recorder, PretrainSummary, Vec<Vec<u8>>) {
    let (out, mut recorder) = (tempfile::tempdir().unwrap(), Recorder::default());
    let devices = vec![device::cpu(); n];
    let summary = pretrain_on(&devices, config, start, data, out.path(), None, &mut recorder).unwrap();
    (recorder, summary, files(out.path()))
}

#[test]
fn replicas_have_the_metrics_of_one_device() {
    let held_out = || vec![HeldOut { label: "web".into(), tokens: Arc::new(tokens(900)) }];
    for family in FAMILIES {
        let config = PretrainConfig {
            skip_step: Some(SkipStepConfig { window: 6, min_history: 3, sigma: 1.0 }),
            validation: ValidationConfig { every_steps: 4, max_tokens: None },
            merge_last: 2,
            // One pass of 8 rows for dense models, which replicas share; experts keep theirs.
            micro_batch: if family == Family::Olmoe { 2 } else { 8 },
            ..config(10)
        };
        let data = || Data { training: source(), validation: held_out() };
        let (one, first, _) = on_replicas(1, &config, &self::family(family), data());
        for n in [2, 3] {
            let (more, summary, _) = on_replicas(n, &config, &self::family(family), data());
            assert_eq!(more.metrics.len(), one.metrics.len(), "{family:?}");
            for ((step, name, found), (at, known, wanted)) in more.metrics.iter().zip(&one.metrics) {
                assert_eq!((step, name), (at, known));
                let close = (found - wanted).abs() <= 1e-4 * wanted.abs().max(1.0);
                // The slots of an expert are whole numbers: a tie may fall on the other side.
                let counts = name.ends_with("load imbalance") || name.ends_with("load balancing loss unscaled");
                assert!(close || (counts && (found - wanted).abs() < 0.05), "{family:?} {name} at {step}: {found} {wanted}");
            }
            assert_eq!((summary.skipped_steps, summary.tokens), (first.skipped_steps, first.tokens), "{family:?}");
        }
    }
}

#[test]
fn replicas_go_on_after_an_interruption_with_the_same_bits() {
    let config = config(6);
    let (recorder, whole, straight) = on_replicas(2, &config, &start(), source().into());
    let (out, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let saving = Saving { dir: &state.path().join("progress"), every_steps: 2, every_seconds: f64::INFINITY };
    let devices = vec![device::cpu(); 2];
    let run = |recorder: &mut Recorder| pretrain_on(&devices, &config, &start(), source(), out.path(), Some(saving), recorder);
    let mut first = Recorder { stop_after: Some(3), ..Recorder::default() };
    assert!(matches!(run(&mut first).unwrap_err(), TrainError::Stopped { step: 3, total: 6 }));
    let mut last = Recorder::default();
    assert_eq!(run(&mut last).unwrap(), whole);
    assert!(files(out.path()) == straight);
    assert_eq!(recorder.metrics, [first.metrics, last.metrics].concat());
}

#[test]
fn devices_that_cannot_share_a_batch_are_refused() {
    let fail = |n: usize, config: &PretrainConfig, start: &Start| {
        let (out, devices) = (tempfile::tempdir().unwrap(), vec![device::cpu(); n]);
        let result = pretrain_on(&devices, config, start, source(), out.path(), None, &mut Recorder::default());
        result.unwrap_err().to_string()
    };
    // Batches of 8 rows.
    let error = fail(9, &config(1), &start());
    assert!(error.contains("8 sequences, too few for 9 devices"), "{error}");
    let whole = PretrainConfig { micro_batch: 8, ..config(1) };
    let error = fail(2, &whole, &family(Family::Olmoe));
    assert!(error.contains("1 passes of `micro_batch` 8") && error.contains("load-balancing"), "{error}");
    let unbalanced = PretrainConfig { load_balancing_loss: 0.0, ..whole };
    on_replicas(2, &unbalanced, &family(Family::Olmoe), source().into());
    assert!(fail(0, &config(1), &start()).contains("at least one device"));
}

#[test]
fn neither_threads_nor_recomputation_change_a_bit() {
    let run = |family: Family, threads: usize, recompute: Recompute| {
        let out = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let config = PretrainConfig { recompute, ..config(4) };
        let start = self::family(family);
        pool.install(|| pretrain(&config, &start, source(), out.path(), None, &mut crate::observe::Silent)).unwrap();
        files(out.path())
    };
    for family in FAMILIES {
        let one = run(family, 1, Recompute::None);
        assert!(one == run(family, 2, Recompute::None) && one == run(family, 3, Recompute::Blocks), "{family:?}");
    }
}

#[test]
fn measuring_changes_nothing_of_what_is_trained() {
    let run = |validation: Vec<HeldOut>| {
        let out = tempfile::tempdir().unwrap();
        let config = PretrainConfig { validation: ValidationConfig { every_steps: 2, max_tokens: None }, ..config(5) };
        let data = Data { training: source(), validation };
        let mut recorder = Recorder::default();
        let summary = pretrain(&config, &start(), data, out.path(), None, &mut recorder).unwrap();
        (files(out.path()), recorder.metrics, summary.validation)
    };
    let (plain, ..) = run(Vec::new());
    let (measured, metrics, last) = run(vec![HeldOut { label: "web".into(), tokens: Arc::new(tokens(2000)) }]);
    assert!(plain == measured);
    let losses: Vec<(u64, f64)> =
        metrics.iter().filter(|m| m.1 == "eval/lm/web/CE loss").map(|(step, _, loss)| (*step, *loss)).collect();
    assert_eq!(losses.iter().map(|loss| loss.0).collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(last["web"], losses[2].1);
    assert!(losses.iter().all(|loss| (5.5..6.5).contains(&loss.1)), "{losses:?}");
}

#[test]
fn bf16_follows_single_precision_closely_and_keeps_its_bits() {
    for family in FAMILIES {
        let run = |precision: Precision, threads: usize| {
            let out = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let config = PretrainConfig { precision, ..config(6) };
            let mut recorder = Recorder::default();
            pool.install(|| pretrain(&config, &self::family(family), source(), out.path(), None, &mut recorder)).unwrap();
            let losses: Vec<f64> = recorder.metrics.iter().filter(|m| m.1 == "train/CE loss").map(|m| m.2).collect();
            (losses, files(out.path()))
        };
        let (single, (half, bits)) = (run(Precision::F32, 2).0, run(Precision::Bf16, 2));
        assert_ne!(single, half, "{family:?}");
        assert!(single.iter().zip(&half).all(|(a, b)| (a - b).abs() < 0.01 * a), "{family:?}: {single:?} {half:?}");
        assert!(bits == run(Precision::Bf16, 1).1, "{family:?}");
    }
}

#[test]
fn experts_report_the_losses_of_their_routers() {
    let out = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let config = PretrainConfig { load_balancing_loss: 0.5, ..config(3) };
    pretrain(&config, &family(Family::Olmoe), source(), out.path(), None, &mut recorder).unwrap();
    let value = |name: &str| recorder.metrics.iter().find(|m| m.0 == 2 && m.1 == name).unwrap_or_else(|| panic!("{name}")).2;
    let unscaled = value("train/load balancing loss unscaled");
    assert!((1.0..1.5).contains(&unscaled), "{unscaled}");
    assert!((value("train/load balancing loss") - 0.5 * unscaled).abs() < 1e-12);
    let blocks = value("train/block 00/load balancing loss") + value("train/block 01/load balancing loss");
    assert!((value("train/load balancing loss") - blocks).abs() < 1e-12);
    assert!(value("train/block 01/load imbalance") >= 1.0 && value("train/router Z loss unscaled") > 0.0);
    assert!(value("throughput/total petaflops") > 0.0 && value("throughput/chinchilla multiple") > 0.0);
    assert_eq!(value("train/global batch size"), 256.0);
}

#[test]
fn packed_documents_frozen_parameters_and_scaled_rates() {
    let out = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let mut config = PretrainConfig {
        instances: Instances::Packed { long_documents: LongDocuments::Fragment, group: 1 },
        batch_changes: vec![Change { after_tokens: 512, tokens: 1024 }],
        rules: Rules { trainable: vec![Trainable::nothing("model.embed_tokens.weight")], ..Rules::default() },
        ..config(10)
    };
    config.rate.shape = Shape::Constant;
    config.rate.warmup = 0;
    config.rate.scale_with_batch = true;
    pretrain(&config, &start(), source(), out.path(), None, &mut recorder).unwrap();
    let rates: Vec<f64> = recorder.metrics.iter().filter(|m| m.1 == "optim/LR").map(|m| m.2).collect();
    assert_eq!(rates, [3e-3, 3e-3, 6e-3, 6e-3]);
    let Start::Fresh { config: model, seed } = start() else { unreachable!("the start is fresh") };
    let weights = Checkpoint::read(out.path()).unwrap().weights;
    let before = initial_weights(&model, seed);
    assert!(weights["model.embed_tokens.weight"] == before["model.embed_tokens.weight"]);
    assert!(weights["lm_head.weight"] != before["lm_head.weight"]);
    let mistake =
        PretrainConfig { rules: Rules { trainable: vec![Trainable::nothing("embed")], ..Rules::default() }, ..self::config(1) };
    let error = pretrain(&mistake, &start(), source(), out.path(), None, &mut Recorder::default()).unwrap_err();
    assert!(error.to_string().contains("`embed` matches no parameter"), "{error}");
}

#[test]
fn merging_gives_the_mean_of_the_last_weights() {
    let run = |steps: u64, merge_last: u64| {
        let out = tempfile::tempdir().unwrap();
        let mut config = PretrainConfig { merge_last, ..config(steps) };
        config.rate.shape = Shape::Constant;
        config.rate.warmup = 0;
        pretrain(&config, &start(), source(), out.path(), None, &mut Recorder::default()).unwrap();
        Checkpoint::read(out.path()).unwrap()
    };
    let (merged, fourth, fifth) = (run(5, 2), run(4, 0), run(5, 0));
    for (name, array) in &merged.weights {
        for (i, x) in array.data.iter().enumerate() {
            let mean = 0.5 * (f64::from(fourth.weights[name].data[i]) + f64::from(fifth.weights[name].data[i]));
            assert!((f64::from(*x) - mean).abs() < 1e-7, "{name}");
        }
    }
    assert_eq!(merged.training, fifth.training);
}

#[test]
fn the_bound_of_the_gradient_is_looser_at_first() {
    let mut config = PretrainConfig { clip_warmup: Some(ClipWarmup { length: 512, factor: 10.0 }), ..config(5) };
    assert_eq!([1, 2, 3].map(|step| config.bound(config.curve_position(step, step * 256))), [Some(10.0), Some(10.0), Some(1.0)]);
    config.rate.unit = Unit::Steps;
    assert_eq!(config.bound(config.curve_position(512, 1 << 20)), Some(10.0));
}

#[test]
fn an_anneal_starts_where_its_parent_stopped() {
    let (parent, child) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut base = config(8);
    base.rate.shape = Shape::Cosine { floor: 0.5 };
    pretrain(&base, &start(), source(), parent.path(), None, &mut Recorder::default()).unwrap();
    let mut anneal = config(4);
    anneal.rate = RateConfig { peak: PeakRate::Reached, shape: Shape::Linear { floor: 0.0 }, warmup: 0, ..anneal.rate };
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
