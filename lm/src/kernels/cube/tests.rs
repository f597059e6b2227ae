//! The GPU kernels, on whatever wgpu finds, against their plain twins on the CPU: values and gradients.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::batch::{Batch, IGNORED, Tokens};
use crate::config::{Experts, ModelConfig, Rope};
use crate::device;
use crate::kernels::{ExpertTensors, Kernels, RopeTable};
use crate::model::Model;
use crate::model::parameters::{flat, host};
use crate::optim::{AdamW, AdamWConfig, Trainer};
use crate::random::Stream;

/// The device under test; a build for it without a driver (lavapipe will do) is not worth testing.
fn gpu() -> Device {
    device::wgpu().unwrap()
}

fn leaf<const D: usize>(shape: [usize; D], label: &str, centre: f32, scale: f32, device: &Device) -> Tensor<D> {
    let stream = Stream::new(11, label);
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n as u64).map(|i| centre + scale * stream.normal(i) as f32).collect();
    Tensor::<D>::from_data(TensorData::new(data, shape), &device.clone().autodiff()).require_grad()
}

fn assert_close(what: &str, found: &[f32], wanted: &[f32], allowed: f32) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let size = wanted.iter().fold(1e-3_f32, |max, x| max.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= allowed * size, "{what}[{i}]: gpu {a}, plain {b}, size {size}");
    }
}

/// A leaf by shape, name, centre and spread.
type Leaf<const D: usize> = ([usize; D], &'static str, f32, f32);

/// Compares `f` with GPU kernels on the GPU to `f` with plain kernels on the CPU: value and gradients of all leaves.
fn compare(matrices: &[Leaf<2>], vectors: &[Leaf<1>], f: impl Fn(Kernels, &[Tensor<2>], &[Tensor<1>]) -> Tensor<1>) {
    let run = |kernels: Kernels, device: &Device| {
        let matrices: Vec<_> = matrices.iter().map(|(shape, label, c, s)| leaf(*shape, label, *c, *s, device)).collect();
        let vectors: Vec<_> = vectors.iter().map(|(shape, label, c, s)| leaf(*shape, label, *c, *s, device)).collect();
        let y = f(kernels, &matrices, &vectors);
        let n = y.dims()[0];
        let weights: Vec<f32> = (0..n).map(|i| 0.5 + (i % 7) as f32 * 0.25).collect();
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), &y.device());
        let grads = y.clone().mul(weights).sum().backward();
        let mut all = vec![host(y)];
        all.extend(matrices.iter().map(|leaf| host(leaf.grad(&grads).unwrap())));
        all.extend(vectors.iter().map(|leaf| host(leaf.grad(&grads).unwrap())));
        all
    };
    let (found, wanted) = (run(Kernels::Cube, &gpu()), run(Kernels::Plain, &device::cpu()));
    for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        assert_close(&format!("output or gradient {i}"), found, wanted, 5e-5);
    }
}

#[test]
fn embedding_agrees() {
    let ids: Arc<[u32]> = vec![3, 0, 3, 6, 3, 1].into();
    compare(&[([7, 300], "w", 0.0, 1.0)], &[], |kernels, m, _| flat(kernels.embedding(m[0].clone(), &ids, Precision::F32)));
}

#[test]
fn norms_agree() {
    let (x, residual) = (([150, 300], "x", 0.2, 1.0), ([150, 300], "residual", 0.0, 1.0));
    let gain = ([300], "gain", 1.0, 0.3);
    compare(&[x], &[gain], |kernels, m, v| flat(kernels.rms_norm(m[0].clone(), v[0].clone(), 1e-6)));
    compare(&[residual, x], &[gain], |kernels, m, v| flat(kernels.add_rms_norm(m[0].clone(), m[1].clone(), v[0].clone(), 1e-6)));
}

#[test]
fn linear_and_feed_forward_agree() {
    let (x, down) = (([140, 12], "x", 0.0, 1.0), ([12, 20], "down", 0.0, 0.5));
    let (gate, up) = (([20, 12], "gate", 0.0, 0.5), ([20, 12], "up", 0.0, 0.5));
    compare(&[x, gate], &[], |kernels, m, _| flat(kernels.linear(m[0].clone(), m[1].clone())));
    compare(&[x, gate, up, down], &[], |kernels, m, _| {
        flat(kernels.feed_forward(m[0].clone(), m[1].clone(), m[2].clone(), m[3].clone()))
    });
}

fn attention_case(window: Option<usize>, visible_from: Option<Arc<[u32]>>, n_kv_heads: usize) {
    let (n_sequences, length, n_heads, head_dim, d) = (2, 70, 4, 8, 10);
    let shape = AttentionShape {
        n_sequences,
        length,
        n_heads,
        n_kv_heads,
        head_dim,
        eps: 1e-6,
        clip: window.map(|_| 1.5),
        window,
        rope: Some(RopeTable::new(0, length, head_dim, &Rope { theta: 10_000.0, scaling: None })),
        visible_from,
    };
    let (q, kv) = (n_heads * head_dim, n_kv_heads * head_dim);
    let matrices = [
        ([n_sequences * length, d], "x", 0.0, 1.0),
        ([q, d], "q", 0.0, 0.5),
        ([kv, d], "k", 0.0, 0.5),
        ([kv, d], "v", 0.0, 0.5),
        ([d, q], "o", 0.0, 0.5),
    ];
    compare(&matrices, &[([q], "q_norm", 1.0, 0.3), ([kv], "k_norm", 1.0, 0.3)], |kernels, m, v| {
        let weights = AttentionWeights {
            q: m[1].clone(),
            k: m[2].clone(),
            v: m[3].clone(),
            o: m[4].clone(),
            norms: Some([v[0].clone(), v[1].clone()]),
        };
        flat(kernels.attention(m[0].clone(), weights, &shape))
    });
}

#[test]
fn causal_attention_agrees() {
    attention_case(None, None, 4);
}

#[test]
fn grouped_query_attention_in_a_window_agrees() {
    attention_case(Some(23), None, 2);
}

#[test]
fn attention_within_documents_agrees() {
    let visible: Vec<u32> = (0..140).map(|i| if i % 70 < 33 { 0 } else { 33 }).collect();
    attention_case(None, Some(visible.into()), 2);
}

/// A sliding window is a document mask that moves along.
#[test]
fn a_sliding_window_agrees_with_the_mask_that_says_the_same() {
    let (n_sequences, length, n_heads, n_kv_heads, head_dim, window) = (2, 300, 4, 2, 8, 37);
    let run = |window: Option<usize>, visible_from: Option<Arc<[u32]>>| {
        let device = gpu();
        let n = n_sequences * length;
        let q = leaf([n, n_heads * head_dim], "q", 0.0, 1.0, &device);
        let k = leaf([n, n_kv_heads * head_dim], "k", 0.0, 1.0, &device);
        let v = leaf([n, n_kv_heads * head_dim], "v", 0.0, 1.0, &device);
        let shape = Attend { n_sequences, length, n_heads, n_kv_heads, head_dim, window, visible_from };
        // Blocks of 64 queries, so that blocks begin at later keys.
        let out = attend_to(q.clone(), k.clone(), v.clone(), shape);
        let grads = out.clone().mul(out.clone()).sum().backward();
        [host(out), host(q.grad(&grads).unwrap()), host(k.grad(&grads).unwrap()), host(v.grad(&grads).unwrap())]
    };
    let mask: Vec<u32> = (0..n_sequences * length).map(|i| ((i % length) as u32 + 1).saturating_sub(window as u32)).collect();
    let (found, wanted) = (run(Some(window), None), run(None, Some(mask.into())));
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_close("window", found, wanted, 1e-5);
    }
}

fn targets() -> Arc<[u32]> {
    (0..90).map(|i| if i % 11 == 3 { IGNORED } else { (i * 7) % 500 }).collect::<Vec<_>>().into()
}

#[test]
fn cross_entropy_agrees() {
    let matrices = [([90, 8], "hidden", 0.0, 1.0), ([500, 8], "head", 0.0, 1.0)];
    for z_loss in [0.0, 0.1] {
        let scale = LossScale::new(z_loss, 82.0);
        compare(&matrices, &[], |kernels, m, _| {
            kernels.cross_entropy(m[0].clone(), m[1].clone(), &targets(), scale).narrow(0, 0, 1)
        });
        let read = |kernels: Kernels, device: &Device| {
            let [hidden, head] = matrices.map(|(shape, label, c, s)| leaf(shape, label, c, s, device));
            host(kernels.cross_entropy(hidden, head, &targets(), scale))
        };
        assert_close("sums", &read(Kernels::Cube, &gpu()), &read(Kernels::Plain, &device::cpu()), 1e-5);
    }
}

#[test]
fn token_log_probs_agree() {
    let matrices = [([90, 8], "hidden", 0.0, 1.0), ([500, 8], "head", 0.0, 1.0)];
    compare(&matrices, &[], |kernels, m, _| kernels.token_log_probs(m[0].clone(), m[1].clone(), &targets()));
}

#[test]
fn layer_norm_agrees() {
    compare(&[([150, 24], "x", 0.2, 1.0)], &[], |kernels, m, _| flat(kernels.layer_norm(m[0].clone(), 1e-5)));
}

#[test]
fn mixtures_of_experts_agree() {
    for (n_experts, top_k, normalize) in [(2, 2, false), (6, 3, true)] {
        let experts = Experts { n_experts, top_k, normalize, intermediate_size: 14 };
        let matrices = [
            ([50, 10], "x", 0.0, 1.0),
            ([n_experts, 10], "router", 0.0, 1.0),
            ([n_experts, 14 * 10], "gate", 0.0, 0.5),
            ([n_experts, 14 * 10], "up", 0.0, 0.5),
            ([n_experts, 10 * 14], "down", 0.0, 0.5),
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
fn the_inverse_of_a_unit_lower_matrix_agrees() {
    compare(&[([3 * 16, 16], "below", 0.0, 0.3)], &[], |kernels, m, _| {
        let below = m[0].clone().reshape([3, 16, 16]);
        flat(match kernels {
            Kernels::Cube => unit_lower_inverse(below),
            _ => plain::delta::unit_lower_inverse(below),
        })
    });
}

/// Every family with the GPU kernels against what transformers computed.
#[test]
fn logits_of_every_family_are_those_of_transformers() {
    for family in ["olmo", "olmo2", "olmo3", "olmo3_yarn", "olmo_hybrid", "olmo_hybrid_rope", "olmoe", "flex_olmo"] {
        let dir = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(family);
        let expected = fs_err::read(dir.join("expected.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&expected).unwrap();
        let ids = tensors.tensor("input_ids").unwrap().data().chunks_exact(8);
        let ids: Vec<u32> = ids.map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect();
        let wanted = tensors.tensor("logits").unwrap().data().chunks_exact(4);
        let wanted: Vec<f32> = wanted.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let model = Model::load(&dir, &gpu()).unwrap();
        assert_eq!(model.kernels(), Kernels::Cube);
        let found = host(model.logits(&Tokens::new(ids, 100)));
        assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 2e-4), "{family}");
    }
}

#[test]
fn adamw_agrees() {
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
    let run = |kernels: Kernels, device: &Device| {
        let value = |label: &str| leaf([1000], label, 0.0, 1.0, device).without_autodiff();
        let second = value("second").abs();
        let (value, [first, second]) = kernels.adamw(value("p"), value("g"), [value("first"), second], scale);
        [host(value), host(first), host(second)]
    };
    for (found, wanted) in run(Kernels::Cube, &gpu()).iter().zip(&run(Kernels::Plain, &device::cpu())) {
        assert_close("adamw", found, wanted, 1e-5);
    }
}

#[test]
fn training_follows_the_cpu() {
    let config = ModelConfig::olmo2("pico").unwrap();
    let run = |device: &Device| {
        let model = Model::init(&config, 3, device).unwrap();
        let mut trainer = Trainer::new(model, AdamW::new(AdamWConfig::default()), Some(0.5));
        let stream = Stream::new(0, "tokens");
        (0..4)
            .map(|step| {
                let ids = (0..256).map(|i| stream.below(step * 256 + i, 512) as u32).collect();
                let batch = Batch::next_token(Tokens::new(ids, 64));
                let scale = LossScale::new(1e-4, batch.n_targets() as f64);
                let mut sum = 0.0;
                for micro in batch.micro_batches(2) {
                    let loss = trainer.model().loss(&micro, scale);
                    trainer.accumulate(&loss.tensor());
                    sum += loss.read().value;
                }
                (sum, trainer.update(1e-2))
            })
            .collect::<Vec<_>>()
    };
    let (found, wanted) = (run(&gpu()), run(&device::cpu()));
    for ((loss, norm), (wanted_loss, wanted_norm)) in found.iter().zip(&wanted) {
        assert!((loss - wanted_loss).abs() < 2e-4 * wanted_loss, "{found:?} {wanted:?}");
        assert!((norm - wanted_norm).abs() < 5e-3 * wanted_norm, "{found:?} {wanted:?}");
    }
    assert_eq!(found, run(&gpu()), "the same bits again");
}
