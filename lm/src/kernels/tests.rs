//! The fused operations against their plain twins: values, gradients, and independence of the number of threads.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::*;
use crate::batch::IGNORED;
use crate::config::{Experts, GatedDelta, Rope};
use crate::device;
use crate::model::parameters::host;
use crate::random::Stream;

/// A leaf tensor of normal numbers times `scale` around `centre`.
fn leaf<const D: usize>(shape: [usize; D], label: &str, centre: f32, scale: f32) -> Tensor<D> {
    let stream = Stream::new(11, label);
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n as u64).map(|i| centre + scale * stream.normal(i) as f32).collect();
    Tensor::<D>::from_data(TensorData::new(data, shape), &device::cpu().autodiff()).require_grad()
}

fn assert_within(tolerance: f32, what: &str, fused: &[f32], plain: &[f32]) {
    assert_eq!(fused.len(), plain.len(), "{what}");
    let size = plain.iter().fold(1e-3_f32, |max, x| max.max(x.abs()));
    for (i, (a, b)) in fused.iter().zip(plain).enumerate() {
        assert!((a - b).abs() <= tolerance * size, "{what}[{i}]: fused {a}, plain {b}");
    }
}

fn assert_close(what: &str, fused: &[f32], plain: &[f32]) {
    assert_within(2e-5, what, fused, plain);
}

/// The value of `y` and the gradients of all leaves.
fn outcome(y: Tensor<1>, matrices: &[Tensor<2>], vectors: &[Tensor<1>]) -> Vec<Vec<f32>> {
    let n = y.dims()[0];
    // A weighted sum, so that every output has its own upstream gradient.
    let weights: Vec<f32> = (0..n).map(|i| 0.5 + (i % 7) as f32 * 0.25).collect();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), &y.device());
    let grads = y.clone().mul(weights).sum().backward();
    let mut all = vec![host(y)];
    all.extend(matrices.iter().map(|leaf| host(leaf.grad(&grads).unwrap())));
    all.extend(vectors.iter().map(|leaf| host(leaf.grad(&grads).unwrap())));
    all
}

/// Runs `f` with all kernels on the same leaves and compares its value and the gradients of all leaves; the bits of the
/// bf16 kernels must not depend on the number of threads.
fn compare(matrices: &[Tensor<2>], vectors: &[Tensor<1>], f: impl Fn(Kernels, &[Tensor<2>], &[Tensor<1>]) -> Tensor<1> + Sync) {
    let run = |kernels| outcome(f(kernels, matrices, vectors), matrices, vectors);
    let (fused, plain) = (run(Kernels::Fused), run(Kernels::Plain));
    for (i, (fused, plain)) in fused.iter().zip(&plain).enumerate() {
        assert_close(&format!("output or gradient {i}"), fused, plain);
    }
    let in_pool = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(Kernels::FusedBf16))
    };
    let bf16 = in_pool(1);
    assert_eq!(bf16, in_pool(3));
    for (i, (bf16, plain)) in bf16.iter().zip(&plain).enumerate() {
        // bf16 has eight bits: a relative error of 2^-9 per input, several roundings in a row.
        assert_within(3e-2, &format!("bf16 output or gradient {i}"), bf16, plain);
    }
}

#[test]
fn bf16_products_are_those_of_rounded_inputs() {
    let (x, w) = (leaf([140, 50], "x", 0.0, 1.0), leaf([70, 50], "w", 0.0, 0.5));
    let rounded = |tensor: &Tensor<2>| {
        let values = host(tensor.clone()).into_iter().map(|x| half::bf16::from_f32(x).to_f32()).collect::<Vec<f32>>();
        Tensor::<2>::from_data(TensorData::new(values, tensor.dims()), &tensor.device())
    };
    let wanted = host(Kernels::Fused.linear(rounded(&x), rounded(&w)));
    assert_close("product", &host(Kernels::FusedBf16.linear(x, w)), &wanted);
}

fn flat(x: Tensor<2>) -> Tensor<1> {
    crate::model::parameters::flat(x)
}

#[test]
fn embedding_agrees() {
    let ids: Arc<[u32]> = vec![3, 0, 3, 6].into();
    compare(&[leaf([7, 5], "w", 0.0, 1.0)], &[], |kernels, m, _| flat(kernels.embedding(m[0].clone(), &ids, Precision::F32)));
}

#[test]
fn norms_agree() {
    let x = leaf([150, 24], "x", 0.2, 1.0);
    let residual = leaf([150, 24], "residual", 0.0, 1.0);
    let gain = leaf([24], "gain", 1.0, 0.3);
    compare(std::slice::from_ref(&x), std::slice::from_ref(&gain), |kernels, m, v| {
        flat(kernels.rms_norm(m[0].clone(), v[0].clone(), 1e-6))
    });
    compare(&[residual, x], &[gain], |kernels, m, v| flat(kernels.add_rms_norm(m[0].clone(), m[1].clone(), v[0].clone(), 1e-6)));
}

#[test]
fn layer_norm_agrees() {
    compare(&[leaf([150, 24], "x", 0.2, 1.0)], &[], |kernels, m, _| flat(kernels.layer_norm(m[0].clone(), 1e-5)));
}

#[test]
fn gated_delta_layers_agree() {
    // Chunks of 64 with a rest, documents that begin inside and between chunks, shared key heads.
    let documents: Vec<u32> =
        (0..2 * 150).map(|i| [0, 20, 64, 101][[20, 64, 101, 150].iter().position(|end| i % 150 < *end).unwrap()]).collect();
    for (visible_from, n_key_heads, allow_negative_eigenvalues) in [(None, 4, true), (Some(documents), 2, false)] {
        let delta = GatedDelta {
            n_key_heads,
            n_value_heads: 4,
            key_head_dim: 6,
            value_head_dim: 10,
            conv_size: 4,
            allow_negative_eigenvalues,
        };
        let shape = DeltaShape { n_sequences: 2, length: 150, delta, eps: 1e-5, visible_from: visible_from.map(Into::into) };
        let matrices = [
            leaf([300, delta.key_width()], "q", 0.0, 1.0),
            leaf([300, delta.key_width()], "k", 0.0, 1.0),
            leaf([300, 40], "v", 0.0, 1.0),
            leaf([300, 4], "a", -1.0, 1.0),
            leaf([300, 4], "b", 0.0, 1.0),
            leaf([300, 40], "gate", 0.0, 1.0),
            leaf([delta.conv_width(), 4], "conv", 0.0, 0.5),
        ];
        let vectors = [leaf([4], "a_log", 0.0, 0.5), leaf([4], "dt_bias", 0.0, 0.5), leaf([10], "o_norm", 1.0, 0.3)];
        compare(&matrices, &vectors, |kernels, m, v| {
            let [q, k, value, a, b, gate] = [0, 1, 2, 3, 4, 5].map(|i| m[i].clone());
            let weights = DeltaWeights {
                conv: m[6].clone().reshape([delta.conv_width(), 1, 4]),
                a_log: v[0].clone(),
                dt_bias: v[1].clone(),
                o_norm: v[2].clone(),
            };
            flat(kernels.gated_delta(DeltaProjections { q, k, v: value, a, b, gate }, weights, &shape))
        });
    }
}

#[test]
fn mixtures_of_experts_agree() {
    for (n_experts, top_k, normalize) in [(2, 2, false), (6, 2, false), (6, 3, true)] {
        let experts = Experts { n_experts, top_k, normalize, intermediate_size: 14 };
        let matrices = [
            leaf([200, 10], "x", 0.0, 1.0),
            leaf([n_experts, 10], "router", 0.0, 1.0),
            leaf([n_experts, 14 * 10], "gate", 0.0, 0.5),
            leaf([n_experts, 14 * 10], "up", 0.0, 0.5),
            leaf([n_experts, 10 * 14], "down", 0.0, 0.5),
        ];
        compare(&matrices, &[], |kernels, m, _| {
            let probabilities = burn::tensor::activation::softmax(kernels.linear(m[0].clone(), m[1].clone()), 1);
            let weights = ExpertTensors {
                gate: m[2].clone().reshape([n_experts, 14, 10]),
                up: m[3].clone().reshape([n_experts, 14, 10]),
                down: m[4].clone().reshape([n_experts, 10, 14]),
            };
            flat(kernels.experts(m[0].clone(), probabilities, weights, experts))
        });
    }
}

#[test]
fn linear_and_feed_forward_agree() {
    let x = leaf([140, 12], "x", 0.0, 1.0);
    let (gate, up) = (leaf([20, 12], "gate", 0.0, 0.5), leaf([20, 12], "up", 0.0, 0.5));
    let down = leaf([12, 20], "down", 0.0, 0.5);
    compare(&[x.clone(), gate.clone()], &[], |kernels, m, _| flat(kernels.linear(m[0].clone(), m[1].clone())));
    compare(&[x, gate, up, down], &[], |kernels, m, _| {
        flat(kernels.feed_forward(m[0].clone(), m[1].clone(), m[2].clone(), m[3].clone()))
    });
}

fn attention_case(visible_from: Option<Arc<[u32]>>, n_kv_heads: usize) {
    for (clip, window, rope, qk_norm) in [
        (None, None, true, true),
        (None, Some(9), true, true),
        (Some(0.8), None, false, false),
        (Some(0.8), Some(64), true, true),
    ] {
        attention_variant(visible_from.clone(), n_kv_heads, clip, window, rope, qk_norm);
    }
}

fn attention_variant(
    visible_from: Option<Arc<[u32]>>,
    n_kv_heads: usize,
    clip: Option<f32>,
    window: Option<usize>,
    rope: bool,
    qk_norm: bool,
) {
    // 70 positions make two blocks of query rows.
    let (n_sequences, length, n_heads, head_dim, d) = (2, 70, 4, 6, 10);
    let shape = AttentionShape {
        n_sequences,
        length,
        n_heads,
        n_kv_heads,
        head_dim,
        eps: 1e-6,
        precision: Precision::F32,
        clip,
        window,
        rope: rope.then(|| RopeTable::new(0, length, head_dim, &Rope { theta: 10_000.0, scaling: None })),
        visible_from,
    };
    let (q, kv) = (n_heads * head_dim, n_kv_heads * head_dim);
    let matrices = [
        leaf([n_sequences * length, d], "x", 0.0, 1.0),
        leaf([q, d], "q", 0.0, 0.5),
        leaf([kv, d], "k", 0.0, 0.5),
        leaf([kv, d], "v", 0.0, 0.5),
        leaf([d, q], "o", 0.0, 0.5),
    ];
    let vectors = [leaf([q], "q_norm", 1.0, 0.3), leaf([kv], "k_norm", 1.0, 0.3)];
    let vectors = if qk_norm { vectors.to_vec() } else { Vec::new() };
    compare(&matrices, &vectors, |kernels, m, v| {
        let weights = AttentionWeights {
            q: m[1].clone(),
            k: m[2].clone(),
            v: m[3].clone(),
            o: m[4].clone(),
            norms: qk_norm.then(|| [v[0].clone(), v[1].clone()]),
        };
        flat(kernels.attention(m[0].clone(), weights, &shape))
    });
}

#[test]
fn causal_attention_agrees() {
    attention_case(None, 4);
}

#[test]
fn grouped_query_attention_agrees() {
    attention_case(None, 2);
}

#[test]
fn attention_within_documents_agrees() {
    let visible: Vec<u32> = (0..140).map(|i| if i % 70 < 33 { 0 } else { 33 }).collect();
    attention_case(Some(visible.into()), 2);
}

#[test]
fn router_losses_agree() {
    let matrices = [leaf([300, 6], "logits", 0.0, 1.0)];
    let run = |kernels: Kernels, logits: Tensor<2>| {
        let probabilities = burn::tensor::activation::softmax(logits.clone(), 1);
        kernels.router_losses(logits, probabilities, 2)
    };
    let read = |kernels: Kernels| host(run(kernels, matrices[0].clone()));
    let fused = read(Kernels::Fused);
    assert_eq!(fused[2..].iter().sum::<f32>(), 600.0);
    assert_close("router losses", &fused, &read(Kernels::Plain));
    compare(&matrices, &[], |kernels, m, _| {
        let losses = run(kernels, m[0].clone());
        losses.clone().narrow(0, 0, 1).mul_scalar(40.0).add(losses.narrow(0, 1, 1))
    });
}

fn targets() -> Arc<[u32]> {
    (0..90).map(|i| if i % 11 == 3 { IGNORED } else { (i * 7) % 50 }).collect::<Vec<_>>().into()
}

#[test]
fn cross_entropy_agrees() {
    let matrices = [leaf([90, 8], "hidden", 0.0, 1.0), leaf([50, 8], "head", 0.0, 1.0)];
    for z_loss in [0.0, 0.1] {
        let scale = LossScale::new(z_loss, 82.0);
        compare(&matrices, &[], |kernels, m, _| {
            kernels.cross_entropy(m[0].clone(), m[1].clone(), &targets(), scale).narrow(0, 0, 1)
        });
        let read = |kernels: Kernels| host(kernels.cross_entropy(matrices[0].clone(), matrices[1].clone(), &targets(), scale));
        assert_close("sums", &read(Kernels::Fused), &read(Kernels::Plain));
    }
}

#[test]
fn token_log_probs_agree() {
    let matrices = [leaf([90, 8], "hidden", 0.0, 1.0), leaf([50, 8], "head", 0.0, 1.0)];
    compare(&matrices, &[], |kernels, m, _| kernels.token_log_probs(m[0].clone(), m[1].clone(), &targets()));
}

#[test]
fn adamw_agrees_and_counts_steps() {
    let scale = UpdateScale {
        lr: 1e-2,
        keep: 0.999,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        first_correction: 1.0 / (1.0 - 0.81),
        second_correction: 1.0 / (1.0 - 0.9025),
        gradient: 0.7,
    };
    let value = |label: &str| leaf([1000], label, 0.0, 1.0).without_autodiff();
    let run = |kernels: Kernels| {
        let second = value("second").abs();
        let (value, [first, second]) = kernels.adamw(value("p"), value("g"), [value("first"), second], scale);
        [host(value), host(first), host(second)]
    };
    let (fused, plain) = (run(Kernels::Fused), run(Kernels::Plain));
    for (fused, plain) in fused.iter().zip(&plain) {
        assert_close("adamw", fused, plain);
    }
    let norms = [Kernels::Fused, Kernels::Plain].map(|kernels| kernels.sum_of_squares([value("p")].iter()));
    assert!((norms[0] - norms[1]).abs() < 1e-4 * norms[1]);
}

#[test]
fn bfloat16_is_near_single_precision() {
    use crate::batch::{Batch, Tokens};
    use crate::config::ModelConfig;
    use crate::model::Model;
    use crate::optim::Gradients;

    let stream = Stream::new(4, "bf16");
    let batch = Batch::next_token(Tokens::new((0..64).map(|i| stream.below(i, 512) as u32).collect(), 32));
    let run = |precision| {
        let model = Model::init(&ModelConfig::olmo2("pico").unwrap(), 1, &device::cpu()).unwrap();
        let model = model.with_kernels(Kernels::Plain).with_precision(precision).train();
        let loss = model.loss(&batch, LossScale::new(1e-4, 62.0));
        (loss.read().value, Gradients::of(&loss.tensor(), &model).host())
    };
    let ((loss, gradients), (wanted, wanted_gradients)) = (run(Precision::Bf16), run(Precision::F32));
    assert!((loss - wanted).abs() < 5e-3 * wanted, "{loss} {wanted}");
    assert!(loss != wanted, "bfloat16 rounds");
    assert_eq!(gradients.len(), wanted_gradients.len());
    for (name, wanted) in wanted_gradients {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let size: f64 = wanted.iter().map(|x| square(*x)).sum();
        let difference: f64 = gradients[&name].iter().zip(&wanted).map(|(a, b)| square(a - b)).sum();
        assert!(difference < 4e-3 * size, "{name}: {difference} of {size}");
    }
}
