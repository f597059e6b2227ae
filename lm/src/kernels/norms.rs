//! Norms besides the RMSNorm of `rows`: LayerNorm without parameters, and the gated RMSNorm over heads.
//!
//! Rows are processed in chunks of [`CHUNK`] whatever the number of threads.

#![allow(clippy::too_many_arguments, reason = "rows and their gradients, each a slice")]

use rayon::prelude::*;

use super::rows::{CHUNK, ordered_sum};
use super::simd::{self, multiversion, sum1, sum2};

multiversion! {
    pub(crate) fn layer_norm_rows(out: &mut [f32], x: &[f32], width: usize, eps: f32) {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let (mean, inverse) = moments(x, eps);
            for i in 0..width {
                out[i] = (x[i] - mean) * inverse;
            }
        }
    }
}

/// The mean and the inverse of the (population) standard deviation.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum1(x, |x| x) / n;
    let variance = sum1(x, |x| (x - mean) * (x - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

multiversion! {
    fn layer_norm_rows_backward(dx: &mut [f32], dy: &[f32], x: &[f32], width: usize, eps: f32) {
        let n = width as f32;
        for ((dx, dy), x) in dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width)) {
            let (mean, inverse) = moments(x, eps);
            let dmean = sum1(dy, |dy| dy) / n;
            let along = sum2(dy, x, |dy, x| dy * (x - mean) * inverse) / n;
            for i in 0..width {
                dx[i] = (dy[i] - dmean - (x[i] - mean) * inverse * along) * inverse;
            }
        }
    }
}

/// `(x - mean) / sqrt(var + eps)` of every row of `width` elements.
pub(crate) fn layer_norm(x: &[f32], width: usize, eps: f32) -> Vec<f32> {
    let mut out = simd::unwritten(x.len());
    let piece = CHUNK * width;
    out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| layer_norm_rows(out, x, width, eps));
    out
}

/// The gradient of [`layer_norm`] for its input.
pub(crate) fn layer_norm_backward(dy: &[f32], x: &[f32], width: usize, eps: f32) -> Vec<f32> {
    let mut dx = simd::unwritten(x.len());
    let piece = CHUNK * width;
    let inputs = dy.par_chunks(piece).zip(x.par_chunks(piece));
    dx.par_chunks_mut(piece).zip(inputs).for_each(|(dx, (dy, x))| layer_norm_rows_backward(dx, dy, x, width, eps));
    dx
}

multiversion! {
    pub(crate) fn gated_rows(out: &mut [f32], x: &[f32], gate: &[f32], gain: &[f32], eps: f32) {
        let width = gain.len();
        for ((out, x), gate) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gate.chunks_exact(width)) {
            let inverse = 1.0 / (sum1(x, |x| x * x) / width as f32 + eps).sqrt();
            for i in 0..width {
                out[i] = x[i] * inverse * gain[i] * gate[i] * simd::sigmoid(gate[i]);
            }
        }
    }
}

multiversion! {
    fn gated_rows_backward(
        dx: &mut [f32],
        dgate: &mut [f32],
        dgain: &mut [f32],
        dy: &[f32],
        x: &[f32],
        gate: &[f32],
        gain: &[f32],
        eps: f32,
    ) {
        let width = gain.len();
        let outputs = dx.chunks_exact_mut(width).zip(dgate.chunks_exact_mut(width));
        let inputs = dy.chunks_exact(width).zip(x.chunks_exact(width)).zip(gate.chunks_exact(width));
        for ((dx, dgate), ((dy, x), gate)) in outputs.zip(inputs) {
            let inverse = 1.0 / (sum1(x, |x| x * x) / width as f32 + eps).sqrt();
            for i in 0..width {
                let s = simd::sigmoid(gate[i]);
                let silu = gate[i] * s;
                let normed = x[i] * inverse;
                dgate[i] = dy[i] * normed * gain[i] * (s + silu * (1.0 - s));
                dgain[i] += dy[i] * silu * normed;
                dx[i] = dy[i] * silu * gain[i];
            }
            let pull = sum2(dx, x, |dx, x| dx * x) * inverse * inverse * inverse / width as f32;
            for i in 0..width {
                dx[i] = dx[i] * inverse - x[i] * pull;
            }
        }
    }
}

/// `rms_norm(x) * gain * silu(gate)` of every run of `gain.len()` elements: a head of a row.
pub(crate) fn gated_rms_norm(x: &[f32], gate: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let mut out = simd::unwritten(x.len());
    let piece = CHUNK * gain.len();
    let inputs = x.par_chunks(piece).zip(gate.par_chunks(piece));
    out.par_chunks_mut(piece).zip(inputs).for_each(|(out, (x, gate))| gated_rows(out, x, gate, gain, eps));
    out
}

/// The gradients of [`gated_rms_norm`] for `x`, the gate and the gain.
pub(crate) fn gated_rms_norm_backward(dy: &[f32], x: &[f32], gate: &[f32], gain: &[f32], eps: f32) -> [Vec<f32>; 3] {
    let (mut dx, mut dgate) = (simd::unwritten(x.len()), simd::unwritten(x.len()));
    let piece = CHUNK * gain.len();
    let inputs = dy.par_chunks(piece).zip(x.par_chunks(piece)).zip(gate.par_chunks(piece));
    let outputs = dx.par_chunks_mut(piece).zip(dgate.par_chunks_mut(piece));
    let partial: Vec<Vec<f32>> = outputs
        .zip(inputs)
        .map(|((dx, dgate), ((dy, x), gate))| {
            let mut dgain = vec![0.0; gain.len()];
            gated_rows_backward(dx, dgate, &mut dgain, dy, x, gate, gain, eps);
            dgain
        })
        .collect();
    [dx, dgate, ordered_sum(&partial, gain.len())]
}

/// Added to the sum of squares of a query or key of the delta rule before the root.
const L2_EPS: f32 = 1e-6;

multiversion! {
    pub(crate) fn unit_rows(out: &mut [f32], x: &[f32], width: usize, factor: f32) {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let scale = factor / (sum1(x, |x| x * x) + L2_EPS).sqrt();
            for i in 0..width {
                out[i] = x[i] * scale;
            }
        }
    }
}

multiversion! {
    fn unit_rows_backward(dx: &mut [f32], x: &[f32], width: usize, factor: f32) {
        for (dx, x) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let square = 1.0 / (sum1(x, |x| x * x) + L2_EPS);
            let inverse = square.sqrt() * factor;
            let pull = sum2(dx, x, |dx, x| dx * x) * inverse * square;
            for i in 0..width {
                dx[i] = dx[i] * inverse - x[i] * pull;
            }
        }
    }
}

/// `factor * x / sqrt(sum(x^2) + 1e-6)` of every head.
pub(crate) fn unit_norm(x: &[f32], head: usize, factor: f32) -> Vec<f32> {
    let mut out = simd::unwritten(x.len());
    let piece = CHUNK * head;
    out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| unit_rows(out, x, head, factor));
    out
}

/// Turns the gradient of [`unit_norm`]'s output into that of its input, in place.
pub(crate) fn unit_norm_backward(dx: &mut [f32], x: &[f32], head: usize, factor: f32) {
    let piece = CHUNK * head;
    dx.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(dx, x)| unit_rows_backward(dx, x, head, factor));
}
