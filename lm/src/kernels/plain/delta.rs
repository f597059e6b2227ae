//! A gated delta layer composed of tensor operations, in chunks of 64 tokens (see `kernels::delta` for the formulas).

use burn::tensor::{DType, Tensor, TensorData, activation};

use super::like;
use crate::config::GatedDelta;
use crate::kernels::delta_layer::{query_factor, strength};
use crate::kernels::{DeltaProjections, DeltaShape, DeltaWeights};

/// Tokens of a chunk.
const CHUNK: usize = 64;

fn constant<const D: usize>(values: Vec<f32>, shape: [usize; D], like: &Tensor<2>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &like.device())
}

/// The document of each token by its first position, `[n]`.
fn documents(shape: &DeltaShape) -> Vec<usize> {
    let n = shape.n_sequences * shape.length;
    (0..n).map(|row| shape.visible_from.as_ref().map_or(0, |all| all[row] as usize)).collect()
}

/// `silu` of the causal depthwise convolution of `u` `[n, channels]` with `weight` `[channels, K]`.
fn convolve(u: Tensor<2>, weight: Tensor<2>, shape: &DeltaShape) -> Tensor<2> {
    let [channels, size] = weight.dims();
    let (b, t) = (shape.n_sequences, shape.length);
    let first = documents(shape);
    let u: Tensor<3> = u.reshape([b, t, channels]);
    let mut z: Option<Tensor<3>> = None;
    for back in 0..size.min(t) {
        let shifted = match back {
            0 => u.clone(),
            _ => {
                let zeros = Tensor::zeros([b, back, channels], &u.device());
                Tensor::cat(vec![zeros, u.clone().narrow(1, 0, t - back)], 1)
            }
        };
        let reached = (0..b * t).map(|row| f32::from(u8::from(row % t >= first[row] + back))).collect();
        let mask: Tensor<3> = Tensor::from_data(TensorData::new(reached, [b, t, 1]), &u.device());
        let tap: Tensor<3> = weight.clone().narrow(1, size - 1 - back, 1).reshape([1, 1, channels]);
        let term = shifted.mul(mask).mul(tap);
        z = Some(match z {
            Some(z) => z.add(term),
            None => term,
        });
    }
    activation::silu(z.expect("a convolution has at least one tap").reshape([b * t, channels]))
}

/// `factor * x / sqrt(sum(x^2) + 1e-6)` over the last axis.
fn unit<const D: usize>(x: Tensor<D>, factor: f32) -> Tensor<D> {
    let square = x.clone().mul(x.clone()).sum_dim(D - 1).add_scalar(1e-6);
    x.div(square.sqrt()).mul_scalar(factor)
}

/// The layer, computed in 32-bit floats whatever the type of its inputs; `inverse` solves its triangular systems.
pub(crate) fn gated_delta(
    inputs: DeltaProjections,
    weights: DeltaWeights,
    shape: &DeltaShape,
    inverse: fn(Tensor<3>) -> Tensor<3>,
) -> Tensor<2> {
    let dtype = inputs.v.dtype();
    let full = |x: Tensor<2>| like(x, DType::F32);
    let DeltaProjections { q, k, v, a, b, gate } = inputs;
    let inputs = DeltaProjections { q: full(q), k: full(k), v: full(v), a: full(a), b: full(b), gate: full(gate) };
    let GatedDelta { n_key_heads, n_value_heads, key_head_dim: dk, value_head_dim: dv, conv_size, .. } = shape.delta;
    let (b, t, key) = (shape.n_sequences, shape.length, shape.delta.key_width());
    let conv: Tensor<2> = weights.conv.reshape([shape.delta.conv_width(), conv_size]);
    let taps = |start: usize, n: usize| conv.clone().narrow(0, start, n);
    let gate = inputs.gate;
    let v = convolve(inputs.v, taps(2 * key, shape.delta.value_width()), shape).reshape([b, t, n_value_heads, dv]);
    let spread = |x: Tensor<2>, factor: f32| {
        let x: Tensor<5> = unit(x.reshape([b, t, n_key_heads, dk]), factor).unsqueeze_dim(3);
        x.repeat_dim(3, n_value_heads / n_key_heads).reshape([b, t, n_value_heads, dk])
    };
    let q = spread(convolve(inputs.q, taps(0, key), shape), query_factor(shape));
    let k = spread(convolve(inputs.k, taps(key, key), shape), 1.0);
    let heads = |x: Tensor<2>| x.reshape([b, t, n_value_heads, 1]);
    let beta = heads(activation::sigmoid(inputs.b).mul_scalar(strength(shape)));
    let step = activation::softplus(inputs.a.add(weights.dt_bias.unsqueeze::<2>()), 1.0);
    let g = heads(step.mul(weights.a_log.exp().unsqueeze::<2>()).neg());
    let out = rule([q, k, v, beta, g], shape, &gate, inverse);
    // The norm over each head, then the gate.
    let out: Tensor<2> = out.reshape([b * t * n_value_heads, dv]);
    let normed = super::rms_norm(out, weights.o_norm, shape.eps).reshape([b * t, n_value_heads * dv]);
    like(normed.mul(activation::silu(gate)), dtype)
}

/// The rule on `[B, T, H_v, width]` tensors: the outputs, `[B, T, H_v, d_v]`.
fn rule(inputs: [Tensor<4>; 5], shape: &DeltaShape, beside: &Tensor<2>, inverse: fn(Tensor<3>) -> Tensor<3>) -> Tensor<4> {
    let (b, t, heads) = (shape.n_sequences, shape.length, shape.delta.n_value_heads);
    let (dk, dv) = (shape.delta.key_head_dim, shape.delta.value_head_dim);
    let padded = t.next_multiple_of(CHUNK);
    let n = padded / CHUNK;
    // [B, T, H, w] to [B, H, N, C, w], with zeros after the last token.
    let [q, k, v, beta, g] = inputs.map(|x| -> Tensor<5> {
        let width = x.dims()[3];
        let x =
            if padded == t { x } else { Tensor::cat(vec![x, Tensor::zeros([b, padded - t, heads, width], &beside.device())], 1) };
        x.swap_dims(1, 2).reshape([b, heads, n, CHUNK, width])
    });
    let masks = Masks::new(shape, n);
    let m = |values: &[f32], rows: usize, columns: usize| constant(values.to_vec(), [b, 1, n, rows, columns], beside);
    let (lower, strict) = (m(&masks.lower, CHUNK, CHUNK), m(&masks.strict, CHUNK, CHUNK));
    // A document's first token has no decay to look back over.
    let g = g.mul(m(&masks.goes_on, CHUNK, 1));
    let sum = g.cumsum(3);
    let difference = sum.clone().sub(sum.clone().swap_dims(3, 4));
    let decay = difference.mul(lower.clone()).exp().mul(lower);
    let kk = k.clone().mul(beta.clone()).matmul(k.clone().swap_dims(3, 4));
    let a = kk.mul(decay.clone()).mul(strict);
    let p = q.clone().matmul(k.clone().swap_dims(3, 4)).mul(decay);
    let inverse: Tensor<5> = inverse(a.reshape([b * heads * n, CHUNK, CHUNK])).reshape([b, heads, n, CHUNK, CHUNK]);
    let from_start = sum.clone().exp().mul(m(&masks.carried, CHUNK, 1));
    let last = sum.clone().narrow(3, CHUNK - 1, 1);
    let to_end = last.clone().sub(sum).exp().mul(m(&masks.kept, CHUNK, 1));
    let whole = last.exp().mul(m(&masks.whole, 1, 1));
    let mut state: Tensor<4> = Tensor::zeros([b, heads, dk, dv], &beside.device());
    let mut outputs = Vec::with_capacity(n);
    for chunk in 0..n {
        let at = |x: &Tensor<5>| x.clone().narrow(2, chunk, 1).squeeze_dim::<4>(2);
        let right = at(&v).sub(at(&from_start).mul(at(&k).matmul(state.clone()))).mul(at(&beta));
        let written = at(&inverse).matmul(right);
        let carried = at(&q).mul(at(&from_start)).matmul(state.clone());
        outputs.push(carried.add(at(&p).matmul(written.clone())));
        let kept = at(&k).mul(at(&to_end)).swap_dims(2, 3).matmul(written);
        state = state.mul(at(&whole)).add(kept);
    }
    let out: Tensor<4> = Tensor::cat(outputs, 2);
    out.narrow(2, 0, t).swap_dims(1, 2)
}

/// `(I + A)^-1` of lower triangular matrices `[m, c, c]`, row by row; only what is below the diagonal is read.
pub(crate) fn unit_lower_inverse(a: Tensor<3>) -> Tensor<3> {
    let [m, size, _] = a.dims();
    let identity: Tensor<2> = Tensor::eye(size, &a.device());
    let row_of = |i: usize| identity.clone().narrow(0, i, 1).reshape([1, 1, size]).expand([m, 1, size]);
    let mut done: Tensor<3> = row_of(0);
    for i in 1..size {
        let coefficients = a.clone().narrow(1, i, 1).narrow(2, 0, i);
        let row = row_of(i).sub(coefficients.matmul(done.clone()));
        done = Tensor::cat(vec![done, row], 1);
    }
    done
}

/// Zeros and ones that keep documents apart, for `[B, N]` chunks.
struct Masks {
    /// `[C, C]`: the key is not later and of the same document.
    lower: Vec<f32>,
    /// `[C, C]`: the same without the diagonal.
    strict: Vec<f32>,
    /// `[C]`: the token does not begin a document inside the chunk.
    goes_on: Vec<f32>,
    /// `[C]`: the token belongs to the document that the incoming state is of.
    carried: Vec<f32>,
    /// `[C]`: the token belongs to the document of the chunk's last token.
    kept: Vec<f32>,
    /// `[1]`: the whole chunk goes on with the incoming state's document.
    whole: Vec<f32>,
}

impl Masks {
    fn new(shape: &DeltaShape, n_chunks: usize) -> Self {
        let first = documents(shape);
        let t = shape.length;
        let mut masks = Self {
            lower: Vec::new(),
            strict: Vec::new(),
            goes_on: Vec::new(),
            carried: Vec::new(),
            kept: Vec::new(),
            whole: Vec::new(),
        };
        let bit = |condition: bool| f32::from(u8::from(condition));
        for sequence in 0..shape.n_sequences {
            // Padding belongs to the last document.
            let document = |position: usize| first[sequence * t + position.min(t - 1)];
            for chunk in 0..n_chunks {
                let start = chunk * CHUNK;
                let before = if start == 0 { usize::MAX } else { document(start - 1) };
                for i in start..start + CHUNK {
                    for j in start..start + CHUNK {
                        let same = document(i) == document(j);
                        masks.lower.push(bit(j <= i && same));
                        masks.strict.push(bit(j < i && same));
                    }
                    masks.goes_on.push(bit(i == 0 || document(i) == document(i - 1)));
                    masks.carried.push(bit(start == 0 || document(i) == before));
                    masks.kept.push(bit(document(i) == document(start + CHUNK - 1)));
                }
                masks.whole.push(bit(start == 0 || document(start + CHUNK - 1) == before));
            }
        }
        masks
    }
}
