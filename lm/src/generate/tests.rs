//! Tests of sampling on a tiny model over single bytes.

use std::ops::ControlFlow;

use super::*;
use crate::batch::{Batch, IGNORED, Tokens};
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
