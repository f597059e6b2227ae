//! Tests of sampling on a tiny model over single bytes.

use std::ops::ControlFlow;

use super::*;
use crate::batch::{Batch, IGNORED, Tokens};
use crate::config::ModelConfig;
use crate::device;
use crate::model::parameters::host;
use crate::sft::tests::Bench;

fn prompts() -> Vec<Vec<u32>> {
    vec![vec![0, 70, 71, 72], vec![0, 90], (40..80).collect()]
}

fn model() -> Model {
    let bench = Bench::new();
    bench.checkpoint.model(&bench.device).unwrap()
}

#[test]
fn greedy_follows_the_full_forward_pass() {
    let model = model();
    for (prompt, samples) in prompts().iter().zip(generate(&model, &prompts(), 1, &Sampling::greedy(6), 0, 1)) {
        let mut ids = prompt.clone();
        for &id in &samples[0].ids {
            let logits = host(model.logits(&Tokens::new(ids.clone(), ids.len())));
            let last = &logits[logits.len() - 258..];
            let best = (0..258).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap();
            assert_eq!(id, best as u32);
            ids.push(id);
        }
    }
}

#[test]
fn log_probabilities_are_the_models_at_the_temperature() {
    let model = model();
    let samples = generate(&model, &prompts(), 2, &Sampling { max_new_tokens: 5, ..Sampling::default() }, 0, 7);
    for (prompt, samples) in prompts().iter().zip(&samples) {
        for sample in samples {
            let mut ids = prompt.clone();
            ids.extend(&sample.ids);
            let n = ids.len() - 1;
            let targets = (0..n).map(|i| if i + 1 >= prompt.len() { ids[i + 1] } else { IGNORED }).collect();
            let batch = Batch::new(Tokens::new(ids[..n].to_vec(), n), targets);
            let wanted = host(model.token_log_probs(&batch));
            for (got, wanted) in sample.logprobs.iter().zip(&wanted[prompt.len() - 1..]) {
                assert!((got - f64::from(*wanted)).abs() < 1e-3, "{got} {wanted}");
            }
        }
    }
}

#[test]
fn a_sample_does_not_depend_on_the_others() {
    let model = model();
    let sampling = Sampling { max_new_tokens: 8, ..Sampling::default() };
    let all = generate(&model, &prompts(), 3, &sampling, 0, 7);
    assert_eq!(all, generate(&model, &prompts(), 3, &sampling, 0, 7));
    let fewer = generate(&model, &prompts()[..1], 2, &sampling, 0, 7);
    assert_eq!(fewer[0][1].ids, all[0][1].ids);
    assert_ne!(all[0][0].ids, all[0][1].ids);
    assert_ne!(all, generate(&model, &prompts(), 3, &sampling, 0, 8));
    assert!(generate(&model, &prompts(), 0, &sampling, 0, 7).iter().all(Vec::is_empty));
}

#[test]
fn any_end_token_ends_a_sample() {
    let model = model();
    let long = &generate(&model, &prompts()[..1], 1, &Sampling::greedy(9), 0, 1)[0][0];
    let last = long.ids[2];
    let at = long.ids.iter().position(|id| *id == last).unwrap();
    let config = ModelConfig { further_eos_token_ids: vec![511, last], ..model.config().clone() };
    let model = Model::from_weights(&config, model.weights(), &device::cpu()).unwrap();
    let short = &generate(&model, &prompts()[..1], 1, &Sampling::greedy(9), 0, 1)[0][0];
    assert_eq!((short.ids.as_slice(), short.stopped), (&long.ids[..=at], true));
    assert_eq!(short.text_ids(), &long.ids[..at]);
    let mut dialogue = Dialogue::new(&model, 0, 1);
    let answer = dialogue.answer(&prompts()[0], &Sampling::greedy(9), |_| ControlFlow::Continue(()));
    assert_eq!(answer.ids, short.ids);
}

#[test]
fn eos_ends_a_sample() {
    let model = model();
    // Whatever comes first greedily is declared to be EOS.
    let first = generate(&model, &prompts()[..1], 1, &Sampling::greedy(1), 0, 1)[0][0].ids[0];
    let sample = &generate(&model, &prompts()[..1], 1, &Sampling::greedy(9), first, 1)[0][0];
    assert!(sample.stopped && sample.ids == [first] && sample.text_ids().is_empty());
}

#[test]
fn a_dialogue_keeps_its_cache_between_turns() {
    let model = model();
    let mut dialogue = Dialogue::new(&model, 0, 3);
    assert!(dialogue.is_empty());
    let mut streamed = Vec::new();
    let first = dialogue.answer(&prompts()[0], &Sampling::greedy(5), |drawn| {
        streamed.push(drawn.id);
        ControlFlow::Continue(())
    });
    assert_eq!(streamed, first.text_ids());
    assert_eq!(first.ids, generate(&model, &prompts()[..1], 1, &Sampling::greedy(5), 0, 1)[0][0].ids);
    let second = dialogue.answer(&[99, 98], &Sampling::greedy(4), |_| ControlFlow::Break(()));
    assert_eq!(second.ids.len(), 1);
    let mut whole = prompts()[0].clone();
    whole.extend(&first.ids);
    whole.extend([99, 98]);
    assert_eq!(second.ids, generate(&model, &[whole], 1, &Sampling::greedy(1), 0, 1)[0][0].ids);
}

#[test]
fn samples_do_not_depend_on_who_is_in_flight() {
    let model = model();
    let decoder = Decoder::new(&model);
    let sampling = Sampling { max_new_tokens: 12, ..Sampling::default() };
    // Several stop ids, so that samples end at different times and others take their places.
    let ids: Vec<u32> = (0..60).collect();
    let stop = Stop { ids: &ids, ..Stop::default() };
    let prompts: Vec<Vec<u32>> = (0..9).map(|i| (60 + i..75 + 5 * i).collect()).collect();
    let request = Request { prompts: &prompts, n_samples: 5, sampling: &sampling, stop, seed: 4 };
    let all = batch::run(&decoder, &request, 1000);
    let lengths: std::collections::BTreeSet<usize> = all.iter().flatten().map(|sample| sample.ids.len()).collect();
    assert!(lengths.len() > 3, "the samples have different lengths: {lengths:?}");
    for max_rows in [1, 2, 7, 16] {
        assert_eq!(batch::run(&decoder, &request, max_rows), all, "{max_rows} at a time");
    }
    for sample in all.iter().flatten() {
        assert_eq!(sample.stopped, ids.contains(sample.ids.last().unwrap()));
        assert!(sample.stopped || sample.ids.len() == 12);
        assert!(sample.text_ids().iter().all(|id| !ids.contains(id)));
    }
    let other = batch::run(&decoder, &Request { seed: 5, ..request }, 16);
    assert_ne!(other, all);
}

#[test]
fn runs_of_tokens_and_texts_end_a_sample() {
    struct Length(usize);
    impl StopText for Length {
        fn stops(&self, ids: &[u32]) -> bool {
            ids.len() >= self.0
        }
    }
    let decoder = Decoder::new(&model());
    let prompts = &prompts()[..1];
    let sampling = Sampling::greedy(8);
    let request = Request { prompts, n_samples: 1, sampling: &sampling, stop: Stop::default(), seed: 0 };
    let free = sample(&decoder, &request)[0][0].clone();
    assert!(!free.stopped && free.ids.len() == 8 && free.text_ids().len() == 8);
    let sequences = [free.ids[2..5].to_vec()];
    let by_ids = Request { stop: Stop { sequences: &sequences, ..Stop::default() }, ..request };
    let ended = sample(&decoder, &by_ids)[0][0].clone();
    assert!(ended.stopped && ended.ids.ends_with(&sequences[0]) && ended.text_ids() == ended.ids);
    let by_text = Request { stop: Stop { text: Some(&Length(3)), ..Stop::default() }, ..request };
    let ended = sample(&decoder, &by_text)[0][0].clone();
    assert!(ended.stopped && ended.ids == free.ids[..3] && ended.logprobs == free.logprobs[..3]);
}

#[test]
fn old_settings_without_new_fields_are_read() {
    let sampling: Sampling = serde_json::from_str(r#"{"temperature": 0.5, "max_new_tokens": 3}"#).unwrap();
    assert_eq!(sampling, Sampling { temperature: 0.5, max_new_tokens: 3, ..Sampling::default() });
}
