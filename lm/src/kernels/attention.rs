//! Causal softmax attention over heads laid out side by side, without storing the attention matrix.
//!
//! The forward pass keeps each row's log-partition function; the backward pass computes the probabilities again from it
//! (Dao et al., arXiv 2205.14135). One piece of work is one key head of one sequence with the query heads that read it,
//! so nothing is added across threads.

use rayon::prelude::*;

use super::matmul::{Target, View, Write, product};
use super::simd::{self, multiversion, sum2};

/// Query rows whose scores are held at once.
const BLOCK: usize = 64;

/// The layout of queries, keys and values: row-major, a row per token, heads side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) n_sequences: usize,
    pub(crate) length: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Per token, the first visible position of its sequence.
    pub(crate) visible_from: Option<&'a [u32]>,
    /// Keys a query sees at most, itself included.
    pub(crate) window: Option<usize>,
}

/// One block of query rows of one head and the keys it needs.
struct Block {
    /// First query row, counted in the sequence.
    start: usize,
    /// Number of query rows.
    rows: usize,
    /// First key any of the rows sees.
    first_key: usize,
    /// Number of keys from there to the last row itself.
    keys: usize,
}

impl<'a> Layout<'a> {
    fn query_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn first_visible(&self, sequence: usize, position: usize) -> usize {
        let document = self.visible_from.map_or(0, |all| all[sequence * self.length + position] as usize);
        self.window.map_or(document, |window| document.max((position + 1).saturating_sub(window)))
    }

    fn blocks(&self, sequence: usize) -> impl Iterator<Item = Block> + '_ {
        (0..self.length).step_by(BLOCK).map(move |start| {
            let end = (start + BLOCK).min(self.length);
            let first_key = (start..end).map(|i| self.first_visible(sequence, i)).min().unwrap_or(0);
            Block { start, rows: end - start, first_key, keys: end - first_key }
        })
    }

    /// The keys row `row` of `block` sees, counted from the block's first key.
    fn visible(&self, sequence: usize, block: &Block, row: usize) -> std::ops::Range<usize> {
        let position = block.start + row;
        self.first_visible(sequence, position) - block.first_key..position + 1 - block.first_key
    }

    /// `(sequence, key head)` of every piece of work.
    fn pieces(&self) -> impl IndexedParallelIterator<Item = (usize, usize)> {
        let heads = self.n_kv_heads;
        (0..self.n_sequences * heads).into_par_iter().map(move |i| (i / heads, i % heads))
    }

    /// The query heads that read key head `kv`.
    fn readers(&self, kv: usize) -> std::ops::Range<usize> {
        let group = self.n_heads / self.n_kv_heads;
        kv * group..(kv + 1) * group
    }
}

/// Attention of `q` `[n, H * D]` over `k` and `v` `[n, K * D]`: the output `[n, H * D]` and the log-partition function of
/// every row and head, `[sequence, head, position]`.
pub(crate) fn forward(layout: Layout<'_>, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (t, d) = (layout.length, layout.head_dim);
    let mut out = simd::unwritten(q.len());
    let mut lse = simd::unwritten(layout.n_sequences * layout.n_heads * t);
    let target = Target::rows(&mut out, layout.query_width());
    let lse_target = Target::rows(&mut lse, t);
    let (q, k, v) = (View::rows(q, layout.query_width()), View::rows(k, layout.kv_width()), View::rows(v, layout.kv_width()));
    layout.pieces().for_each(|(sequence, kv)| {
        let mut scores = simd::unwritten(BLOCK * t);
        for head in layout.readers(kv) {
            for block in layout.blocks(sequence) {
                let (row, key) = (sequence * t + block.start, sequence * t + block.first_key);
                let scores = &mut scores[..block.rows * block.keys];
                // SAFETY: the blocks are disjoint pieces of the output and lie inside the inputs.
                let lse = unsafe {
                    let queries = q.at(row, head * d);
                    let keys = k.at(key, kv * d);
                    let transposed = View { start: keys.start, row: keys.column, column: keys.row };
                    let size = [block.rows, block.keys, d];
                    product(Target::rows(scores, block.keys), size, queries, transposed, Write::Set);
                    let lse = lse_target.at(sequence * layout.n_heads + head, block.start);
                    std::slice::from_raw_parts_mut(lse.start, block.rows)
                };
                for (r, (scores, lse)) in scores.chunks_exact_mut(block.keys).zip(lse).enumerate() {
                    let visible = layout.visible(sequence, &block, r);
                    *lse = softmax(scores, visible.start, visible.end, layout.scale());
                }
                // SAFETY: as above.
                unsafe {
                    let size = [block.rows, d, block.keys];
                    let values = v.at(key, kv * d);
                    product(target.at(row, head * d), size, View::rows(scores, block.keys), values, Write::Set);
                }
            }
        }
    });
    (out, lse)
}

multiversion! {
    /// Replaces `scores[start..end]` by its softmax after scaling, everything else by 0; returns the log-partition function.
    fn softmax(scores: &mut [f32], start: usize, end: usize, scale: f32) -> f32 {
        scores[..start].fill(0.0);
        scores[end..].fill(0.0);
        let scores = &mut scores[start..end];
        let shift = simd::max(scores) * scale;
        for x in scores.iter_mut() {
            *x = simd::exp(*x * scale - shift);
        }
        let sum = simd::sum1(scores, |x| x);
        let inverse = 1.0 / sum;
        for x in scores.iter_mut() {
            *x *= inverse;
        }
        shift + sum.ln()
    }
}

multiversion! {
    /// Turns raw scores into probabilities and the gradients of the probabilities into those of the raw scores.
    fn softmax_backward(scores: &mut [f32], grads: &mut [f32], start: usize, end: usize, scale: f32, lse: f32, inner: f32) {
        scores[..start].fill(0.0);
        scores[end..].fill(0.0);
        grads[..start].fill(0.0);
        grads[end..].fill(0.0);
        for (x, g) in scores[start..end].iter_mut().zip(&mut grads[start..end]) {
            let p = simd::exp(*x * scale - lse);
            *g = p * (*g - inner) * scale;
            *x = p;
        }
    }
}

multiversion! {
    fn inner_product(a: &[f32], b: &[f32]) -> f32 {
        sum2(a, b, |x, y| x * y)
    }
}

/// What the forward pass kept.
#[derive(Clone, Copy)]
pub(crate) struct Saved<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) out: &'a [f32],
    pub(crate) lse: &'a [f32],
}

/// The gradients for queries, keys and values.
pub(crate) fn backward(layout: Layout<'_>, dout: &[f32], saved: Saved<'_>) -> [Vec<f32>; 3] {
    let (t, d, width, kv_width) = (layout.length, layout.head_dim, layout.query_width(), layout.kv_width());
    let mut dq = simd::unwritten(saved.q.len());
    let mut dk = vec![0.0; saved.k.len()];
    let mut dv = vec![0.0; saved.v.len()];
    let (to_q, to_k, to_v) = (Target::rows(&mut dq, width), Target::rows(&mut dk, kv_width), Target::rows(&mut dv, kv_width));
    let (q, k, v) = (View::rows(saved.q, width), View::rows(saved.k, kv_width), View::rows(saved.v, kv_width));
    let gradient = View::rows(dout, width);
    layout.pieces().for_each(|(sequence, kv)| {
        let (mut scores, mut grads) = (simd::unwritten(BLOCK * t), simd::unwritten(BLOCK * t));
        for head in layout.readers(kv) {
            for block in layout.blocks(sequence) {
                let (row, key, n) = (sequence * t + block.start, sequence * t + block.first_key, block.keys);
                let (scores, grads) = (&mut scores[..block.rows * n], &mut grads[..block.rows * n]);
                let transpose = |view: View| View { start: view.start, row: view.column, column: view.row };
                // SAFETY: all blocks lie inside the inputs; a piece writes only its own heads of the outputs.
                unsafe {
                    let size = [block.rows, n, d];
                    let keys = transpose(k.at(key, kv * d));
                    product(Target::rows(scores, n), size, q.at(row, head * d), keys, Write::Set);
                    let values = transpose(v.at(key, kv * d));
                    product(Target::rows(grads, n), size, gradient.at(row, head * d), values, Write::Set);
                }
                for (r, (scores, grads)) in scores.chunks_exact_mut(n).zip(grads.chunks_exact_mut(n)).enumerate() {
                    let at = (row + r) * width + head * d;
                    let inner = inner_product(&dout[at..at + d], &saved.out[at..at + d]);
                    let lse = saved.lse[(sequence * layout.n_heads + head) * t + block.start + r];
                    let visible = layout.visible(sequence, &block, r);
                    softmax_backward(scores, grads, visible.start, visible.end, layout.scale(), lse, inner);
                }
                // SAFETY: as above.
                unsafe {
                    let size = [block.rows, d, n];
                    product(to_q.at(row, head * d), size, View::rows(grads, n), k.at(key, kv * d), Write::Set);
                    let size = [n, d, block.rows];
                    let queries = q.at(row, head * d);
                    product(to_k.at(key, kv * d), size, View::transposed(grads, n), queries, Write::Add);
                    let gradient = gradient.at(row, head * d);
                    product(to_v.at(key, kv * d), size, View::transposed(scores, n), gradient, Write::Add);
                }
            }
        }
    });
    [dq, dk, dv]
}

/// Attention of one query row `[H * D]` over cached keys and values `[positions, K * D]`, written to `out`.
pub(crate) fn one_row(layout: Layout<'_>, out: &mut [f32], q: &[f32], k: &[f32], v: &[f32]) {
    let (d, width) = (layout.head_dim, layout.kv_width());
    let positions = k.len() / width;
    let mut scores = vec![0.0; positions];
    for kv in 0..layout.n_kv_heads {
        for head in layout.readers(kv) {
            let q = &q[head * d..(head + 1) * d];
            for (score, key) in scores.iter_mut().zip(k.chunks_exact(width)) {
                *score = inner_product(q, &key[kv * d..(kv + 1) * d]);
            }
            softmax(&mut scores, 0, positions, layout.scale());
            let out = &mut out[head * d..(head + 1) * d];
            out.fill(0.0);
            for (p, value) in scores.iter().zip(v.chunks_exact(width)) {
                simd::add_scaled(out, &value[kv * d..(kv + 1) * d], *p);
            }
        }
    }
}
