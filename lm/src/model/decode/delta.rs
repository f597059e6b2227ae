//! A gated delta layer on new rows of several sequences, one token after the other.
//!
//! Per value head a state `S` `[d_k, d_v]` follows `S <- e^g S`, `w = beta (v - S^T k)`, `S <- S + k w^T`, `o = S^T q`
//! (Yang et al., arXiv 2412.06464, equation 10). A token costs as much as any other, whatever came before it.

use std::sync::Arc;

use super::Span;
use super::cache::{HeadState, Memory, Sequence};
use super::crew::Crew;
use super::packed::Packed;
use super::weights::{Named, Values};
use crate::config::GatedDelta;
use crate::kernels::convolution::taps_first;
use crate::kernels::delta_layer::softplus;
use crate::kernels::matmul::Target;
use crate::kernels::norms;
use crate::kernels::simd::{self, multiversion};

/// The weights of a gated delta layer.
#[derive(Clone, Debug)]
pub(super) struct DeltaLayer {
    shape: GatedDelta,
    /// Queries, keys, values, output gates, step sizes, write strengths.
    projections: Packed,
    /// Per key head the taps of its channels, `[K, channels]`, in the order of [`HeadState::recent`].
    taps: Vec<Vec<f32>>,
    /// `-e^A_log`, per value head.
    rates: Vec<f32>,
    dt_bias: Values,
    o_norm: Values,
    o: Packed,
}

/// New rows of one sequence for one key head.
struct Piece<'a> {
    head: &'a mut HeadState,
    key_head: usize,
    first_row: usize,
    n_rows: usize,
}

impl DeltaLayer {
    pub(super) fn new(named: &mut Named, place: &str, shape: &GatedDelta, hidden_size: usize) -> Self {
        let mut take = |name: &str| named.take(&format!("{place}.linear_attn.{name}"));
        let names = ["q_proj.weight", "k_proj.weight", "v_proj.weight", "g_proj.weight", "a_proj.weight", "b_proj.weight"];
        let parts = names.map(&mut take);
        let parts: Vec<&[f32]> = parts.iter().map(|part| &**part).collect();
        let projections = Packed::stack(&parts, hidden_size);
        let conv = take("conv1d.weight");
        let (key, dk) = (shape.key_width(), shape.key_head_dim);
        let values = shape.n_value_heads / shape.n_key_heads * shape.value_head_dim;
        let taps = (0..shape.n_key_heads).map(|head| {
            let channels = |from: usize, n: usize| &conv[from * shape.conv_size..(from + n) * shape.conv_size];
            let (q, k) = (channels(head * dk, dk), channels(key + head * dk, dk));
            taps_first(&[q, k, channels(2 * key + head * values, values)].concat(), shape.conv_size)
        });
        Self {
            shape: *shape,
            projections,
            taps: taps.collect(),
            rates: take("A_log").iter().map(|a| -a.exp()).collect(),
            dt_bias: take("dt_bias"),
            o_norm: take("o_norm.weight"),
            o: Packed::stack(&[&take("o_proj.weight")], shape.value_width()),
        }
    }

    /// Weights that a token reads.
    pub(super) fn active(&self) -> usize {
        self.projections.len() + self.o.len()
    }

    /// The layer's output `[n, d]` for new rows `x` `[n, d]` of `sequences`, whose layer `index` this is.
    pub(super) fn forward(
        &self,
        crew: &Crew,
        index: usize,
        x: &[f32],
        sequences: &mut [&mut Sequence],
        spans: &[Span],
    ) -> Vec<f32> {
        let projected = self.projections.apply(crew, x);
        let mut pieces = Vec::new();
        let mut first_row = 0;
        for (sequence, span) in sequences.iter_mut().zip(spans).filter(|(_, span)| span.len > 0) {
            let Memory::Delta(heads) = &mut sequence.layers[index] else { unreachable!("the layer has a delta rule") };
            for (key_head, head) in heads.iter_mut().enumerate() {
                pieces.push(Piece { head: Arc::make_mut(head), key_head, first_row, n_rows: span.len });
            }
            first_row += span.len;
        }
        let mut out = simd::unwritten(first_row * self.shape.value_width());
        let target = Target::rows(&mut out, self.shape.value_width());
        // SAFETY: pieces write different rows or the columns of different heads.
        crew.each(&mut pieces, |_, piece| unsafe { self.head(piece, &projected, target) });
        self.o.apply(crew, &out)
    }

    /// # Safety
    /// Nobody else accesses this piece's rows of the columns of its value heads in `out`.
    unsafe fn head(&self, piece: &mut Piece<'_>, projected: &[f32], out: Target) {
        let shape = &self.shape;
        let (dk, dv, key) = (shape.key_head_dim, shape.value_head_dim, shape.key_width());
        let group = shape.n_value_heads / shape.n_key_heads;
        let (channels, width) = (2 * dk + group * dv, self.projections.outputs());
        let gates = 2 * key + shape.value_width();
        let (steps, strengths) = (gates + shape.value_width(), gates + shape.value_width() + shape.n_value_heads);
        let strength = if shape.allow_negative_eigenvalues { 2.0 } else { 1.0 };
        let taps = &self.taps[piece.key_head];
        let HeadState { recent, states } = &mut *piece.head;
        let (mut now, mut mixed, mut unit) = (vec![0.0; channels], vec![0.0; channels], vec![0.0; 2 * dk]);
        let mut raw = vec![0.0; dv];
        for row in piece.first_row..piece.first_row + piece.n_rows {
            let row_of = &projected[row * width..(row + 1) * width];
            now[..dk].copy_from_slice(&row_of[piece.key_head * dk..][..dk]);
            now[dk..2 * dk].copy_from_slice(&row_of[key + piece.key_head * dk..][..dk]);
            now[2 * dk..].copy_from_slice(&row_of[2 * key + piece.key_head * group * dv..][..group * dv]);
            convolve(&mut mixed, recent, &now, taps);
            if !recent.is_empty() {
                recent.copy_within(channels.., 0);
                let last = recent.len() - channels;
                recent[last..].copy_from_slice(&now);
            }
            norms::unit_rows(&mut unit[..dk], &mixed[..dk], dk, 1.0 / (dk as f32).sqrt());
            norms::unit_rows(&mut unit[dk..], &mixed[dk..2 * dk], dk, 1.0);
            let (q, k) = unit.split_at(dk);
            for (i, state) in states.chunks_exact_mut(dk * dv).enumerate() {
                let head = piece.key_head * group + i;
                let decay = self.rates[head] * softplus(row_of[steps + head] + self.dt_bias[head]);
                let gate = &row_of[gates + head * dv..][..dv];
                let token = Token {
                    q,
                    k,
                    v: &mixed[2 * dk + i * dv..][..dv],
                    beta: strength * simd::sigmoid(row_of[strengths + head]),
                    kept: decay.exp(),
                };
                step(state, &mut raw, token);
                // SAFETY: this head's columns of this piece's row.
                let out = unsafe { std::slice::from_raw_parts_mut(out.at(row, head * dv).start, dv) };
                norms::gated_rows(out, &raw, gate, &self.o_norm, GatedDelta::OUTPUT_NORM_EPS as f32);
            }
        }
    }
}

multiversion! {
    /// The depthwise convolution of the recent tokens and this one, then SiLU.
    fn convolve(out: &mut [f32], recent: &[f32], now: &[f32], taps: &[f32]) {
        let n = now.len();
        out.fill(0.0);
        for (u, taps) in recent.chunks_exact(n).chain(std::iter::once(now)).zip(taps.chunks_exact(n)) {
            for i in 0..n {
                out[i] += u[i] * taps[i];
            }
        }
        for x in out {
            *x *= simd::sigmoid(*x);
        }
    }
}

/// One token of one value head.
#[derive(Clone, Copy)]
struct Token<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    /// Write strength.
    beta: f32,
    /// What is left of the state, `e^g`.
    kept: f32,
}

/// The rule for columns `at..at + N` of the state.
#[inline(always)]
fn step_columns<const N: usize>(state: &mut [f32], out: &mut [f32], token: Token<'_>, at: usize) {
    let Token { q, k, v, beta, kept } = token;
    let dv = v.len();
    let mut read = [0.0_f32; N];
    for (row, k) in state.chunks_exact(dv).zip(k) {
        let row: &[f32; N] = row[at..at + N].try_into().expect("N columns");
        for i in 0..N {
            read[i] += *k * row[i];
        }
    }
    let v: &[f32; N] = v[at..at + N].try_into().expect("N columns");
    for i in 0..N {
        read[i] = beta * (v[i] - kept * read[i]);
    }
    let mut sums = [0.0_f32; N];
    for ((row, k), q) in state.chunks_exact_mut(dv).zip(k).zip(q) {
        let row: &mut [f32; N] = (&mut row[at..at + N]).try_into().expect("N columns");
        for i in 0..N {
            row[i] = kept * row[i] + *k * read[i];
            sums[i] += *q * row[i];
        }
    }
    out[at..at + N].copy_from_slice(&sums);
}

multiversion! {
    /// One token of one head: changes `state` `[d_k, d_v]` and writes the output `[d_v]`.
    fn step(state: &mut [f32], out: &mut [f32], token: Token<'_>) {
        let mut at = 0;
        while at + 32 <= out.len() {
            step_columns::<32>(state, out, token, at);
            at += 32;
        }
        while at + 16 <= out.len() {
            step_columns::<16>(state, out, token, at);
            at += 16;
        }
        while at < out.len() {
            step_columns::<1>(state, out, token, at);
            at += 1;
        }
    }
}
