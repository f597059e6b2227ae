//! Causal softmax attention over heads laid out side by side, without storing the attention matrix.
//!
//! The forward pass keeps each row's log-partition function; the backward pass computes the probabilities again from it
//! (Dao et al., arXiv 2205.14135). One piece of work is one key head of one sequence with the query heads that read it,
//! so nothing is added across threads.

use rayon::prelude::*;

use super::matmul::{Packed, Precision, Target, View, Window, Write, product, product_packed};
use super::simd::{self, multiversion, sum2};

/// Query rows whose scores are held at once.
const BLOCK: usize = 64;
/// Where the keys of a block may begin: windows of packed operands begin there.
const ALIGN: usize = 32;

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
            let first_key = (start..end).map(|i| self.first_visible(sequence, i)).min().unwrap_or(0) / ALIGN * ALIGN;
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
pub(crate) fn forward(layout: Layout<'_>, q: &[f32], k: &[f32], v: &[f32], precision: Precision) -> (Vec<f32>, Vec<f32>) {
    let (t, d) = (layout.length, layout.head_dim);
    let mut out = simd::unwritten(q.len());
    let mut lse = simd::unwritten(layout.n_sequences * layout.n_heads * t);
    let target = Target::rows(&mut out, layout.query_width());
    let lse_target = Target::rows(&mut lse, t);
    let (q, k, v) = (View::rows(q, layout.query_width()), View::rows(k, layout.kv_width()), View::rows(v, layout.kv_width()));
    layout.pieces().for_each(|(sequence, kv)| {
        let mut scores = simd::unwritten(BLOCK * t);
        // SAFETY: the views lie inside the inputs.
        let (keys, values) = unsafe {
            let keys = k.at(sequence * t, kv * d).transpose();
            let values = v.at(sequence * t, kv * d);
            (Packed::on_this_thread(keys, [d, t], precision), Packed::on_this_thread(values, [t, d], precision))
        };
        for head in layout.readers(kv) {
            for block in layout.blocks(sequence) {
                let row = sequence * t + block.start;
                let seen = block.first_key..block.first_key + block.keys;
                let scores = &mut scores[..block.rows * block.keys];
                // SAFETY: the blocks are disjoint pieces of the output and lie inside the inputs.
                let lse = unsafe {
                    let window = Window { columns: seen.clone(), depth: 0..d };
                    let target = Target::rows(scores, block.keys);
                    product_packed(target, block.rows, q.at(row, head * d), &keys, window, Write::Set);
                    let lse = lse_target.at(sequence * layout.n_heads + head, block.start);
                    std::slice::from_raw_parts_mut(lse.start, block.rows)
                };
                for (r, (scores, lse)) in scores.chunks_exact_mut(block.keys).zip(lse).enumerate() {
                    let visible = layout.visible(sequence, &block, r);
                    *lse = softmax(scores, visible.start, visible.end, layout.scale());
                }
                // SAFETY: as above.
                unsafe {
                    let window = Window { columns: 0..d, depth: seen };
                    let scores = View::rows(scores, block.keys);
                    product_packed(target.at(row, head * d), block.rows, scores, &values, window, Write::Set);
                }
            }
        }
    });
    (out, lse)
}

multiversion! {
    /// Replaces `scores[start..end]` by its softmax after scaling, everything else by 0; returns the log-partition function.
    pub(crate) fn softmax(scores: &mut [f32], start: usize, end: usize, scale: f32) -> f32 {
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
pub(crate) fn backward(layout: Layout<'_>, dout: &[f32], saved: Saved<'_>, precision: Precision) -> [Vec<f32>; 3] {
    let (t, d, width, kv_width) = (layout.length, layout.head_dim, layout.query_width(), layout.kv_width());
    let mut dq = simd::unwritten(saved.q.len());
    let mut dk = vec![0.0; saved.k.len()];
    let mut dv = vec![0.0; saved.v.len()];
    let (to_q, to_k, to_v) = (Target::rows(&mut dq, width), Target::rows(&mut dk, kv_width), Target::rows(&mut dv, kv_width));
    let (q, k, v) = (View::rows(saved.q, width), View::rows(saved.k, kv_width), View::rows(saved.v, kv_width));
    let gradient = View::rows(dout, width);
    layout.pieces().for_each(|(sequence, kv)| {
        let (mut scores, mut grads) = (simd::unwritten(BLOCK * t), simd::unwritten(BLOCK * t));
        // SAFETY: the views lie inside the inputs.
        let (keys, to_scores, to_weights) = unsafe {
            let (keys, values) = (k.at(sequence * t, kv * d), v.at(sequence * t, kv * d));
            let pack = |view, size| Packed::on_this_thread(view, size, precision);
            (pack(keys, [t, d]), pack(keys.transpose(), [d, t]), pack(values.transpose(), [d, t]))
        };
        for head in layout.readers(kv) {
            for block in layout.blocks(sequence) {
                let (row, key, n) = (sequence * t + block.start, sequence * t + block.first_key, block.keys);
                let seen = block.first_key..block.first_key + n;
                let (scores, grads) = (&mut scores[..block.rows * n], &mut grads[..block.rows * n]);
                // SAFETY: all blocks lie inside the inputs; a piece writes only its own heads of the outputs.
                let (queries, upstream) = unsafe { (q.at(row, head * d), gradient.at(row, head * d)) };
                // SAFETY: as above.
                unsafe {
                    let window = Window { columns: seen.clone(), depth: 0..d };
                    product_packed(Target::rows(scores, n), block.rows, queries, &to_scores, window.clone(), Write::Set);
                    product_packed(Target::rows(grads, n), block.rows, upstream, &to_weights, window, Write::Set);
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
                    let window = Window { columns: 0..d, depth: seen };
                    product_packed(to_q.at(row, head * d), block.rows, View::rows(grads, n), &keys, window, Write::Set);
                    let size = [n, d, block.rows];
                    let (to_k, to_v) = (to_k.at(key, kv * d), to_v.at(key, kv * d));
                    product(to_k, size, View::transposed(grads, n), queries, Write::Add, precision);
                    product(to_v, size, View::transposed(scores, n), upstream, Write::Add, precision);
                }
            }
        }
    });
    [dq, dk, dv]
}
