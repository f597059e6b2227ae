//! Tests of the loop on a tiny model over single bytes.

use std::path::PathBuf;

use data::problem::{Family, Level, ProblemMix, Split};

use super::*;
use crate::observe::Silent;
use crate::sft::tests::{Bench, Recorder, StopAfter};

/// Likes answers that begin with a lower-case letter.
struct LowerCaseFirst;

impl Reward for LowerCaseFirst {
    fn score(&self, _problem: &Problem, response: &str) -> Result<f64, RewardError> {
        Ok(f64::from(u8::from(response.starts_with(|c: char| c.is_ascii_lowercase()))))
    }
}

fn problems() -> Vec<Problem> {
    let mix = ProblemMix { families: vec![Family::Parity], level: Level::Easy };
    Problem::generate_many(&mix, Split::Train, 3, 12)
}

fn task<'a>(problems: &'a [Problem]) -> Task<'a> {
    Task { problems, reward: &LowerCaseFirst, watch: None }
}

fn config() -> RlvrConfig {
    RlvrConfig {
        steps: 6,
        prompts_per_step: 4,
        samples_per_prompt: 8,
        sampling: Sampling { max_new_tokens: 2, ..Sampling::default() },
        schedule: Schedule { peak: 3e-3, warmup: 0, total: 6, shape: Shape::Constant, rewarm: None },
        ..RlvrConfig::default()
    }
}

#[test]
fn rewarded_answers_become_likelier() {
    let bench = Bench::new();
    let problems = problems();
    let mut recorder = Recorder::default();
    let config = RlvrConfig { steps: 40, ..config() };
    let watch = Some(Watch { problems: &problems[..2], every: 20 });
    let task = Task { watch, ..task(&problems) };
    let summary = rlvr(&config, bench.start(), task, &bench.dir("out"), None, &mut recorder).unwrap();
    assert_eq!(summary, RlvrSummary { steps: 40, prompts: 160, samples: 1280 });
    let rate = recorder.series("objective/verifiable_correct_rate");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&rate[..5]) < 0.3 && mean(&rate[35..]) > 0.6, "{rate:?}");
    assert_eq!(recorder.series("eval/verifiable_correct_rate").len(), 3);
    // One minibatch: the learner is on policy up to rounding.
    assert!(recorder.series("val/ratio").iter().all(|ratio| (ratio - 1.0).abs() < 1e-9));
    assert!(recorder.series("val/logprob_diff").iter().all(|diff| *diff < 1e-3));
    assert!(recorder.series("val/sequence_lengths_max").iter().all(|n| *n <= 2.0));
}

#[test]
fn an_interrupted_run_reaches_the_same_bits() {
    let bench = Bench::new();
    let problems = problems();
    let config =
        RlvrConfig { minibatches: 2, max_rounds: 2, objective: Objective { beta: 0.01, ..Objective::default() }, ..config() };
    let (whole, parts, progress) = (bench.dir("whole"), bench.dir("parts"), bench.dir("progress"));
    let mut recorder = Recorder::default();
    rlvr(&config, bench.start(), task(&problems), &whole, None, &mut recorder).unwrap();
    assert!(recorder.series("val/ratio_var").iter().any(|v| *v > 0.0), "the second minibatch is off policy");
    assert!(recorder.series("objective/kl3_avg").last().is_some_and(|kl| *kl > 0.0));
    let saving = Some(Saving { dir: &progress, every_steps: 2, every_seconds: 1e9 });
    let stopped = rlvr(&config, bench.start(), task(&problems), &parts, saving, &mut StopAfter(3, 0));
    assert!(matches!(stopped, Err(RlvrError::Stopped { step: 3, total: 6 })), "{stopped:?}");
    rlvr(&config, bench.start(), task(&problems), &parts, saving, &mut Silent).unwrap();
    let bytes = |dir: &PathBuf| fs_err::read(dir.join("model.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&parts));
}

#[test]
fn temperature_reaches_the_learner() {
    let bench = Bench::new();
    let problems = problems();
    let sampling = Sampling { temperature: 0.7, max_new_tokens: 2, ..Sampling::default() };
    let mut recorder = Recorder::default();
    let config = RlvrConfig { steps: 2, sampling, ..config() };
    rlvr(&config, bench.start(), task(&problems), &bench.dir("out"), None, &mut recorder).unwrap();
    let differences = recorder.series("val/logprob_diff");
    assert!(!differences.is_empty() && differences.iter().all(|diff| *diff < 1e-3), "{differences:?}");
}

#[test]
fn without_contrast_nothing_is_learnt() {
    struct Never;
    impl Reward for Never {
        fn score(&self, _problem: &Problem, _response: &str) -> Result<f64, RewardError> {
            Ok(0.0)
        }
    }
    let bench = Bench::new();
    let problems = problems();
    let out = bench.dir("out");
    let task = Task { problems: &problems, reward: &Never, watch: None };
    rlvr(&config(), bench.start(), task, &out, None, &mut Silent).unwrap();
    assert_eq!(crate::checkpoint::Checkpoint::read(&out).unwrap().weights, bench.checkpoint.weights);
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let bench = Bench::new();
    let problems = problems();
    let error = |config: RlvrConfig, problems: &[Problem]| {
        let task = Task { problems, reward: &crate::reward::ByVerifier, watch: None };
        rlvr(&config, bench.start(), task, &bench.dir("out"), None, &mut Silent).unwrap_err().to_string()
    };
    assert!(error(RlvrConfig { samples_per_prompt: 1, ..config() }, &problems).contains("samples_per_prompt"));
    assert!(error(RlvrConfig { sampling: Sampling::greedy(2), ..config() }, &problems).contains("temperature"));
    assert!(error(config(), &[]).contains("at least one problem"));
    let mut unknown = problems.clone();
    unknown[5].dataset = "numbr".to_string();
    let message = error(config(), &unknown);
    assert!(message.contains("numbr") && message.contains(&unknown[5].id), "{message}");
}

#[test]
fn every_epoch_visits_every_problem_in_another_order() {
    let problems = problems();
    let mut prompts = Prompts::new(&problems, 1);
    let ids = |prompts: &mut Prompts<'_>, epoch: u64| -> Vec<String> {
        (0..12).map(|i| prompts.at(12 * epoch + i).id.clone()).collect()
    };
    let (first, second) = (ids(&mut prompts, 0), ids(&mut prompts, 1));
    assert_ne!(first, second);
    assert_eq!(ids(&mut prompts, 0), first);
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(first), sorted(second));
}
