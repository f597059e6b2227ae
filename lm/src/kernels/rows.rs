//! Operations that treat each row on its own: RMSNorm, rotary positions, SwiGLU, embedding rows.
//!
//! Rows are processed in chunks of [`CHUNK`] whatever the number of threads; gradients of gains are summed chunk by
//! chunk in order.

use rayon::prelude::*;

use super::simd::{self, multiversion, sum2, sum3};

/// Rows per parallel piece of work.
pub(crate) const CHUNK: usize = 128;

multiversion! {
    /// `out = x / sqrt(mean(x^2) + eps) * gain (+ residual)` for every row of the width of `gain`.
    pub(crate) fn norm_rows(out: &mut [f32], x: &[f32], gain: &[f32], residual: Option<&[f32]>, eps: f32) {
        let width = gain.len();
        for (row, (out, x)) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
            let inverse = inverse_rms(x, eps);
            match residual {
                Some(residual) => {
                    let residual = &residual[row * width..(row + 1) * width];
                    for i in 0..width {
                        out[i] = residual[i] + x[i] * inverse * gain[i];
                    }
                }
                None => {
                    for i in 0..width {
                        out[i] = x[i] * inverse * gain[i];
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (simd::sum1(x, |x| x * x) / x.len() as f32 + eps).sqrt()
}

multiversion! {
    /// Adds this chunk's gradient of the gain to `dgain` and writes that of the input.
    fn norm_rows_backward(dx: &mut [f32], dgain: &mut [f32], dy: &[f32], x: &[f32], gain: &[f32], eps: f32) {
        let width = gain.len();
        let rows = dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width));
        for ((dx, dy), x) in rows {
            let inverse = inverse_rms(x, eps);
            let along = sum3(dy, x, gain, |dy, x, gain| dy * x * gain);
            let pull = along * inverse * inverse * inverse / width as f32;
            for i in 0..width {
                dgain[i] += dy[i] * x[i] * inverse;
                dx[i] = dy[i] * gain[i] * inverse - x[i] * pull;
            }
        }
    }
}

/// `out = rms_norm(x) * gain`, plus `residual` where there is one.
pub(crate) fn rms_norm(out: &mut [f32], x: &[f32], gain: &[f32], residual: Option<&[f32]>, eps: f32) {
    let piece = CHUNK * gain.len();
    out.par_chunks_mut(piece).zip(x.par_chunks(piece)).enumerate().for_each(|(i, (out, x))| {
        let residual = residual.map(|all| &all[i * piece..i * piece + x.len()]);
        norm_rows(out, x, gain, residual, eps);
    });
}

/// The gradients of [`rms_norm`] for its input and its gain.
pub(crate) fn rms_norm_backward(dy: &[f32], x: &[f32], gain: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let mut dx = simd::unwritten(x.len());
    let piece = CHUNK * gain.len();
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(piece)
        .zip(dy.par_chunks(piece).zip(x.par_chunks(piece)))
        .map(|(dx, (dy, x))| {
            let mut dgain = vec![0.0; gain.len()];
            norm_rows_backward(dx, &mut dgain, dy, x, gain, eps);
            dgain
        })
        .collect();
    (dx, ordered_sum(&partial, gain.len()))
}

/// The sum of vectors, in order.
pub(crate) fn ordered_sum(parts: &[Vec<f32>], n: usize) -> Vec<f32> {
    let mut sum = vec![0.0; n];
    for part in parts {
        simd::add(&mut sum, part);
    }
    sum
}

/// Turning by the angle of the position, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// As attention needs it.
    Forward,
    /// The transpose: gradients on the way back.
    Backward,
}

multiversion! {
    /// Rotates every head of one row in place: `[x1 cos - x2 sin, x2 cos + x1 sin]` with the halves of a head.
    pub(crate) fn rotate_row(row: &mut [f32], cos: &[f32], sin: &[f32], turn: Turn) {
        let half = cos.len();
        let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
        for head in row.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            for i in 0..half {
                let (x1, x2, c, s) = (first[i], second[i], cos[i], sin[i] * sign);
                first[i] = x1 * c - x2 * s;
                second[i] = x2 * c + x1 * s;
            }
        }
    }
}

multiversion! {
    /// `out = silu(gate) * up`.
    pub(crate) fn swiglu(out: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = *gate * simd::sigmoid(*gate) * *up;
        }
    }
}

multiversion! {
    /// [`swiglu`] with its output in place of the gate.
    pub(crate) fn swiglu_in_place(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate * simd::sigmoid(*gate) * *up;
        }
    }
}

multiversion! {
    /// Replaces `gate` and `up` by the gradients of [`swiglu`], given that of its output.
    pub(crate) fn swiglu_backward(gate: &mut [f32], up: &mut [f32], dout: &[f32]) {
        for ((gate, up), dout) in gate.iter_mut().zip(up.iter_mut()).zip(dout) {
            let (g, u) = (*gate, *up);
            let s = simd::sigmoid(g);
            let silu = g * s;
            *gate = *dout * u * (s + silu * (1.0 - s));
            *up = *dout * silu;
        }
    }
}

/// Rows of `weight` (of `width` columns) picked by `ids`.
pub(crate) fn gather(weight: &[f32], ids: &[u32], width: usize) -> Vec<f32> {
    let mut out = simd::unwritten(ids.len() * width);
    out.par_chunks_mut(CHUNK * width).zip(ids.par_chunks(CHUNK)).for_each(|(out, ids)| {
        for (row, id) in out.chunks_exact_mut(width).zip(ids) {
            let start = *id as usize * width;
            row.copy_from_slice(&weight[start..start + width]);
        }
    });
    out
}

/// The gradient of [`gather`] for the weight: each row of `dy` is added to the row it came from, in order.
pub(crate) fn scatter_add(dy: &[f32], ids: &[u32], rows: usize, width: usize) -> Vec<f32> {
    let mut dweight = vec![0.0; rows * width];
    for (dy, id) in dy.chunks_exact(width).zip(ids) {
        let start = *id as usize * width;
        simd::add(&mut dweight[start..start + width], dy);
    }
    dweight
}

/// Constants of one AdamW update.
#[derive(Clone, Copy, Debug)]
pub struct UpdateScale {
    /// Learning rate.
    pub lr: f32,
    /// What weight decay leaves of the parameter, `1 - lr * wd`.
    pub keep: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// `1 / (1 - beta1^t)`.
    pub first_correction: f32,
    /// `1 / (1 - beta2^t)`.
    pub second_correction: f32,
    /// What gradients are multiplied by (clipping).
    pub gradient: f32,
}

multiversion! {
    fn adamw_piece(value: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], scale: UpdateScale) {
        let n = value.len();
        let (gradient, first, second) = (&gradient[..n], &mut first[..n], &mut second[..n]);
        for i in 0..n {
            let g = gradient[i] * scale.gradient;
            let m = first[i] * scale.beta1 + g * (1.0 - scale.beta1);
            let v = second[i] * scale.beta2 + g * g * (1.0 - scale.beta2);
            let denominator = (v * scale.second_correction).sqrt() + scale.eps;
            value[i] = value[i] * scale.keep - scale.lr * (m * scale.first_correction) / denominator;
            first[i] = m;
            second[i] = v;
        }
    }
}

/// One AdamW update in place.
pub(crate) fn adamw(value: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], scale: UpdateScale) {
    const PIECE: usize = 16_384;
    value
        .par_chunks_mut(PIECE)
        .zip(gradient.par_chunks(PIECE))
        .zip(first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE)))
        .for_each(|((value, gradient), (first, second))| adamw_piece(value, gradient, first, second, scale));
}

multiversion! {
    fn squares(values: &[f32]) -> f32 {
        sum2(values, values, |x, y| x * y)
    }
}

/// The sum of squares: single precision inside pieces of 4096, double across them, in order.
pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
    values.par_chunks(4096).map(|piece| f64::from(squares(piece))).collect::<Vec<_>>().into_iter().sum()
}
