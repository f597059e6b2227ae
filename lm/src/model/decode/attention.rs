//! An attention layer on new rows of several sequences, each with its own pages of keys and values.
//!
//! A row's scores and sums run over its own visible positions in order, so it has the same bits alone and among others.

use super::Span;
use super::cache::{Memory, PAGE, Pages, Sequence};
use super::crew::Crew;
use super::packed::Packed;
use super::weights::{Named, Values};
use crate::config::{Attention, Rope};
use crate::kernels::RopeTable;
use crate::kernels::attention::softmax;
use crate::kernels::rows::{self, Turn};
use crate::kernels::simd::{self, multiversion};

/// Positions whose rotations are kept.
const TABLE: usize = 4096;

/// Rotations of a layer: a table of the first positions, computed when asked for beyond.
#[derive(Clone, Debug)]
pub(super) struct Rotations {
    rope: Rope,
    head_dim: usize,
    table: RopeTable,
}

impl Rotations {
    /// The rotations of `rope`, shared with an earlier layer if there is one like it.
    pub(super) fn new(rope: Rope, head_dim: usize, length: usize, before: &[Self]) -> Self {
        let known = before.iter().find(|known| known.rope == rope && known.head_dim == head_dim);
        known.cloned().unwrap_or_else(|| Self { rope, head_dim, table: RopeTable::new(0, length.min(TABLE), head_dim, &rope) })
    }

    fn rotate(&self, row: &mut [f32], position: usize) {
        let half = self.head_dim / 2;
        match self.table.cos.get(position * half..(position + 1) * half) {
            Some(cos) => rows::rotate_row(row, cos, &self.table.sin[position * half..][..half], Turn::Forward),
            None => {
                let table = RopeTable::new(position, 1, self.head_dim, &self.rope);
                rows::rotate_row(row, &table.cos, &table.sin, Turn::Forward);
            }
        }
    }
}

/// The weights of an attention layer.
#[derive(Clone, Debug)]
pub(super) struct AttentionLayer {
    shape: Attention,
    eps: f32,
    /// Queries, keys, values.
    qkv: Packed,
    o: Packed,
    q_norm: Option<Values>,
    k_norm: Option<Values>,
    rotations: Option<Rotations>,
}

/// New rows of one sequence: its pages and what was projected for it.
struct Piece<'a> {
    pages: &'a mut Pages,
    start: usize,
    qkv: &'a mut [f32],
}

impl AttentionLayer {
    pub(super) fn new(
        named: &mut Named,
        place: &str,
        shape: &Attention,
        rotations: Option<Rotations>,
        (hidden_size, eps): (usize, f32),
    ) -> Self {
        let mut take = |name: &str| named.take(&format!("{place}.self_attn.{name}.weight"));
        let qkv = Packed::stack(&[&take("q_proj"), &take("k_proj"), &take("v_proj")], hidden_size);
        let o = Packed::stack(&[&take("o_proj")], shape.query_width());
        let mut norm = |name: &str| named.find(&format!("{place}.self_attn.{name}.weight"));
        Self { shape: *shape, eps, qkv, o, q_norm: norm("q_norm"), k_norm: norm("k_norm"), rotations }
    }

    pub(super) fn rotations(&self) -> Option<&Rotations> {
        self.rotations.as_ref()
    }

    /// Weights that a token reads.
    pub(super) fn active(&self) -> usize {
        self.qkv.len() + self.o.len()
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
        let (width, d) = (self.qkv.outputs(), self.shape.head_dim);
        let mut qkv = self.qkv.apply(crew, x);
        let mut rest = qkv.as_mut_slice();
        let mut pieces = Vec::with_capacity(spans.len());
        for (sequence, span) in sequences.iter_mut().zip(spans).filter(|(_, span)| span.len > 0) {
            let (qkv, after) = rest.split_at_mut(span.len * width);
            rest = after;
            let Memory::Attention(pages) = &mut sequence.layers[index] else { unreachable!("the layer has attention") };
            pieces.push(Piece { pages, start: span.start, qkv });
        }
        crew.each(&mut pieces, |_, piece| {
            for (i, row) in piece.qkv.chunks_exact_mut(width).enumerate() {
                self.store(row, piece.start + i, piece.pages, i == 0);
            }
        });
        let readers: Vec<(&Pages, usize, &[f32])> = pieces
            .iter()
            .flat_map(|piece| {
                let rows = piece.qkv.chunks_exact(width).enumerate();
                rows.map(|(i, row)| (&*piece.pages, piece.start + i, row))
            })
            .collect();
        let heads = self.shape.n_heads;
        let group = heads / self.shape.n_kv_heads;
        let mut out = simd::unwritten(readers.len() * self.shape.query_width());
        let mut outputs: Vec<&mut [f32]> = out.chunks_exact_mut(d).collect();
        crew.each(&mut outputs, |i, out| {
            let (pages, position, row) = readers[i / heads];
            let head = i % heads;
            attend(out, &row[head * d..(head + 1) * d], pages, head / group, position);
        });
        self.o.apply(crew, &out)
    }

    /// Norms, clamps and rotates the projections of one token in place and stores its key and value.
    fn store(&self, row: &mut [f32], position: usize, pages: &mut Pages, first: bool) {
        let (q, kv) = row.split_at_mut(self.shape.query_width());
        let (k, v) = kv.split_at_mut(self.shape.kv_width());
        for (values, gain) in [(&mut *q, &self.q_norm), (&mut *k, &self.k_norm)] {
            if let Some(gain) = gain {
                let raw = values.to_vec();
                rows::norm_rows(values, &raw, gain, None, self.eps);
            }
        }
        if let Some(clip) = self.shape.clip_qkv {
            let clip = clip as f32;
            q.iter_mut().chain(&mut *k).chain(&mut *v).for_each(|x| *x = x.clamp(-clip, clip));
        }
        if let Some(rotations) = &self.rotations {
            rotations.rotate(q, position);
            rotations.rotate(k, position);
        }
        if first {
            pages.forget_before(position);
        }
        pages.push(position, k, v);
    }
}

/// Attention of one query `[D]` of one head at `position` over the pages: `[D]`.
fn attend(out: &mut [f32], q: &[f32], pages: &Pages, kv_head: usize, position: usize) {
    let d = q.len();
    let head = kv_head * d * PAGE..(kv_head + 1) * d * PAGE;
    let first = pages.first_visible(position);
    let base = first / PAGE * PAGE;
    let mut scores = simd::unwritten((position + 1 - base).next_multiple_of(PAGE));
    let mut keys = pages.from(first).map(|page| &page.keys[head.clone()]).peekable();
    for scores in scores.as_chunks_mut::<PAGE>().0 {
        let page = keys.next().expect("there is a page for every 32 scores");
        if let Some(next) = keys.peek() {
            prefetch(next);
        }
        score(scores, q, page);
    }
    let mut values = pages.from(first).map(|page| &page.values[head.clone()]).peekable();
    if let Some(next) = values.peek() {
        prefetch(next);
    }
    let end = position + 1 - base;
    softmax(&mut scores[..end], first - base, end, 1.0 / (d as f32).sqrt());
    out.fill(0.0);
    for (i, scores) in scores[..end].chunks(PAGE).enumerate() {
        let page = values.next().expect("there is a page for every 32 scores");
        if let Some(next) = values.peek() {
            prefetch(next);
        }
        let from = (first - base).saturating_sub(i * PAGE);
        weigh(out, &scores[from..], &page[from * d..scores.len() * d]);
    }
}

/// Asks for a page that is needed soon: pages lie scattered, so the processor does not see them coming.
fn prefetch(values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: prefetching has no effect but on speed.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

multiversion! {
    /// Products of a query with the 32 keys of a page, `[D, 32]`.
    fn score(scores: &mut [f32; PAGE], q: &[f32], keys: &[f32]) {
        let mut sums = [0.0_f32; PAGE];
        for (q, keys) in q.iter().zip(keys.as_chunks::<PAGE>().0) {
            for half in 0..PAGE / 16 {
                let keys: &[f32; 16] = keys[half * 16..half * 16 + 16].try_into().expect("sixteen keys");
                let sums: &mut [f32; 16] = (&mut sums[half * 16..half * 16 + 16]).try_into().expect("sixteen sums");
                for i in 0..16 {
                    sums[i] += *q * keys[i];
                }
            }
        }
        *scores = sums;
    }
}

/// Adds columns `at..at + N` of the weighted sum of the rows of `values`.
#[inline(always)]
fn weigh_columns<const N: usize>(out: &mut [f32], weights: &[f32], values: &[f32], at: usize) {
    let d = out.len();
    let mut sums: [f32; N] = out[at..at + N].try_into().expect("N columns");
    for (weight, row) in weights.iter().zip(values.chunks_exact(d)) {
        let row: &[f32; N] = row[at..at + N].try_into().expect("N columns");
        for i in 0..N {
            sums[i] += *weight * row[i];
        }
    }
    out[at..at + N].copy_from_slice(&sums);
}

multiversion! {
    /// `out += sum over positions of weight * value` for `values` `[positions, D]`.
    fn weigh(out: &mut [f32], weights: &[f32], values: &[f32]) {
        let mut at = 0;
        while at + 64 <= out.len() {
            weigh_columns::<64>(out, weights, values, at);
            at += 64;
        }
        while at + 16 <= out.len() {
            weigh_columns::<16>(out, weights, values, at);
            at += 16;
        }
        while at < out.len() {
            weigh_columns::<1>(out, weights, values, at);
            at += 1;
        }
    }
}
