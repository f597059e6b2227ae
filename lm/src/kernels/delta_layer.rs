//! A gated delta layer between its projections, on slices: convolutions, normalisation, gates, the rule, the output norm.

use super::convolution::{self, Rows, taps_first};
use super::delta::{self, Inputs, Layout, Saved as RuleSaved};
use super::norms;
use super::{DeltaShape, simd};

/// Projections of the layer's input and the parameters between them and the output projection.
#[derive(Clone, Copy)]
pub(crate) struct DeltaInputs<'a> {
    /// `[n, H_k d_k]`.
    pub(crate) q: &'a [f32],
    /// `[n, H_k d_k]`.
    pub(crate) k: &'a [f32],
    /// `[n, H_v d_v]`.
    pub(crate) v: &'a [f32],
    /// Step sizes before the softplus, `[n, H_v]`.
    pub(crate) a: &'a [f32],
    /// Write strengths before the sigmoid, `[n, H_v]`.
    pub(crate) b: &'a [f32],
    /// Output gate before the SiLU, `[n, H_v d_v]`.
    pub(crate) gate: &'a [f32],
    /// `[2 H_k d_k + H_v d_v, 1, K]`, for queries, keys, values.
    pub(crate) conv: &'a [f32],
    /// `[H_v]`.
    pub(crate) a_log: &'a [f32],
    /// `[H_v]`.
    pub(crate) dt_bias: &'a [f32],
    /// `[d_v]`.
    pub(crate) o_norm: &'a [f32],
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
pub(crate) struct DeltaSaved {
    /// Convolutions of queries, keys, values before the SiLU.
    z: [Vec<f32>; 3],
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    beta: Vec<f32>,
    g: Vec<f32>,
    rule: RuleSaved,
    out: Vec<f32>,
}

/// Gradients in the order of [`DeltaInputs`].
pub(crate) struct DeltaGradients {
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) conv: Vec<f32>,
    pub(crate) a_log: Vec<f32>,
    pub(crate) dt_bias: Vec<f32>,
    pub(crate) o_norm: Vec<f32>,
}

/// `ln(1 + e^x)`; beyond 20 the identity, as PyTorch computes it.
pub(crate) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

/// What the sigmoid of the write strength is multiplied by.
pub(crate) fn strength(shape: &DeltaShape) -> f32 {
    if shape.delta.allow_negative_eigenvalues { 2.0 } else { 1.0 }
}

/// The factor of queries, `d_k^-1/2`.
pub(crate) fn query_factor(shape: &DeltaShape) -> f32 {
    1.0 / (shape.delta.key_head_dim as f32).sqrt()
}

fn layout(shape: &DeltaShape) -> Layout<'_> {
    Layout {
        n_sequences: shape.n_sequences,
        length: shape.length,
        n_key_heads: shape.delta.n_key_heads,
        n_value_heads: shape.delta.n_value_heads,
        key_dim: shape.delta.key_head_dim,
        value_dim: shape.delta.value_head_dim,
        visible_from: shape.visible_from.as_deref(),
    }
}

/// The taps of queries, keys and values, `[K, channels]` each.
fn taps(shape: &DeltaShape, conv: &[f32]) -> [Vec<f32>; 3] {
    let (size, key) = (shape.delta.conv_size, shape.delta.key_width() * shape.delta.conv_size);
    [taps_first(&conv[..key], size), taps_first(&conv[key..2 * key], size), taps_first(&conv[2 * key..], size)]
}

/// Write strengths and log-decays `[n, H_v]`.
pub(crate) fn gates(shape: &DeltaShape, a: &[f32], b: &[f32], a_log: &[f32], dt_bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (heads, strength) = (shape.delta.n_value_heads, strength(shape));
    let rates: Vec<f32> = a_log.iter().map(|a| -a.exp()).collect();
    let g = a.iter().enumerate().map(|(i, a)| rates[i % heads] * softplus(a + dt_bias[i % heads])).collect();
    let beta = b.iter().map(|b| strength * simd::sigmoid(*b)).collect();
    (beta, g)
}

/// The gated, normed outputs `[n, H_v d_v]` and what the backward pass needs.
pub(crate) fn forward(inputs: DeltaInputs<'_>, shape: &DeltaShape) -> (Vec<f32>, DeltaSaved) {
    let delta = &shape.delta;
    let rows = Rows { length: shape.length, visible_from: shape.visible_from.as_deref() };
    let taps = taps(shape, inputs.conv);
    let (key, value) = (delta.key_width(), delta.value_width());
    let z = [
        convolution::forward(rows, inputs.q, &taps[0], key),
        convolution::forward(rows, inputs.k, &taps[1], key),
        convolution::forward(rows, inputs.v, &taps[2], value),
    ];
    let q = norms::unit_norm(&convolution::activate(&z[0]), delta.key_head_dim, query_factor(shape));
    let k = norms::unit_norm(&convolution::activate(&z[1]), delta.key_head_dim, 1.0);
    let v = convolution::activate(&z[2]);
    let (beta, g) = gates(shape, inputs.a, inputs.b, inputs.a_log, inputs.dt_bias);
    let (out, rule) = delta::forward(layout(shape), Inputs { q: &q, k: &k, v: &v, beta: &beta, g: &g });
    let y = norms::gated_rms_norm(&out, inputs.gate, inputs.o_norm, shape.eps);
    (y, DeltaSaved { z, q, k, v, beta, g, rule, out })
}

/// The gradients of [`forward`] given that of its output.
pub(crate) fn backward(dy: &[f32], inputs: DeltaInputs<'_>, saved: &DeltaSaved, shape: &DeltaShape) -> DeltaGradients {
    let delta = &shape.delta;
    let (heads, strength) = (delta.n_value_heads, strength(shape));
    let rows = Rows { length: shape.length, visible_from: shape.visible_from.as_deref() };
    let [dout, gate, o_norm] = norms::gated_rms_norm_backward(dy, &saved.out, inputs.gate, inputs.o_norm, shape.eps);
    let DeltaSaved { z, q, k, v, beta, g, rule, .. } = saved;
    let mut of_rule = delta::backward(layout(shape), &dout, Inputs { q, k, v, beta, g }, rule);
    norms::unit_norm_backward(&mut of_rule.q, &convolution::activate(&z[0]), delta.key_head_dim, query_factor(shape));
    norms::unit_norm_backward(&mut of_rule.k, &convolution::activate(&z[1]), delta.key_head_dim, 1.0);
    let taps = taps(shape, inputs.conv);
    let (key, value) = (delta.key_width(), delta.value_width());
    let (dq, conv_q) = convolution::backward(rows, of_rule.q, &z[0], inputs.q, &taps[0], key);
    let (dk, conv_k) = convolution::backward(rows, of_rule.k, &z[1], inputs.k, &taps[1], key);
    let (dv, conv_v) = convolution::backward(rows, of_rule.v, &z[2], inputs.v, &taps[2], value);
    // Taps come first in the gradients; the parameter has channels first.
    let channels_first = |taps: &[f32], channels: usize| taps_first(taps, channels);
    let conv = [channels_first(&conv_q, key), channels_first(&conv_k, key), channels_first(&conv_v, value)].concat();
    let mut a_log = vec![0.0_f64; heads];
    let mut dt_bias = vec![0.0_f64; heads];
    let mut da = simd::unwritten(g.len());
    let mut db = simd::unwritten(g.len());
    for i in 0..g.len() {
        let head = i % heads;
        let through = of_rule.g[i] * -inputs.a_log[head].exp() * simd::sigmoid(inputs.a[i] + inputs.dt_bias[head]);
        da[i] = through;
        a_log[head] += f64::from(of_rule.g[i] * g[i]);
        dt_bias[head] += f64::from(through);
        db[i] = of_rule.beta[i] * beta[i] * (1.0 - beta[i] / strength);
    }
    let narrow = |sums: Vec<f64>| sums.into_iter().map(|x| x as f32).collect();
    DeltaGradients { q: dq, k: dk, v: dv, a: da, b: db, gate, conv, a_log: narrow(a_log), dt_bias: narrow(dt_bias), o_norm }
}
