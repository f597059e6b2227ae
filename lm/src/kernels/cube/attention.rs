//! Causal attention over blocks of query rows, with grouped heads, a sliding window and document masks.
//!
//! A block of queries meets the keys it may see in one matrix product on the device's matrix units; a kernel turns the
//! scores of each row into probabilities and keeps the row's log-sum-exp, so that the backward pass recomputes them
//! (Dao et al., arXiv 2205.14135). No matrix of all queries by all keys ever exists. Gradients of keys and values are
//! added up in 32 bits, block after block: no atomics, the same bits every time.

use burn::tensor::DType;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::launch::{ROW_UNITS, arg, cube_max, cube_sum, elem, per_element, per_row, unwritten, upload, whole, zeroed};
use super::{Attend, Turned};

/// Scores of one block take at most this many elements, if a block of 64 queries does not take more already.
const SCORES: usize = 1 << 26;

/// What happens to what is in memory already.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Write {
    /// It is overwritten.
    Set,
    /// It is added to.
    Add,
}

/// What a kernel needs to know about a block of scores `[B * K, G * rows, keys]`.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// First query of the block in its sequence.
    first: usize,
    /// Queries of the block.
    rows: usize,
    /// First key of the block in its sequence.
    first_key: usize,
    /// Keys of the block.
    keys: usize,
}

/// The blocks of queries of a sequence.
fn blocks(shape: &Attend) -> Vec<Block> {
    let per_query = shape.n_sequences * shape.n_heads * shape.length;
    let rows = (SCORES / per_query.max(1)).clamp(64, 1024) / 64 * 64;
    (0..shape.length)
        .step_by(rows)
        .map(|first| {
            let rows = rows.min(shape.length - first);
            // A window of w lets query i see keys i - w + 1 to i. Whole multiples of 64 keep the shapes few.
            let first_key = shape.window.map_or(0, |window| (first + 1).saturating_sub(window) / 64 * 64);
            Block { first, rows, first_key, keys: first + rows - first_key }
        })
        .collect()
}

#[cube(launch)]
fn gather_kernel<F: Float>(
    source: &[F],
    out: &mut [F],
    total: usize,
    length: usize,
    first: usize,
    rows: usize,
    kv_heads: usize,
    group: usize,
    head_dim: usize,
    #[define(F)] _dtype: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let d = at % head_dim;
        let line = at / head_dim;
        let row = line % rows;
        let head = line / rows;
        let within = head % group;
        let pair = head / group;
        let token = (pair / kv_heads) * length + first + row;
        let column = ((pair % kv_heads) * group + within) * head_dim + d;
        out[at] = source[token * kv_heads * group * head_dim + column];
    }
}

/// Rows `first..first + rows` of every sequence of `source` `[n, K * group * D]`, head after head:
/// `[B * K, group * rows, D]`.
fn gather(source: &CubeTensor, shape: &Attend, first: usize, rows: usize, group: usize) -> CubeTensor {
    let pairs = shape.n_sequences * shape.n_kv_heads;
    let out = unwritten(source, &[pairs, group * rows, shape.head_dim], source.dtype);
    let total = pairs * group * rows * shape.head_dim;
    let (count, dim) = per_element(source, total);
    gather_kernel::launch(
        &source.client,
        count,
        dim,
        arg(source),
        arg(&out),
        total,
        shape.length,
        first,
        rows,
        shape.n_kv_heads,
        group,
        shape.head_dim,
        elem(source),
    );
    out
}

#[cube(launch)]
fn scatter_kernel<S: Float, F: Float>(
    source: &[S],
    out: &mut [F],
    total: usize,
    length: usize,
    first: usize,
    rows: usize,
    kv_heads: usize,
    group: usize,
    head_dim: usize,
    #[comptime] adds: bool,
    #[define(S, F)] _dtypes: [ElemType; 2],
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let d = at % head_dim;
        let line = at / head_dim;
        let row = line % rows;
        let head = line / rows;
        let within = head % group;
        let pair = head / group;
        let token = (pair / kv_heads) * length + first + row;
        let column = ((pair % kv_heads) * group + within) * head_dim + d;
        let target = token * kv_heads * group * head_dim + column;
        if adds {
            out[target] += F::cast_from(source[at]);
        } else {
            out[target] = F::cast_from(source[at]);
        }
    }
}

/// The opposite of `gather`, into `out` `[n, K * group * D]`.
fn scatter(source: &CubeTensor, out: &CubeTensor, shape: &Attend, first: usize, rows: usize, group: usize, write: Write) {
    let total = shape.n_sequences * shape.n_kv_heads * group * rows * shape.head_dim;
    let (count, dim) = per_element(source, total);
    scatter_kernel::launch(
        &source.client,
        count,
        dim,
        arg(source),
        arg(out),
        total,
        shape.length,
        first,
        rows,
        shape.n_kv_heads,
        group,
        shape.head_dim,
        write == Write::Add,
        [elem(source), elem(out)],
    );
}

/// The first key of its sequence that `token` at position `query` sees.
#[cube]
fn first_seen(visible_from: &[u32], token: usize, query: usize, window: usize, #[comptime] documents: bool) -> usize {
    let mut first = 0usize;
    if query + 1 > window {
        first = query + 1 - window;
    }
    if documents {
        let start = visible_from[token] as usize;
        if start > first {
            first = start;
        }
    }
    first
}

#[cube(launch)]
fn probabilities_kernel<F: Float>(
    scores: &[f32],
    visible_from: &[u32],
    probabilities: &mut [F],
    lse: &mut [f32],
    lines: usize,
    length: usize,
    first: usize,
    rows: usize,
    first_key: usize,
    keys: usize,
    kv_heads: usize,
    group: usize,
    window: usize,
    scale: f32,
    #[comptime] documents: bool,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let line = CUBE_POS;
    if line >= lines {
        terminate!();
    }
    let query = first + line % rows;
    let head = line / rows;
    let pair = head / group;
    let token = (pair / kv_heads) * length + query;
    let from = first_seen(visible_from, token, query, window, documents) - first_key;
    let to = query + 1 - first_key;
    let start = line * keys;
    let mut most = scores[start + to - 1] * scale;
    let mut i = from + UNIT_POS as usize;
    while i < to {
        let score = scores[start + i] * scale;
        if score > most {
            most = score;
        }
        i += units;
    }
    let most = cube_max(most, units);
    let mut sum = 0.0f32;
    let mut i = from + UNIT_POS as usize;
    while i < to {
        sum += (scores[start + i] * scale - most).exp();
        i += units;
    }
    let sum = cube_sum(sum, units);
    let mut i = UNIT_POS as usize;
    while i < keys {
        let mut p = 0.0f32;
        if i >= from && i < to {
            p = (scores[start + i] * scale - most).exp() / sum;
        }
        probabilities[start + i] = F::cast_from(p);
        i += units;
    }
    if UNIT_POS == 0 {
        lse[token * kv_heads * group + (pair % kv_heads) * group + head % group] = most + sum.ln();
    }
}

#[cube(launch)]
fn score_gradient_kernel<F: Float>(
    scores: &[f32],
    upstream: &[f32],
    visible_from: &[u32],
    lse: &[f32],
    delta: &[f32],
    probabilities: &mut [F],
    gradient: &mut [F],
    total: usize,
    length: usize,
    first: usize,
    rows: usize,
    first_key: usize,
    keys: usize,
    kv_heads: usize,
    group: usize,
    window: usize,
    scale: f32,
    #[comptime] documents: bool,
    #[define(F)] _dtype: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let line = at / keys;
        let key = first_key + at % keys;
        let query = first + line % rows;
        let head = line / rows;
        let pair = head / group;
        let token = (pair / kv_heads) * length + query;
        let mut p = 0.0f32;
        let mut g = 0.0f32;
        if key <= query && key >= first_seen(visible_from, token, query, window, documents) {
            let entry = token * kv_heads * group + (pair % kv_heads) * group + head % group;
            p = (scores[at] * scale - lse[entry]).exp();
            g = p * (upstream[at] - delta[entry]) * scale;
        }
        probabilities[at] = F::cast_from(p);
        gradient[at] = F::cast_from(g);
    }
}

#[cube(launch)]
fn delta_kernel<F: Float>(
    out: &[F],
    dout: &[F],
    delta: &mut [f32],
    lines: usize,
    head_dim: usize,
    #[define(F)] _dtype: ElemType,
) {
    let line = ABSOLUTE_POS;
    if line < lines {
        let mut sum = 0.0f32;
        let mut d = 0usize;
        while d < head_dim {
            sum += f32::cast_from(out[line * head_dim + d]) * f32::cast_from(dout[line * head_dim + d]);
            d += 1;
        }
        delta[line] = sum;
    }
}

/// `a b`, or `a b^T`, or `a^T b` of batches of matrices, as `dtype`.
pub(super) fn product(a: CubeTensor, b: CubeTensor, turned: Turned, dtype: DType) -> CubeTensor {
    let flip = |mut tensor: CubeTensor| {
        let rank = tensor.meta.shape().num_dims();
        tensor.meta.swap(rank - 2, rank - 1);
        tensor
    };
    let (a, b) = match turned {
        Turned::None => (a, b),
        Turned::Left => (flip(a), b),
        Turned::Right => (a, flip(b)),
    };
    // The result is made here because Burn would leave gaps between its rows.
    let rank = a.meta.shape().num_dims();
    let mut shape = a.meta.shape().to_vec();
    shape[rank - 1] = b.meta.shape()[rank - 1];
    let out = unwritten(&a, &shape, dtype);
    matmul(a, b, Some(out), MatmulStrategy::default(), dtype).expect("the shapes of a product fit")
}

/// The masks of a batch on the device; one unused number where there are none.
fn masks(like: &CubeTensor, shape: &Attend) -> CubeTensor {
    upload(like, shape.visible_from.as_deref().unwrap_or(&[0]))
}

/// Attention of queries `[n, H * D]` to keys and values `[n, K * D]`: `[n, H * D]`, and the log-sum-exp of every
/// query's scores, `[n, H]`.
pub(super) fn attend(q: CubeTensor, k: CubeTensor, v: CubeTensor, shape: &Attend) -> (CubeTensor, CubeTensor) {
    let [q, k, v] = [q, k, v].map(whole);
    let n = shape.n_sequences * shape.length;
    let group = shape.n_heads / shape.n_kv_heads;
    let pairs = shape.n_sequences * shape.n_kv_heads;
    let out = unwritten(&q, &[n, shape.n_heads * shape.head_dim], q.dtype);
    let lse = unwritten(&q, &[n, shape.n_heads], DType::F32);
    let visible_from = masks(&q, shape);
    for block in blocks(shape) {
        let Block { first, rows, first_key, keys } = block;
        let queries = gather(&q, shape, first, rows, group);
        let seen = gather(&k, shape, first_key, keys, 1);
        let scores = product(queries, seen, Turned::Right, DType::F32);
        let probabilities = unwritten(&q, &[pairs, group * rows, keys], q.dtype);
        let (count, dim) = per_row(pairs * group * rows);
        probabilities_kernel::launch(
            &q.client,
            count,
            dim,
            arg(&scores),
            arg(&visible_from),
            arg(&probabilities),
            arg(&lse),
            pairs * group * rows,
            shape.length,
            first,
            rows,
            first_key,
            keys,
            shape.n_kv_heads,
            group,
            shape.window.unwrap_or(shape.length),
            shape.scale(),
            shape.visible_from.is_some(),
            ROW_UNITS as usize,
            elem(&q),
        );
        let values = gather(&v, shape, first_key, keys, 1);
        let heads = product(probabilities, values, Turned::None, q.dtype);
        scatter(&heads, &out, shape, first, rows, group, Write::Set);
    }
    (out, lse)
}

/// What the forward pass read and made.
pub(super) struct Attended {
    pub(super) q: CubeTensor,
    pub(super) k: CubeTensor,
    pub(super) v: CubeTensor,
    pub(super) out: CubeTensor,
    pub(super) lse: CubeTensor,
}

/// Gradients of `attend` for queries, keys and values, from that of its result.
pub(super) fn attend_backward(of: Attended, dout: CubeTensor, shape: &Attend) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [q, k, v, out, lse, dout] = [of.q, of.k, of.v, of.out, of.lse, dout].map(whole);
    let n = shape.n_sequences * shape.length;
    let group = shape.n_heads / shape.n_kv_heads;
    let pairs = shape.n_sequences * shape.n_kv_heads;
    let dq = unwritten(&q, &[n, shape.n_heads * shape.head_dim], q.dtype);
    let kv_shape = [n, shape.n_kv_heads * shape.head_dim];
    let (dk, dv) = (zeroed(&q, &kv_shape, DType::F32), zeroed(&q, &kv_shape, DType::F32));
    let delta = unwritten(&q, &[n, shape.n_heads], DType::F32);
    let (count, dim) = per_element(&q, n * shape.n_heads);
    delta_kernel::launch(&q.client, count, dim, arg(&out), arg(&dout), arg(&delta), n * shape.n_heads, shape.head_dim, elem(&q));
    let visible_from = masks(&q, shape);
    for block in blocks(shape) {
        let Block { first, rows, first_key, keys } = block;
        let queries = gather(&q, shape, first, rows, group);
        let from_above = gather(&dout, shape, first, rows, group);
        let seen = gather(&k, shape, first_key, keys, 1);
        let values = gather(&v, shape, first_key, keys, 1);
        let scores = product(queries.clone(), seen.clone(), Turned::Right, DType::F32);
        let upstream = product(from_above.clone(), values, Turned::Right, DType::F32);
        let probabilities = unwritten(&q, &[pairs, group * rows, keys], q.dtype);
        let gradient = unwritten(&q, &[pairs, group * rows, keys], q.dtype);
        let total = pairs * group * rows * keys;
        let (count, dim) = per_element(&q, total);
        score_gradient_kernel::launch(
            &q.client,
            count,
            dim,
            arg(&scores),
            arg(&upstream),
            arg(&visible_from),
            arg(&lse),
            arg(&delta),
            arg(&probabilities),
            arg(&gradient),
            total,
            shape.length,
            first,
            rows,
            first_key,
            keys,
            shape.n_kv_heads,
            group,
            shape.window.unwrap_or(shape.length),
            shape.scale(),
            shape.visible_from.is_some(),
            elem(&q),
        );
        drop((scores, upstream));
        let of_queries = product(gradient.clone(), seen, Turned::None, q.dtype);
        scatter(&of_queries, &dq, shape, first, rows, group, Write::Set);
        let of_keys = product(gradient, queries, Turned::Left, DType::F32);
        scatter(&of_keys, &dk, shape, first_key, keys, 1, Write::Add);
        let of_values = product(probabilities, from_above, Turned::Left, DType::F32);
        scatter(&of_values, &dv, shape, first_key, keys, 1, Write::Add);
    }
    let narrow = |tensor: CubeTensor| burn_cubecl::kernel::cast(tensor, q.dtype);
    (dq, narrow(dk), narrow(dv))
}
