//! Merging and opting out against models that were built that way.

use super::*;
use crate::config::Sizes;
use crate::device;
use crate::init::initial_weights;

fn public() -> Checkpoint {
    let sizes = Sizes { n_layers: 2, hidden_size: 16, n_heads: 2, n_kv_heads: 2, intermediate_size: 24, vocab_size: 40 };
    let config = Family::Olmo2.model(&sizes);
    let mut weights = initial_weights(&config, 3);
    // Large enough that experts matter.
    weights.values_mut().filter(|w| w.shape.len() == 2).for_each(|w| w.data.iter_mut().for_each(|x| *x *= 10.0));
    Checkpoint::new(config, weights)
}

/// An owner's model whose expert and router row have moved.
fn owner(seed: u64) -> Checkpoint {
    let mut own = with_own_expert(&public(), &RouterRow::Random(0), &RouterRow::Random(seed)).unwrap();
    for (name, array) in own.weights.iter_mut().filter(|(name, _)| is_expert_part(name)) {
        let half = array.len() / 2;
        let stream = Stream::new(seed, name);
        array.data[half..].iter_mut().enumerate().for_each(|(i, x)| *x += 0.1 * stream.normal(i as u64) as f32);
    }
    own
}

fn logits(checkpoint: &Checkpoint) -> Vec<f32> {
    let ids = (0..24).map(|i| i * 7 % 40).collect();
    host(checkpoint.model(&device::cpu()).unwrap().logits(&Tokens::new(ids, 12)))
}

#[test]
fn two_copies_weighted_by_a_softmax_are_the_public_model() {
    let mixture = with_own_expert(&public(), &RouterRow::Random(0), &RouterRow::Random(1)).unwrap();
    assert_eq!(mixture.config.family, Family::FlexOlmo);
    for (a, b) in logits(&mixture).iter().zip(logits(&public())) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    let values = RouterRow::Random(1).values(0, 500);
    assert!(values.iter().all(|x| (-0.006..=0.0).contains(x)) && values.iter().any(|x| *x < -0.004));
}

#[test]
fn leaving_an_expert_out_is_never_having_merged_it() {
    let (a, b) = (owner(1), owner(2));
    let both = merge(&[a.clone(), b.clone()], 2).unwrap();
    assert_eq!(experts_of(&both.config.layers[0]).unwrap().n_experts, 3);
    assert_ne!(logits(&both), logits(&a));
    assert_eq!(without(&both, 2).unwrap().weights, a.weights);
    assert_eq!(logits(&without(&both, 1).unwrap()), logits(&merge(&[b], 2).unwrap()));
    assert!(without(&both, 3).unwrap_err().to_string().contains('3'));
    assert!(without(&public(), 0).is_err());
}

#[test]
fn what_was_not_frozen_is_named() {
    let (a, mut b) = (owner(1), owner(2));
    b.weights.get_mut("model.layers.1.self_attn.o_proj.weight").unwrap().data[3] += 1e-6;
    let error = merge(&[a.clone(), b], 2).unwrap_err().to_string();
    assert!(error.contains("model.layers.1.self_attn.o_proj.weight") && error.contains("model 2"), "{error}");
    let mut b = owner(2);
    b.weights.get_mut("model.layers.0.mlp.gate.weight").unwrap().data[0] += 1e-3;
    assert!(merge(&[a, b], 2).unwrap_err().to_string().contains("mlp.gate"));
}

#[test]
fn embeddings_are_of_length_one_and_tell_domains_apart() {
    let public = public();
    let device = device::cpu();
    let one = embed(&public, &[vec![1, 2, 3, 4], vec![2, 3, 1]], &device).unwrap();
    let other = embed(&public, &[vec![30, 31, 35]], &device).unwrap();
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    assert!((product(&one, &one) - 1.0).abs() < 1e-5 && product(&one, &other) < 0.99);
    assert!(embed(&public, &[], &device).is_err());
}
