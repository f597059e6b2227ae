//! The causal depthwise convolution with SiLU in front of a gated delta rule.
//!
//! Tap `K - 1` multiplies the token itself; taps that would reach before a document or sequence count as 0.

use rayon::prelude::*;

use super::simd::{self, multiversion};

/// Where the rows of a sequence stop seeing each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// Tokens per sequence.
    pub(crate) length: usize,
    /// Per token, the first position of its sequence that belongs to its document.
    pub(crate) visible_from: Option<&'a [u32]>,
}

impl Rows<'_> {
    /// Taps before the token itself that row `row` of all rows may use, of at most `most`.
    fn reach(&self, row: usize, most: usize) -> usize {
        let position = row % self.length;
        let first = self.visible_from.map_or(0, |all| all[row] as usize);
        most.min(position - first)
    }
}

/// `[channels, taps]` to `[taps, channels]`.
pub(crate) fn taps_first(weight: &[f32], taps: usize) -> Vec<f32> {
    let channels = weight.len() / taps;
    (0..taps * channels).map(|i| weight[i % channels * taps + i / channels]).collect()
}

multiversion! {
    fn multiply_add(into: &mut [f32], a: &[f32], b: &[f32]) {
        for ((x, a), b) in into.iter_mut().zip(a).zip(b) {
            *x += *a * *b;
        }
    }
}

multiversion! {
    fn silu(out: &mut [f32], z: &[f32]) {
        for (out, z) in out.iter_mut().zip(z) {
            *out = *z * simd::sigmoid(*z);
        }
    }
}

multiversion! {
    fn silu_backward(dy: &mut [f32], z: &[f32]) {
        for (dy, z) in dy.iter_mut().zip(z) {
            let s = simd::sigmoid(*z);
            *dy *= s + *z * s * (1.0 - s);
        }
    }
}

/// `silu` of every element.
pub(crate) fn activate(z: &[f32]) -> Vec<f32> {
    let mut out = simd::unwritten(z.len());
    out.par_chunks_mut(1 << 14).zip(z.par_chunks(1 << 14)).for_each(|(out, z)| silu(out, z));
    out
}

/// The convolution of `u` `[n, channels]` with `taps` `[K, channels]`, before the SiLU.
pub(crate) fn forward(rows: Rows<'_>, u: &[f32], taps: &[f32], channels: usize) -> Vec<f32> {
    let most = taps.len() / channels - 1;
    let mut z = simd::unwritten(u.len());
    z.par_chunks_mut(rows.length * channels).enumerate().for_each(|(sequence, z)| {
        for (t, z) in z.chunks_exact_mut(channels).enumerate() {
            let row = sequence * rows.length + t;
            z.fill(0.0);
            for back in (0..=rows.reach(row, most)).rev() {
                let tap = &taps[(most - back) * channels..][..channels];
                multiply_add(z, &u[(row - back) * channels..][..channels], tap);
            }
        }
    });
    z
}

/// The gradients for `u` and the taps `[K, channels]`, given that of the activated output, which is used up.
pub(crate) fn backward(
    rows: Rows<'_>,
    mut dy: Vec<f32>,
    z: &[f32],
    u: &[f32],
    taps: &[f32],
    channels: usize,
) -> (Vec<f32>, Vec<f32>) {
    let most = taps.len() / channels - 1;
    let mut du = vec![0.0; u.len()];
    let piece = rows.length * channels;
    let partial: Vec<Vec<f32>> = du
        .par_chunks_mut(piece)
        .zip(dy.par_chunks_mut(piece).zip(z.par_chunks(piece)))
        .enumerate()
        .map(|(sequence, (du, (dz, z)))| {
            silu_backward(dz, z);
            let mut dtaps = vec![0.0; taps.len()];
            for (t, dz) in dz.chunks_exact(channels).enumerate() {
                let row = sequence * rows.length + t;
                for back in (0..=rows.reach(row, most)).rev() {
                    let tap = (most - back) * channels;
                    multiply_add(&mut dtaps[tap..][..channels], dz, &u[(row - back) * channels..][..channels]);
                    multiply_add(&mut du[(t - back) * channels..][..channels], dz, &taps[tap..][..channels]);
                }
            }
            dtaps
        })
        .collect();
    (du, super::rows::ordered_sum(&partial, taps.len()))
}
