//! The operations composed of Burn's own tensor operations: the reference, and the fallback for other backends.

use std::sync::Arc;

use burn::tensor::{Bool, DType, Device, FloatDType, Int, Tensor, TensorData, activation};

use super::{AttentionShape, AttentionWeights, LossScale, Precision, UpdateScale};
use crate::batch::IGNORED;

pub(crate) mod delta;
pub(crate) mod experts;
pub(crate) mod router;

fn int_tensor(values: impl Iterator<Item = i64>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.collect();
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn float_tensor(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(crate) fn embedding(weight: Tensor<2>, ids: &Arc<[u32]>, precision: Precision) -> Tensor<2> {
    let indices = int_tensor(ids.iter().map(|id| i64::from(*id)), &weight.device());
    like(weight.select(0, indices), precision.dtype())
}

/// `x` in the type `dtype`.
pub(crate) fn like<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    match x.dtype() == dtype {
        true => x,
        false if dtype == DType::BF16 => x.cast(FloatDType::BF16),
        false => x.cast(FloatDType::F32),
    }
}

pub(crate) fn rms_norm(x: Tensor<2>, gain: Tensor<1>, eps: f32) -> Tensor<2> {
    let dtype = x.dtype();
    let x = like(x, DType::F32);
    let mean_square = x.clone().mul(x.clone()).mean_dim(1);
    like(x.div(mean_square.add_scalar(eps).sqrt()).mul(gain.unsqueeze::<2>()), dtype)
}

pub(crate) fn add_rms_norm(residual: Tensor<2>, x: Tensor<2>, gain: Tensor<1>, eps: f32) -> Tensor<2> {
    residual.add(rms_norm(x, gain, eps))
}

pub(crate) fn layer_norm(x: Tensor<2>, eps: f32) -> Tensor<2> {
    let dtype = x.dtype();
    let x = like(x, DType::F32);
    let centred = x.clone().sub(x.mean_dim(1));
    let variance = centred.clone().mul(centred.clone()).mean_dim(1);
    like(centred.div(variance.add_scalar(eps).sqrt()), dtype)
}

pub(crate) fn linear(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    let w = like(w, x.dtype());
    x.matmul(w.transpose())
}

pub(crate) fn feed_forward(x: Tensor<2>, gate: Tensor<2>, up: Tensor<2>, down: Tensor<2>) -> Tensor<2> {
    let hidden = activation::silu(linear(x.clone(), gate)).mul(linear(x, up));
    linear(hidden, down)
}

/// Rotates `x` `[B, T, heads, D]`: `[x1 cos - x2 sin, x2 cos + x1 sin]` with the halves `x1`, `x2` of a head.
fn rotate(x: Tensor<4>, shape: &AttentionShape) -> Tensor<4> {
    let Some(rope) = &shape.rope else { return x };
    let half = shape.head_dim / 2;
    let dtype = x.dtype();
    let x = like(x, DType::F32);
    let table = |values: &[f32]| -> Tensor<4> { float_tensor(values.to_vec(), &x.device()).reshape([1, shape.length, 1, half]) };
    let (cos, sin) = (table(&rope.cos), table(&rope.sin));
    let parts = x.chunk(2, 3);
    let (x1, x2) = (parts[0].clone(), parts[1].clone());
    let turned = vec![x1.clone().mul(cos.clone()).sub(x2.clone().mul(sin.clone())), x2.mul(cos).add(x1.mul(sin))];
    like(Tensor::cat(turned, 3), dtype)
}

/// What a token must not see: `[B, 1, T, T]`, true where the key is later or before the first visible position.
fn hidden_keys(shape: &AttentionShape, device: &Device) -> Tensor<4, Bool> {
    let (b, t) = (shape.n_sequences, shape.length);
    let mut mask = Vec::with_capacity(b * t * t);
    for row in 0..b * t {
        let document = shape.visible_from.as_ref().map_or(0, |all| all[row] as usize);
        let first = shape.window.map_or(document, |window| document.max((row % t + 1).saturating_sub(window)));
        mask.extend((0..t).map(|key| key > row % t || key < first));
    }
    Tensor::from_data(TensorData::new(mask, [b, 1, t, t]), device)
}

pub(crate) fn attention(x: Tensor<2>, weights: AttentionWeights, shape: &AttentionShape) -> Tensor<2> {
    let (b, t, h, kv, d) = (shape.n_sequences, shape.length, shape.n_heads, shape.n_kv_heads, shape.head_dim);
    let (q, k) = (linear(x.clone(), weights.q), linear(x.clone(), weights.k));
    let (q, k) = match weights.norms {
        Some([q_norm, k_norm]) => (rms_norm(q, q_norm, shape.eps), rms_norm(k, k_norm, shape.eps)),
        None => (q, k),
    };
    let clip = |x: Tensor<2>| match shape.clip {
        Some(clip) => x.clamp(-clip, clip),
        None => x,
    };
    let (q, k, v) = (clip(q), clip(k), clip(linear(x.clone(), weights.v)));
    let q = rotate(q.reshape([b, t, h, d]), shape).swap_dims(1, 2);
    let spread = |x: Tensor<4>| {
        // Each key head serves h / kv consecutive query heads.
        let x: Tensor<5> = x.swap_dims(1, 2).unsqueeze_dim(2);
        x.repeat_dim(2, h / kv).reshape([b, h, t, d])
    };
    let k = spread(rotate(k.reshape([b, t, kv, d]), shape));
    let v = spread(v.reshape([b, t, kv, d]));
    let scores = like(q.matmul(k.swap_dims(2, 3)), DType::F32).mul_scalar(1.0 / (d as f64).sqrt());
    let scores = scores.mask_fill(hidden_keys(shape, &x.device()), f32::NEG_INFINITY);
    let out = like(activation::softmax(scores, 3), v.dtype()).matmul(v);
    linear(out.swap_dims(1, 2).reshape([b * t, h * d]), weights.o)
}

/// Negative log-likelihood and log-partition function of each row, both 0 where the target is ignored: `[n, 1]` each.
fn nll_and_lse(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[u32]>) -> (Tensor<2>, Tensor<2>) {
    let device = hidden.device();
    let n = targets.len();
    let counts: Vec<f32> = targets.iter().map(|t| f32::from(u8::from(*t != IGNORED))).collect();
    let counts = float_tensor(counts, &device).reshape([n, 1]);
    let index = targets.iter().map(|t| if *t == IGNORED { 0 } else { i64::from(*t) });
    let index: Tensor<2, Int> = int_tensor(index, &device).reshape([n, 1]);
    let logits = like(linear(hidden, head), DType::F32);
    let max = logits.clone().max_dim(1).detach();
    let lse = logits.clone().sub(max.clone()).exp().sum_dim(1).log().add(max);
    let nll = lse.clone().sub(logits.gather(1, index));
    (nll.mul(counts.clone()), lse.mul(counts))
}

pub(crate) fn cross_entropy(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[u32]>, scale: LossScale) -> Tensor<1> {
    let (nll, lse) = nll_and_lse(hidden, head, targets);
    let nll = nll.sum();
    let squares = lse.clone().mul(lse).sum();
    let loss = nll.clone().add(squares.clone().mul_scalar(scale.z_loss)).div_scalar(scale.divisor);
    Tensor::cat(vec![loss, nll.detach(), squares.detach()], 0)
}

pub(crate) fn token_log_probs(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[u32]>) -> Tensor<1> {
    let (nll, _) = nll_and_lse(hidden, head, targets);
    nll.neg().reshape([targets.len()])
}

pub(crate) fn adamw(
    value: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    scale: UpdateScale,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let gradient = gradient.mul_scalar(scale.gradient);
    let first = first.mul_scalar(scale.beta1).add(gradient.clone().mul_scalar(1.0 - scale.beta1));
    let square = gradient.clone().mul(gradient);
    let second = second.mul_scalar(scale.beta2).add(square.mul_scalar(1.0 - scale.beta2));
    let denominator = second.clone().mul_scalar(scale.second_correction).sqrt().add_scalar(scale.eps);
    let update = first.clone().mul_scalar(scale.first_correction).div(denominator).mul_scalar(scale.lr);
    (value.mul_scalar(scale.keep).sub(update), [first, second])
}

/// One number per tensor is made on the device; all are read at once.
pub(crate) fn sum_of_squares<'a>(values: impl Iterator<Item = &'a Tensor<1>>) -> f64 {
    let sums: Vec<Tensor<1>> = values.map(|values| values.clone().mul(values.clone()).sum()).collect();
    if sums.is_empty() {
        return 0.0;
    }
    Tensor::cat(sums, 0).into_data().iter::<f64>().sum()
}
