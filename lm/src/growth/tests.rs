//! Growth keeps the function, and the moments follow the gradients (spec: acceptance tests T1 to T8).

use burn::module::Module;

use super::verify::{grow_verified, logit_difference};
use super::*;
use crate::batch::{Batch, Tokens};
use crate::checkpoint::TrainingRecord;
use crate::config::{Attention, Experts, Family, FeedForward, Layer, NormKind, Sizes};
use crate::device;
use crate::init::{Role, parameter_shapes, role};
use crate::kernels::LossScale;
use crate::optim::Gradients;
use crate::random::Stream;
use crate::weights::{Array, NamedArrays};

fn small_config() -> ModelConfig {
    Family::Olmo2.model(&Sizes { n_layers: 2, hidden_size: 16, n_heads: 4, n_kv_heads: 2, intermediate_size: 24, vocab_size: 31 })
}

fn attention(config: &ModelConfig, f: impl Fn(Attention) -> Attention) -> ModelConfig {
    config.map_attention(f)
}

/// Every family with the small sizes, a tied head, and windows in the middle of shared key heads.
fn families() -> Vec<ModelConfig> {
    let sizes = Sizes { n_layers: 4, hidden_size: 16, n_heads: 4, n_kv_heads: 2, intermediate_size: 12, vocab_size: 31 };
    let few = |config: ModelConfig| {
        config.map_layers(|layer| match layer.feed_forward {
            FeedForward::Experts(e) => {
                Layer { feed_forward: FeedForward::Experts(Experts { n_experts: 4, top_k: 2, ..e }), ..layer }
            }
            FeedForward::SwiGlu { .. } => layer,
        })
    };
    let mut all: Vec<ModelConfig> = Family::ALL.iter().map(|family| few(family.model(&sizes))).collect();
    all.push(ModelConfig { tie_word_embeddings: true, ..small_config() });
    all.push(Family::Olmo3.model(&sizes).map_attention(|a| Attention { window: a.window.map(|_| 7), ..a }));
    all
}

/// A model with weights large enough that a wrong operator shows, and gains that differ from 1.
fn small() -> Checkpoint {
    filled(small_config())
}

fn filled(config: ModelConfig) -> Checkpoint {
    let weights = parameter_shapes(&config)
        .into_iter()
        .map(|(name, shape)| {
            let stream = Stream::new(5, &name);
            let gain = matches!(role(&name), Role::Gain | Role::FinalGain);
            let (centre, scale) = if gain { (1.0, 0.3) } else { (0.0, 0.3) };
            let n: usize = shape.iter().product();
            let data = (0..n as u64).map(|i| (centre + scale * stream.normal(i)) as f32).collect();
            (name, Array::new(shape, data))
        })
        .collect();
    Checkpoint::new(config, weights)
}

fn tokens() -> Tokens {
    let stream = Stream::new(9, "tokens");
    Tokens::new((0..48).map(|i| stream.below(i, 31) as u32).collect(), 24)
}

fn gradients(checkpoint: &Checkpoint) -> NamedArrays {
    let model = checkpoint.model(&device::cpu()).unwrap().train();
    let batch = Batch::next_token(tokens());
    let loss = model.loss(&batch, LossScale::new(1e-3, batch.n_targets() as f64));
    let flat = Gradients::of(&loss.tensor(), &model).host();
    let shapes = parameter_shapes(&checkpoint.config);
    shapes.into_iter().map(|(name, shape)| (name.clone(), Array::new(shape, flat[&name].clone()))).collect()
}

fn width(noise: f64) -> Growth {
    Growth::Width { factor: 2, noise, seed: 3, kv_heads: KvHeads::Grow, intermediate_size: None }
}

fn assert_same_function(operators: &[Growth]) {
    assert_same_function_of(&small(), operators);
}

fn assert_same_function_of(before: &Checkpoint, operators: &[Growth]) {
    let mut after = before.clone();
    for operator in operators {
        after = operator.apply(&after).unwrap();
    }
    let (difference, largest) = logit_difference(before, &after, &tokens()).unwrap();
    assert!(largest > 0.5, "the logits are large enough to tell");
    let family = before.config.family;
    assert!(difference <= 1e-4 * largest, "{family:?} {operators:?}: {difference} of {largest}");
}

fn heads(noise: f64, kv_heads: KvHeads) -> Growth {
    Growth::Heads { factor: 2, noise, seed: 3, kv_heads }
}

const UNITS: Growth = Growth::FeedForward { intermediate_size: 29, seed: 3 };

#[test]
fn every_operator_keeps_the_logits_of_every_family() {
    for config in families() {
        let before = filled(config);
        let tied_without_gain = before.config.tie_word_embeddings && before.config.norm == NormKind::Layer;
        assert!(!tied_without_gain);
        let wider = Growth::Width { factor: 2, noise: 0.1, seed: 1, kv_heads: KvHeads::Grow, intermediate_size: Some(55) };
        for operator in [width(0.0), width(0.2), wider, heads(0.1, KvHeads::Grow), heads(0.1, KvHeads::Keep), UNITS] {
            assert_same_function_of(&before, &[operator]);
        }
        for placement in [Placement::Append, Placement::Interleave] {
            let depth = Growth::Depth { factor: 2, placement, new_blocks: NewBlocks::Identity };
            assert_same_function_of(&before, &[depth.clone(), width(0.1)]);
            let grown = depth.apply(&before).unwrap();
            for (index, (old, _)) in depth::blocks(&depth, before.config.n_layers()).into_iter().enumerate() {
                assert_eq!(grown.config.layers[index], before.config.layers[old], "blocks keep their type");
            }
        }
    }
}

/// T2 for every operator and family: the grown moments are the gradient of the grown model and its square.
#[test]
fn moments_of_every_family_are_the_grown_gradients() {
    for config in families() {
        let mut before = filled(config);
        let gradient = gradients(&before);
        let squares = gradient.iter().map(|(name, g)| (name.clone(), g.map(|x| x * x))).collect();
        let optimizer = OptimizerState { step: 1, first: gradient, second: squares };
        before.training = Some(TrainingState { record: TrainingRecord::default(), optimizer });
        for growth in [width(0.0), heads(0.0, KvHeads::Grow), heads(0.0, KvHeads::Keep)] {
            let after = growth.apply(&before).unwrap();
            let state = &after.training.as_ref().unwrap().optimizer;
            for (name, gradient) in gradients(&after) {
                let size = gradient.data.iter().fold(1e-6_f32, |max, x| max.max(x.abs()));
                for (i, g) in gradient.data.iter().enumerate() {
                    let (m, v) = (state.first[&name].data[i], state.second[&name].data[i]);
                    let what = format!("{:?} {growth:?} {name}[{i}]", before.config.family);
                    assert!((m - g).abs() <= 1e-3 * size, "{what}: {m} {g}");
                    assert!((v - g * g).abs() <= 2e-3 * size * size, "{what}: {v} {}", g * g);
                }
            }
        }
    }
}

/// T4 for norms on inputs: existing gradients are the same bits, a new block's output matrices wake first.
#[test]
fn depth_of_every_family_leaves_existing_gradients_alone() {
    for config in families() {
        let before = filled(config);
        let (old, new) = (gradients(&before), gradients(&Growth::double_depth().apply(&before).unwrap()));
        for (name, gradient) in &old {
            assert_eq!(gradient, &new[name], "{:?} {name}", before.config.family);
        }
        let awake = new.iter().filter(|(name, g)| !old.contains_key(*name) && g.data.iter().any(|x| *x != 0.0));
        for (name, _) in awake.clone() {
            let opens = ["layernorm", "o_proj", "down_proj"].iter().any(|part| name.contains(part));
            assert!(opens, "{:?} {name}", before.config.family);
        }
        assert!(awake.count() >= 2 * before.config.n_layers());
    }
}

#[test]
fn width_keeps_the_logits() {
    for noise in [0.0, 0.1, 0.3] {
        assert_same_function(&[width(noise)]);
    }
    assert_same_function(&[Growth::Width { factor: 3, noise: 0.1, seed: 1, kv_heads: KvHeads::Grow, intermediate_size: None }]);
    assert_same_function(&[Growth::Width { factor: 2, noise: 0.1, seed: 1, kv_heads: KvHeads::Keep, intermediate_size: None }]);
    assert_same_function(&[Growth::Width {
        factor: 2,
        noise: 0.1,
        seed: 1,
        kv_heads: KvHeads::Grow,
        intermediate_size: Some(56),
    }]);
}

#[test]
fn depth_keeps_the_logits_and_orders_commute() {
    for placement in [Placement::Append, Placement::Interleave] {
        let depth = Growth::Depth { factor: 2, placement, new_blocks: NewBlocks::Identity };
        assert_same_function(std::slice::from_ref(&depth));
        assert_same_function(&[depth.clone(), width(0.1)]);
        let (one, other) = (width(0.0), depth);
        let first = other.apply(&one.apply(&small()).unwrap()).unwrap();
        let second = one.apply(&other.apply(&small()).unwrap()).unwrap();
        assert_eq!(first, second);
    }
}

#[test]
fn stacking_changes_the_function_and_says_so() {
    let stack = Growth::Depth { factor: 2, placement: Placement::Append, new_blocks: NewBlocks::Copy };
    assert!(!stack.preserves_function());
    let grown = stack.apply(&small()).unwrap();
    let (difference, largest) = logit_difference(&small(), &grown, &tokens()).unwrap();
    assert!(difference > 1e-2 * largest);
    assert!(grow_verified(&small(), &[stack]).is_ok());
}

#[test]
fn a_broken_operator_would_be_caught() {
    let before = small();
    let mut after = width(0.1).apply(&before).unwrap();
    after.weights.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().data[0] += 0.5;
    let (difference, largest) = logit_difference(&before, &after, &tokens()).unwrap();
    assert!(difference > verify::TOLERANCE * largest);
}

/// T2: with moments equal to the gradient and its square, the grown moments are those of the grown model's gradient.
#[test]
fn width_moments_are_the_grown_gradients() {
    let mut before = small();
    let gradient = gradients(&before);
    let squares = gradient.iter().map(|(name, g)| (name.clone(), g.map(|x| x * x))).collect();
    let optimizer = OptimizerState { step: 1, first: gradient, second: squares };
    before.training = Some(TrainingState { record: TrainingRecord::default(), optimizer });
    for growth in [width(0.0), Growth::Width { factor: 2, noise: 0.0, seed: 1, kv_heads: KvHeads::Keep, intermediate_size: None }]
    {
        let after = growth.apply(&before).unwrap();
        let state = &after.training.as_ref().unwrap().optimizer;
        for (name, gradient) in gradients(&after) {
            let size = gradient.data.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
            assert!(size > 0.0, "{name}");
            for (i, g) in gradient.data.iter().enumerate() {
                assert!((state.first[&name].data[i] - g).abs() <= 1e-4 * size, "{growth:?} {name}[{i}]");
                assert!((state.second[&name].data[i] - g * g).abs() <= 2e-4 * size * size, "{growth:?} {name}[{i}]");
            }
        }
    }
}

/// T2 with noise: the loss is flat along the noise, so blocks that share it have equal gradients.
#[test]
fn width_gradients_are_flat_along_the_noise() {
    let before = small();
    let small_gradient = gradients(&before);
    let after = gradients(&width(0.1).apply(&before).unwrap());
    let name = "model.layers.0.self_attn.q_proj.weight";
    let (g, big) = (&small_gradient[name], &after[name]);
    let (rows, columns) = (g.shape[0], g.shape[1]);
    let at = |a: usize, b: usize, o: usize, i: usize| big.data[(a * rows + o) * 2 * columns + b * columns + i];
    let size = g.data.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for o in 0..rows {
        for i in 0..columns {
            assert!((at(0, 0, o, i) - at(0, 1, o, i)).abs() <= 1e-4 * size);
            assert!((at(0, 0, o, i) + at(1, 1, o, i) - g.data[o * columns + i]).abs() <= 1e-4 * size);
        }
    }
}

/// T4: existing gradients are the same bits, new blocks get gradients in their output gains only.
#[test]
fn depth_leaves_existing_gradients_alone() {
    let before = small();
    let depth = Growth::double_depth();
    let (old, new) = (gradients(&before), gradients(&depth.apply(&before).unwrap()));
    for (name, gradient) in &old {
        assert_eq!(gradient, &new[name], "{name}");
    }
    for (name, gradient) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        let zero = gradient.data.iter().all(|x| *x == 0.0);
        let gain = name.contains("post_attention_layernorm") || name.contains("post_feedforward_layernorm");
        assert_eq!(zero, !gain, "{name}");
    }
}

/// T6: with noise the copies differ at once, without it they do not.
#[test]
fn noise_breaks_the_symmetry() {
    let differ = |noise| {
        let grown = width(noise).apply(&small()).unwrap();
        let w = &grown.weights["lm_head.weight"];
        (0..31).any(|row| (0..16).any(|i| w.data[row * 32 + i] != w.data[row * 32 + 16 + i]))
    };
    assert!(differ(0.1) && !differ(0.0));
    assert_eq!(width(0.1).apply(&small()).unwrap(), width(0.1).apply(&small()).unwrap());
}

/// T5 and T8: counters stay, history is kept, impossible requests are refused with a reason.
#[test]
fn history_is_kept_and_impossible_growth_refused() {
    let mut before = small();
    let record = TrainingRecord { step: 70, tokens: 7000, ..TrainingRecord::default() };
    before.training = Some(TrainingState { record, optimizer: OptimizerState { step: 70, ..Default::default() } });
    let training = width(0.1).apply(&before).unwrap().training.unwrap();
    assert_eq!((training.record.step, training.record.tokens, training.optimizer.step), (70, 7000, 70));
    assert_eq!(training.record.growth, [GrowthRecord { growth: width(0.1), step: 70, tokens: 7000 }]);

    let from = small_config();
    let refused = |to: ModelConfig| Growth::between(&from, &to, 0.1, 0).unwrap_err().to_string();
    assert!(refused(attention(&from, |a| Attention { head_dim: 8, ..a })).contains("head_dim"));
    assert!(refused(ModelConfig { hidden_size: 40, ..from.clone() }).contains("hidden_size = 40"));
    assert!(refused(ModelConfig { hidden_size: 32, ..from.clone() }).contains("n_heads"));
    assert!(refused(ModelConfig { vocab_size: 64, ..from.clone() }).contains("vocab_size"));
    assert!(refused(ModelConfig { layers: vec![from.layers[0]; 3], ..from.clone() }).contains("n_layers"));
    let one = Growth::Depth { factor: 1, placement: Placement::Append, new_blocks: NewBlocks::Identity };
    assert!(one.apply(&small()).is_err());
    let narrow = Growth::Width { factor: 2, noise: 0.0, seed: 0, kv_heads: KvHeads::Grow, intermediate_size: Some(40) };
    assert!(narrow.apply(&small()).unwrap_err().to_string().contains("40"));

    assert!(refused(attention(&from, |a| Attention { window: Some(5), ..a })).contains("window"));
    assert!(refused(ModelConfig { tie_word_embeddings: true, ..from.clone() }).contains("tied"));
    let tied = ModelConfig {
        tie_word_embeddings: true,
        ..Family::Olmo.model(&Sizes {
            n_layers: 1,
            hidden_size: 16,
            n_heads: 2,
            n_kv_heads: 2,
            intermediate_size: 8,
            vocab_size: 31,
        })
    };
    assert!(width(0.1).config(&tied).unwrap_err().to_string().contains("tied"));
    let to = attention(&from, |a| Attention { n_heads: 8, ..a })
        .map_layers(|layer| Layer { feed_forward: FeedForward::SwiGlu { intermediate_size: 40 }, ..layer });
    let operators = Growth::between(&from, &to, 0.1, 0).unwrap();
    assert_eq!(operators.len(), 2, "{operators:?}");
    assert_eq!(grow_verified(&small(), &operators).unwrap().config, to);
    let to = Family::Olmo2.model(&Sizes {
        n_layers: 4,
        hidden_size: 32,
        n_heads: 8,
        n_kv_heads: 4,
        intermediate_size: 64,
        vocab_size: 31,
    });
    let operators = Growth::between(&from, &to, 0.1, 0).unwrap();
    let grown = grow_verified(&small(), &operators).unwrap();
    assert_eq!(grown.config, to);
}
