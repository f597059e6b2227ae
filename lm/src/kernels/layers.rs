//! Whole sub-layers on slices, forward and backward: self-attention with QK-norm and rotary positions, and SwiGLU.

use rayon::prelude::*;

use super::matmul::{self, Precision, Write, local};
use super::rows::{self, CHUNK, Turn};
use super::{AttentionShape, attention, simd};

/// Parameters of an attention layer.
#[derive(Clone, Copy)]
pub(crate) struct AttentionParameters<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) o: &'a [f32],
    /// Gain of the norm of the queries; empty without QK-norm.
    pub(crate) q_norm: &'a [f32],
    /// Gain of the norm of the keys; empty without QK-norm.
    pub(crate) k_norm: &'a [f32],
    /// Of the projections' and attention's products.
    pub(crate) precision: Precision,
}

/// What the backward pass of an attention layer needs besides its input and parameters.
#[derive(Clone, Debug)]
pub(crate) struct AttentionSaved {
    /// Projections before the norm.
    raw_q: Vec<f32>,
    raw_k: Vec<f32>,
    /// After norm and rotation.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    out: Vec<f32>,
    lse: Vec<f32>,
}

/// Gradients of an attention layer.
pub(crate) struct AttentionGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) o: Vec<f32>,
    pub(crate) q_norm: Vec<f32>,
    pub(crate) k_norm: Vec<f32>,
}

fn layout(shape: &AttentionShape) -> attention::Layout<'_> {
    attention::Layout {
        n_sequences: shape.n_sequences,
        length: shape.length,
        n_heads: shape.n_heads,
        n_kv_heads: shape.n_kv_heads,
        head_dim: shape.head_dim,
        visible_from: shape.visible_from.as_deref(),
        window: shape.window,
    }
}

/// Rotates all rows of `[n, width]` in place, if the layer has rotary positions.
fn rotate(values: &mut [f32], width: usize, shape: &AttentionShape, turn: Turn) {
    let Some(rope) = &shape.rope else { return };
    let half = shape.head_dim / 2;
    values.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, values)| {
        for (i, row) in values.chunks_exact_mut(width).enumerate() {
            let at = (chunk * CHUNK + i) % shape.length * half;
            rows::rotate_row(row, &rope.cos[at..at + half], &rope.sin[at..at + half], turn);
        }
    });
}

/// The projections of queries or keys after the norm, if there is one, before clamping and rotation.
fn normed(raw: &[f32], gain: &[f32], shape: &AttentionShape) -> Vec<f32> {
    if gain.is_empty() {
        return raw.to_vec();
    }
    let mut out = simd::unwritten(raw.len());
    rows::rms_norm(&mut out, raw, gain, None, shape.eps);
    out
}

/// Self-attention of `x` `[n, d]`: the output `[n, d]` and what its backward pass needs.
pub(crate) fn self_attention(x: &[f32], weights: AttentionParameters<'_>, shape: &AttentionShape) -> (Vec<f32>, AttentionSaved) {
    let n = shape.n_sequences * shape.length;
    let d = x.len() / n;
    let (q_width, kv_width) = (weights.q.len() / d, weights.k.len() / d);
    let precision = weights.precision;
    let turned = |raw: &[f32], gain: &[f32], width: usize| {
        let mut out = normed(raw, gain, shape);
        if let Some(clip) = shape.clip {
            clamp(&mut out, clip);
        }
        rotate(&mut out, width, shape, Turn::Forward);
        out
    };
    let [mut raw_q, mut raw_k, mut v] = [q_width, kv_width, kv_width].map(|width| simd::unwritten(n * width));
    let outs = [&mut raw_q[..], &mut raw_k, &mut v];
    matmul::forward_all(outs, x, [weights.q, weights.k, weights.v], d, precision);
    if let Some(clip) = shape.clip {
        clamp(&mut v, clip);
    }
    let (q, k) = (turned(&raw_q, weights.q_norm, q_width), turned(&raw_k, weights.k_norm, kv_width));
    let (out, lse) = attention::forward(layout(shape), &q, &k, &v, precision);
    let mut y = simd::unwritten(n * d);
    matmul::forward_in(&mut y, &out, weights.o, q_width, precision);
    (y, AttentionSaved { raw_q, raw_k, q, k, v, out, lse })
}

/// `values` clamped to `[-clip, clip]`.
fn clamp(values: &mut [f32], clip: f32) {
    values.par_chunks_mut(1 << 14).for_each(|values| values.iter_mut().for_each(|x| *x = x.clamp(-clip, clip)));
}

/// Zeroes the gradients of values that were clamped.
fn clamp_backward(dy: &mut [f32], before: &[f32], clip: f32) {
    dy.par_chunks_mut(1 << 14).zip(before.par_chunks(1 << 14)).for_each(|(dy, before)| {
        for (dy, x) in dy.iter_mut().zip(before) {
            if x.abs() >= clip {
                *dy = 0.0;
            }
        }
    });
}

/// The gradients of [`self_attention`] given that of its output.
pub(crate) fn self_attention_backward(
    dy: &[f32],
    x: &[f32],
    weights: AttentionParameters<'_>,
    saved: &AttentionSaved,
    shape: &AttentionShape,
) -> AttentionGradients {
    let n = shape.n_sequences * shape.length;
    let d = x.len() / n;
    let (q_width, kv_width) = (weights.q.len() / d, weights.k.len() / d);
    let precision = weights.precision;
    let mut dout = simd::unwritten(saved.out.len());
    matmul::backward_input(&mut dout, dy, weights.o, q_width, Write::Set, precision);
    let o = matmul::weight_gradient(dy, &matmul::pack_input(&saved.out, q_width, precision));
    let kept = attention::Saved { q: &saved.q, k: &saved.k, v: &saved.v, out: &saved.out, lse: &saved.lse };
    let [mut dq, mut dk, mut dv] = attention::backward(layout(shape), &dout, kept, precision);
    let turned_back = |dy: &mut Vec<f32>, raw: &[f32], gain: &[f32], width: usize| {
        rotate(dy, width, shape, Turn::Backward);
        if let Some(clip) = shape.clip {
            clamp_backward(dy, &normed(raw, gain, shape), clip);
        }
        if gain.is_empty() {
            return Vec::new();
        }
        let (dx, dgain) = rows::rms_norm_backward(dy, raw, gain, shape.eps);
        *dy = dx;
        dgain
    };
    let q_norm = turned_back(&mut dq, &saved.raw_q, weights.q_norm, q_width);
    let k_norm = turned_back(&mut dk, &saved.raw_k, weights.k_norm, kv_width);
    if let Some(clip) = shape.clip {
        clamp_backward(&mut dv, &saved.v, clip);
    }
    let mut dx = simd::unwritten(x.len());
    matmul::backward_input(&mut dx, &dq, weights.q, d, Write::Set, precision);
    matmul::backward_input(&mut dx, &dk, weights.k, d, Write::Add, precision);
    matmul::backward_input(&mut dx, &dv, weights.v, d, Write::Add, precision);
    let x = matmul::pack_input(x, d, precision);
    AttentionGradients {
        x: dx,
        q: matmul::weight_gradient(&dq, &x),
        k: matmul::weight_gradient(&dk, &x),
        v: matmul::weight_gradient(&dv, &x),
        o,
        q_norm,
        k_norm,
    }
}

/// Parameters of a SwiGLU layer.
#[derive(Clone, Copy)]
pub(crate) struct FeedForwardParameters<'a> {
    /// `[F, d]`.
    pub(crate) gate: &'a [f32],
    /// `[F, d]`.
    pub(crate) up: &'a [f32],
    /// `[d, F]`.
    pub(crate) down: &'a [f32],
    /// Of all products.
    pub(crate) precision: Precision,
}

/// What the backward pass of a SwiGLU layer needs: the two projections and their gated product, `[n, F]` each.
#[derive(Clone, Debug)]
pub(crate) struct FeedForwardSaved {
    gate: Vec<f32>,
    up: Vec<f32>,
    product: Vec<f32>,
}

/// Gradients of a SwiGLU layer.
pub(crate) struct FeedForwardGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) down: Vec<f32>,
}

/// `down(silu(gate(x)) * up(x))` of `x` `[n, d]`, chunk of rows by chunk of rows.
pub(crate) fn feed_forward(x: &[f32], weights: FeedForwardParameters<'_>, d: usize) -> (Vec<f32>, FeedForwardSaved) {
    let (n, f) = (x.len() / d, weights.gate.len() / d);
    let (mut gate, mut up, mut product) = (simd::unwritten(n * f), simd::unwritten(n * f), simd::unwritten(n * f));
    let mut y = simd::unwritten(n * d);
    let pack = |w, inputs| matmul::pack_forward(w, inputs, weights.precision);
    let (to_gate, to_up, down) = (pack(weights.gate, d), pack(weights.up, d), pack(weights.down, f));
    x.par_chunks(CHUNK * d)
        .zip(y.par_chunks_mut(CHUNK * d))
        .zip(gate.par_chunks_mut(CHUNK * f).zip(up.par_chunks_mut(CHUNK * f)).zip(product.par_chunks_mut(CHUNK * f)))
        .for_each(|((x, y), ((gate, up), product))| {
            local::multiply_all([&mut *gate, &mut *up], x, [&to_gate, &to_up], Write::Set);
            rows::swiglu(product, gate, up);
            local::multiply(y, product, &down, Write::Set);
        });
    (y, FeedForwardSaved { gate, up, product })
}

/// The gradients of [`feed_forward`] given that of its output; uses up what was saved.
pub(crate) fn feed_forward_backward(
    dy: &[f32],
    x: &[f32],
    weights: FeedForwardParameters<'_>,
    saved: FeedForwardSaved,
    d: usize,
) -> FeedForwardGradients {
    let f = weights.gate.len() / d;
    let FeedForwardSaved { mut gate, mut up, product } = saved;
    let mut dx = simd::unwritten(x.len());
    let precision = weights.precision;
    let pack = |w, inputs| matmul::pack_backward(w, inputs, precision);
    let (from_gate, from_up, down) = (pack(weights.gate, d), pack(weights.up, d), pack(weights.down, f));
    dy.par_chunks(CHUNK * d)
        .zip(dx.par_chunks_mut(CHUNK * d))
        .zip(gate.par_chunks_mut(CHUNK * f).zip(up.par_chunks_mut(CHUNK * f)))
        .for_each(|((dy, dx), (gate, up))| {
            let mut dproduct = simd::unwritten(gate.len());
            local::multiply(&mut dproduct, dy, &down, Write::Set);
            rows::swiglu_backward(gate, up, &dproduct);
            local::multiply(dx, gate, &from_gate, Write::Set);
            local::multiply(dx, up, &from_up, Write::Add);
        });
    let (x, product) = (matmul::pack_input(x, d, precision), matmul::pack_input(&product, f, precision));
    FeedForwardGradients {
        x: dx,
        gate: matmul::weight_gradient(&gate, &x),
        up: matmul::weight_gradient(&up, &x),
        down: matmul::weight_gradient(dy, &product),
    }
}
