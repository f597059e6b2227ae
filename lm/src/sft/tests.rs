//! Tests of finetuning on a tiny model over single bytes.

use std::path::PathBuf;

use burn::tensor::Device;
use data::problem::{Demonstration, Family, Level, Problem, ProblemMix, Split};

use super::*;
use crate::batch::{Batch, Tokens};
use crate::chat::tests::byte_tokenizer;
use crate::config::ModelConfig;
use crate::init::initial_weights;
use crate::model::Model;
use crate::observe::Silent;

/// A `pico` model over bytes.
pub(crate) fn byte_checkpoint(seed: u64) -> Checkpoint {
    let config = ModelConfig { vocab_size: 258, eos_token_id: 0, pad_token_id: 1, ..ModelConfig::olmo2("pico").unwrap() };
    let weights = initial_weights(&config, seed);
    Checkpoint::new(config, weights)
}

/// Everything a post-training test needs.
pub(crate) struct Bench {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) chat: Chat,
    pub(crate) device: Device,
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Bench {
            checkpoint: byte_checkpoint(1),
            chat: Chat::new(byte_tokenizer(), 0).unwrap(),
            device: crate::device::cpu(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn start(&self) -> Start<'_> {
        Start { checkpoint: &self.checkpoint, chat: &self.chat, device: &self.device }
    }

    /// A new directory.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs_err::create_dir_all(&path).unwrap();
        path
    }
}

/// Stops a run after a number of steps.
pub(crate) struct StopAfter(pub(crate) u64, pub(crate) u64);

impl Observer for StopAfter {
    fn metric(&mut self, step: u64, _name: &str, _value: f64) {
        self.1 = step;
    }
    fn progress(&mut self, _done: u64, _total: u64) {}
    fn should_stop(&self) -> bool {
        self.1 >= self.0
    }
}

/// Keeps every metric.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Vec<(u64, String, f64)>);

impl Recorder {
    pub(crate) fn series(&self, name: &str) -> Vec<f64> {
        self.0.iter().filter(|(_, n, _)| n == name).map(|(_, _, value)| *value).collect()
    }
}

impl Observer for Recorder {
    fn metric(&mut self, step: u64, name: &str, value: f64) {
        self.0.push((step, name.to_string(), value));
    }
    fn progress(&mut self, _done: u64, _total: u64) {}
}

fn conversations(n: u64) -> Vec<Conversation> {
    let mix = ProblemMix { families: vec![Family::Successor, Family::Parity], level: Level::Easy };
    let problems = Problem::generate_many(&mix, Split::Train, 5, n);
    problems.iter().map(|problem| problem.demonstration(Demonstration::Answer)).collect()
}

fn config() -> SftConfig {
    SftConfig { epochs: 2, batch_size: 4, learning_rate: 3e-3, micro_batch_rows: 2, ..SftConfig::default() }
}

#[test]
fn the_loss_falls_and_the_result_is_a_whole_checkpoint() {
    let bench = Bench::new();
    let out = bench.dir("out");
    let mut recorder = Recorder::default();
    let config = SftConfig { epochs: 4, ..config() };
    let summary = sft(&config, bench.start(), &conversations(24), &out, None, &mut recorder).unwrap();
    assert_eq!(summary.steps, 24);
    assert_eq!(summary.counts.conversations, 24);
    let losses = recorder.series("train/CE loss");
    assert!(losses[23] < 0.7 * losses[0], "{losses:?}");
    assert_eq!(summary.final_loss, losses[23]);
    let trained = Checkpoint::read(&out).unwrap();
    assert_eq!(trained.config, bench.checkpoint.config);
    assert!(trained.weights != bench.checkpoint.weights && trained.training.is_none());
    assert!(Chat::open(&out, 0).is_ok());
}

#[test]
fn an_interrupted_run_reaches_the_same_bits() {
    let bench = Bench::new();
    let (whole, parts, progress) = (bench.dir("whole"), bench.dir("parts"), bench.dir("progress"));
    let conversations = conversations(18);
    sft(&config(), bench.start(), &conversations, &whole, None, &mut Silent).unwrap();
    let saving = Some(Saving { dir: &progress, every_steps: 2, every_seconds: 1e9 });
    for stop in [3, 7] {
        let stopped = sft(&config(), bench.start(), &conversations, &parts, saving, &mut StopAfter(stop, 0));
        assert!(matches!(stopped, Err(SftError::Stopped { step, total: 10 }) if step == stop), "{stopped:?}");
    }
    sft(&config(), bench.start(), &conversations, &parts, saving, &mut Silent).unwrap();
    let bytes = |dir: &PathBuf| fs_err::read(dir.join("model.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&parts));
    assert!(!progress.exists());
}

fn examples() -> Vec<ChatTokens> {
    let chat = Chat::new(byte_tokenizer(), 0).unwrap();
    tokenize(&chat, &conversations(7), 256).unwrap().0
}

#[test]
fn packed_and_separate_rows_have_the_same_loss() {
    let model = byte_checkpoint(1).model(&crate::device::cpu()).unwrap();
    let loss = |batch: &Batch| model.loss(batch, LossScale::new(0.0, 1.0)).read().cross_entropy;
    let examples = examples();
    let packed = loss(&rows::pack_conversations(&examples.iter().collect::<Vec<_>>(), 256, 1));
    let separate: f64 = examples
        .iter()
        .map(|example| {
            let n = example.ids.len() - 1;
            let targets = (0..n).map(|i| if example.trained[i + 1] { example.ids[i + 1] } else { crate::batch::IGNORED });
            loss(&Batch::new(Tokens::new(example.ids[..n].to_vec(), n), targets.collect()))
        })
        .sum();
    assert!((packed - separate).abs() < 1e-3 * separate, "{packed} {separate}");
}

/// Gradient norm of one batch.
fn grad_norm(reduction: Reduction, micro_batch_rows: usize) -> f64 {
    let model: Model = byte_checkpoint(1).model(&crate::device::cpu()).unwrap();
    let config = SftConfig { reduction, micro_batch_rows, row_length: 70, max_length: 70, ..config() };
    let mut trainer = Trainer::new(model, crate::optim::AdamW::new(config.optimizer), None);
    let examples = examples();
    update(&mut trainer, &config, &examples.iter().collect::<Vec<_>>(), 1, 0.0).grad_norm
}

#[test]
fn only_the_token_mean_and_the_sum_ignore_how_a_batch_is_cut() {
    let close = |a: f64, b: f64| (a - b).abs() < 1e-4 * b;
    let whole = grad_norm(Reduction::TokenMean, 100);
    assert!(close(grad_norm(Reduction::TokenMean, 1), whole));
    let n_trained: usize = examples().iter().map(ChatTokens::n_trained).sum();
    assert!(close(grad_norm(Reduction::Sum, 1), whole * n_trained as f64));
    assert!(close(grad_norm(Reduction::MicroBatchMean, 100), whole));
    assert!(!close(grad_norm(Reduction::MicroBatchMean, 1), whole));
}

#[test]
fn long_conversations_are_cut_and_empty_ones_dropped() {
    let bench = Bench::new();
    let conversations = conversations(6);
    let lengths: Vec<usize> =
        conversations.iter().map(|c| bench.chat.tokens(&c.messages, Ending::Complete).unwrap().ids.len()).collect();
    let longest = *lengths.iter().max().unwrap();
    let (_, counts) = tokenize(&bench.chat, &conversations, longest - 1).unwrap();
    assert_eq!(counts.truncated, lengths.iter().filter(|n| **n == longest).count() as u64);
    let (none, counts) = tokenize(&bench.chat, &conversations, 10).unwrap();
    assert_eq!((none.len(), counts.dropped), (0, 6));
    let config = SftConfig { max_length: 10, ..config() };
    let error = sft(&config, bench.start(), &conversations, &bench.dir("out"), None, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("none of the 6"), "{error}");
}

#[test]
fn settings_out_of_range_are_named() {
    let error = |config: SftConfig| config.validate().unwrap_err().to_string();
    assert!(error(SftConfig { epochs: 0, ..config() }).contains("epochs"));
    assert!(error(SftConfig { row_length: 10, ..config() }).contains("row_length"));
    assert!(error(SftConfig { warmup_fraction: 2.0, ..config() }).contains("warmup_fraction"));
}
