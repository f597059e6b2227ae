//! The gated delta rule over chunks of tokens, forward and backward, and one token at a time for decoding.
//!
//! Per value head a state `S` `[d_k, d_v]` follows `S <- e^g S`, `S <- S + k (beta (v - S^T k))^T`, `o = S^T q`
//! (Yang et al., arXiv 2412.06464, equation 10). In chunks of [`CHUNK`] tokens with `G` the running sum of `g`:
//! `(I + A) V' = beta (V - e^G K S)` with `A = strict_lower(beta K K^T e^(G_i - G_j))`,
//! `O = e^G Q S + lower(Q K^T e^(G_i - G_j)) V'`, `S <- e^(G_C) S + (e^(G_C - G) K)^T V'` (section 3.3 there).
//! A piece of work is one key head of one sequence, so nothing is added across threads.

use rayon::prelude::*;

use super::matmul::{Precision, Target, View, Write, product};
use super::simd::{self, multiversion, sum2};

/// Tokens of a chunk.
const CHUNK: usize = 64;

/// The layout of all inputs: row-major, a row per token, heads side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) n_sequences: usize,
    pub(crate) length: usize,
    pub(crate) n_key_heads: usize,
    pub(crate) n_value_heads: usize,
    pub(crate) key_dim: usize,
    pub(crate) value_dim: usize,
    /// Per token, the first position of its document; the state starts anew there.
    pub(crate) visible_from: Option<&'a [u32]>,
}

/// Normalised queries (with their factor) and keys `[n, H_k d_k]`, values `[n, H_v d_v]`, write strengths and
/// log-decays `[n, H_v]`.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) g: &'a [f32],
}

/// What the backward pass needs: `V'` `[n, H_v d_v]` and, per sequence and value head, the state before each chunk.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    written: Vec<f32>,
    states: Vec<Vec<f32>>,
}

/// Gradients of [`Inputs`].
pub(crate) struct Gradients {
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    pub(crate) g: Vec<f32>,
}

/// Consecutive tokens of one document.
struct Chunk {
    /// First row, counted over all sequences.
    row: usize,
    /// Number of rows.
    rows: usize,
    /// Whether a document begins here.
    fresh: bool,
}

impl Layout<'_> {
    fn chunks(&self, sequence: usize) -> Vec<Chunk> {
        let first_row = sequence * self.length;
        let document = |t: usize| self.visible_from.map_or(0, |all| all[first_row + t]);
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < self.length {
            let limit = (start + CHUNK).min(self.length);
            let end = (start + 1..limit).find(|t| document(*t) != document(start)).unwrap_or(limit);
            let fresh = start == 0 || document(start) != document(start - 1);
            chunks.push(Chunk { row: first_row + start, rows: end - start, fresh });
            start = end;
        }
        chunks
    }

    fn group(&self) -> usize {
        self.n_value_heads / self.n_key_heads
    }

    fn key_width(&self) -> usize {
        self.n_key_heads * self.key_dim
    }

    fn value_width(&self) -> usize {
        self.n_value_heads * self.value_dim
    }
}

/// The decays of a chunk for one head.
struct Decay {
    /// Running sum of the log-decays.
    sum: Vec<f32>,
    /// Its exponential: what is left of the incoming state.
    from_start: Vec<f32>,
    /// What is left of each write at the end of the chunk.
    to_end: Vec<f32>,
}

impl Decay {
    fn of(chunk: &Chunk, inputs: &Inputs<'_>, n_heads: usize, head: usize) -> Self {
        let mut total = 0.0;
        let sum: Vec<f32> = (0..chunk.rows)
            .map(|i| {
                total += inputs.g[(chunk.row + i) * n_heads + head];
                total
            })
            .collect();
        let from_start = sum.iter().map(|g| g.exp()).collect();
        let to_end = sum.iter().map(|g| (total - g).exp()).collect();
        Self { sum, from_start, to_end }
    }

    fn whole(&self) -> f32 {
        self.from_start[self.from_start.len() - 1]
    }
}

multiversion! {
    /// Multiplies `scores[i][j]` by `row[i] * e^(sum[i] - sum[j])` below the diagonal (and on it), 0 above.
    fn decay_lower(scores: &mut [f32], sum: &[f32], row: Option<&[f32]>, diagonal: bool) {
        let n = sum.len();
        for (i, scores) in scores.chunks_exact_mut(n).enumerate() {
            let kept = if diagonal { i + 1 } else { i };
            let factor = row.map_or(1.0, |row| row[i]);
            for (x, s) in scores[..kept].iter_mut().zip(sum) {
                *x *= factor * simd::exp(sum[i] - *s);
            }
            scores[kept..].fill(0.0);
        }
    }
}

/// Solves `(I + A) X = B` in place for strictly lower triangular `A` `[n, n]` and `X` `[n, width]`.
fn solve_lower(a: &[f32], x: &mut [f32], n: usize, width: usize) {
    for i in 1..n {
        let (done, rest) = x.split_at_mut(i * width);
        for (j, row) in done.chunks_exact(width).enumerate() {
            simd::add_scaled(&mut rest[..width], row, -a[i * n + j]);
        }
    }
}

/// Solves `(I + A)^T X = B` in place.
fn solve_lower_transposed(a: &[f32], x: &mut [f32], n: usize, width: usize) {
    for i in (0..n).rev() {
        let (rest, done) = x.split_at_mut((i + 1) * width);
        for (j, row) in done.chunks_exact(width).enumerate() {
            simd::add_scaled(&mut rest[i * width..], row, -a[(i + 1 + j) * n + i]);
        }
    }
}

/// The matrices of a chunk that depend on its queries and keys only.
struct Scores {
    /// `strict_lower(beta K K^T decay)`.
    a: Vec<f32>,
    /// `lower(Q K^T decay)`.
    p: Vec<f32>,
}

fn transpose(view: View) -> View {
    View { start: view.start, row: view.column, column: view.row }
}

/// One value head of one chunk: where its rows stand in the inputs.
struct Place {
    q: View,
    k: View,
    rows: usize,
}

impl Place {
    fn of(layout: &Layout<'_>, inputs: &Inputs<'_>, chunk: &Chunk, key_head: usize) -> Self {
        let width = layout.key_width();
        // SAFETY: the chunk lies inside the inputs.
        let at = |values: &[f32]| unsafe { View::rows(values, width).at(chunk.row, key_head * layout.key_dim) };
        Self { q: at(inputs.q), k: at(inputs.k), rows: chunk.rows }
    }

    fn scores(&self, layout: &Layout<'_>, decay: &Decay, beta: &[f32]) -> Scores {
        let n = self.rows;
        let (mut a, mut p) = (simd::unwritten(n * n), simd::unwritten(n * n));
        let size = [n, n, layout.key_dim];
        // SAFETY: the views cover the chunk and the targets are this function's own.
        unsafe {
            product(Target::rows(&mut a, n), size, self.k, transpose(self.k), Write::Set, Precision::F32);
            product(Target::rows(&mut p, n), size, self.q, transpose(self.k), Write::Set, Precision::F32);
        }
        decay_lower(&mut a, &decay.sum, Some(beta), false);
        decay_lower(&mut p, &decay.sum, None, true);
        Scores { a, p }
    }
}

/// The rows of a strided view, each multiplied by a factor.
fn scaled_rows(view: View, factors: &[f32], width: usize) -> Vec<f32> {
    let mut out = simd::unwritten(factors.len() * width);
    for (i, (out, factor)) in out.chunks_exact_mut(width).zip(factors).enumerate() {
        // SAFETY: the view has as many rows as there are factors and `width` contiguous columns.
        out.copy_from_slice(unsafe { std::slice::from_raw_parts(view.at(i, 0).start, width) });
        simd::scale(out, *factor);
    }
    out
}

fn head_column(values: &[f32], chunk: &Chunk, n_heads: usize, head: usize) -> Vec<f32> {
    (0..chunk.rows).map(|i| values[(chunk.row + i) * n_heads + head]).collect()
}

/// Runs `f` over every `(sequence, key head)` in parallel, results in order.
fn pieces<T: Send>(layout: &Layout<'_>, f: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
    let heads = layout.n_key_heads;
    (0..layout.n_sequences * heads).into_par_iter().map(|i| f(i / heads, i % heads)).collect()
}

/// The outputs `[n, H_v d_v]` and what the backward pass needs.
pub(crate) fn forward(layout: Layout<'_>, inputs: Inputs<'_>) -> (Vec<f32>, Saved) {
    let (dk, dv, width) = (layout.key_dim, layout.value_dim, layout.value_width());
    let (mut out, mut written) = (simd::unwritten(inputs.v.len()), simd::unwritten(inputs.v.len()));
    let (to_out, to_written) = (Target::rows(&mut out, width), Target::rows(&mut written, width));
    let states = pieces(&layout, |sequence, key_head| {
        let group = layout.group();
        let heads = key_head * group..(key_head + 1) * group;
        heads
            .map(|head| {
                let mut state = vec![0.0; dk * dv];
                let mut states = Vec::new();
                for chunk in layout.chunks(sequence) {
                    if chunk.fresh {
                        state.fill(0.0);
                    }
                    states.extend_from_slice(&state);
                    let decay = Decay::of(&chunk, &inputs, layout.n_value_heads, head);
                    let beta = head_column(inputs.beta, &chunk, layout.n_value_heads, head);
                    let place = Place::of(&layout, &inputs, &chunk, key_head);
                    let Scores { a, p } = place.scores(&layout, &decay, &beta);
                    let n = chunk.rows;
                    let mut w = simd::unwritten(n * dv);
                    // SAFETY: the views cover the chunk; `w` is this closure's own.
                    unsafe {
                        product(
                            Target::rows(&mut w, dv),
                            [n, dv, dk],
                            place.k,
                            View::rows(&state, dv),
                            Write::Set,
                            Precision::F32,
                        );
                    }
                    for (i, w) in w.chunks_exact_mut(dv).enumerate() {
                        let v = &inputs.v[(chunk.row + i) * width + head * dv..][..dv];
                        correct(w, v, beta[i], decay.from_start[i]);
                    }
                    solve_lower(&a, &mut w, n, dv);
                    let carried = scaled_rows(place.q, &decay.from_start, dk);
                    let kept = scaled_rows(place.k, &decay.to_end, dk);
                    // SAFETY: a piece writes only its own heads of its own sequence.
                    unsafe {
                        let out = to_out.at(chunk.row, head * dv);
                        product(out, [n, dv, dk], View::rows(&carried, dk), View::rows(&state, dv), Write::Set, Precision::F32);
                        product(out, [n, dv, n], View::rows(&p, n), View::rows(&w, dv), Write::Add, Precision::F32);
                        for (i, w) in w.chunks_exact(dv).enumerate() {
                            let target = to_written.at(chunk.row + i, head * dv);
                            std::slice::from_raw_parts_mut(target.start, dv).copy_from_slice(w);
                        }
                        simd::scale(&mut state, decay.whole());
                        let keys = View::transposed(&kept, dk);
                        product(Target::rows(&mut state, dv), [dk, dv, n], keys, View::rows(&w, dv), Write::Add, Precision::F32);
                    }
                }
                states
            })
            .collect::<Vec<_>>()
    });
    (out, Saved { written, states: states.into_iter().flatten().collect() })
}

multiversion! {
    /// `read = beta * (v - decay * read)`.
    fn correct(read: &mut [f32], v: &[f32], beta: f32, decay: f32) {
        for (read, v) in read.iter_mut().zip(v) {
            *read = beta * (*v - decay * *read);
        }
    }
}

multiversion! {
    fn inner(a: &[f32], b: &[f32]) -> f32 {
        sum2(a, b, |x, y| x * y)
    }
}

/// The gradients of all inputs given that of the output.
pub(crate) fn backward(layout: Layout<'_>, dout: &[f32], inputs: Inputs<'_>, saved: &Saved) -> Gradients {
    let mut gradients = Gradients {
        q: vec![0.0; inputs.q.len()],
        k: vec![0.0; inputs.k.len()],
        v: vec![0.0; inputs.v.len()],
        beta: vec![0.0; inputs.beta.len()],
        g: vec![0.0; inputs.g.len()],
    };
    let to = Into {
        q: Target::rows(&mut gradients.q, layout.key_width()),
        k: Target::rows(&mut gradients.k, layout.key_width()),
        v: Target::rows(&mut gradients.v, layout.value_width()),
        beta: Target::rows(&mut gradients.beta, layout.n_value_heads),
        g: Target::rows(&mut gradients.g, layout.n_value_heads),
    };
    pieces(&layout, |sequence, key_head| {
        let group = layout.group();
        for head in key_head * group..(key_head + 1) * group {
            let states = &saved.states[sequence * layout.n_value_heads + head];
            // SAFETY: a piece writes only its own heads of its own sequence.
            unsafe { backward_head(&layout, &inputs, dout, saved, states, [sequence, key_head, head], to) };
        }
    });
    gradients
}

/// Where gradients go.
#[derive(Clone, Copy)]
struct Into {
    q: Target,
    k: Target,
    v: Target,
    beta: Target,
    g: Target,
}

/// # Safety
/// Nobody else writes the rows of this sequence and these heads.
unsafe fn backward_head(
    layout: &Layout<'_>,
    inputs: &Inputs<'_>,
    dout: &[f32],
    saved: &Saved,
    states: &[f32],
    [sequence, key_head, head]: [usize; 3],
    to: Into,
) {
    let (dk, dv, width) = (layout.key_dim, layout.value_dim, layout.value_width());
    let size = dk * dv;
    // The gradient of the state after the chunk at hand.
    let mut dstate = vec![0.0; size];
    let chunks = layout.chunks(sequence);
    for (index, chunk) in chunks.iter().enumerate().rev() {
        let n = chunk.rows;
        let state = &states[index * size..(index + 1) * size];
        let decay = Decay::of(chunk, inputs, layout.n_value_heads, head);
        let beta = head_column(inputs.beta, chunk, layout.n_value_heads, head);
        let place = Place::of(layout, inputs, chunk, key_head);
        let Scores { a, p } = place.scores(layout, &decay, &beta);
        // SAFETY: the chunk lies inside the inputs and outputs.
        let (dy, w, v, to_q, to_k, to_v) = unsafe {
            (
                View::rows(dout, width).at(chunk.row, head * dv),
                View::rows(&saved.written, width).at(chunk.row, head * dv),
                View::rows(inputs.v, width).at(chunk.row, head * dv),
                to.q.at(chunk.row, key_head * dk),
                to.k.at(chunk.row, key_head * dk),
                to.v.at(chunk.row, head * dv),
            )
        };
        let row = |view: View, i: usize| {
            // SAFETY: rows of these views are contiguous runs of `dv` elements inside the inputs.
            unsafe { std::slice::from_raw_parts(view.at(i, 0).start, dv) }
        };
        let kept = scaled_rows(place.k, &decay.to_end, dk);
        let mut dw = simd::unwritten(n * dv);
        let mut dp = simd::unwritten(n * n);
        let (mut dq_carried, mut dk_kept) = (simd::unwritten(n * dk), simd::unwritten(n * dk));
        // SAFETY: shapes as named; targets are this function's own.
        unsafe {
            // Through O = P V' and the state after the chunk.
            product(Target::rows(&mut dw, dv), [n, dv, n], View::transposed(&p, n), dy, Write::Set, Precision::F32);
            product(
                Target::rows(&mut dw, dv),
                [n, dv, dk],
                View::rows(&kept, dk),
                View::rows(&dstate, dv),
                Write::Add,
                Precision::F32,
            );
            product(Target::rows(&mut dp, n), [n, n, dv], dy, transpose(w), Write::Set, Precision::F32);
            // Q and K against states: dO S^T and V' dS^T.
            let transposed = View::transposed(state, dv);
            product(Target::rows(&mut dq_carried, dk), [n, dk, dv], dy, transposed, Write::Set, Precision::F32);
            product(Target::rows(&mut dk_kept, dk), [n, dk, dv], w, View::transposed(&dstate, dv), Write::Set, Precision::F32);
        }
        // `dw` becomes the gradient of the right-hand side R of (I + A) V' = R.
        solve_lower_transposed(&a, &mut dw, n, dv);
        let mut da = simd::unwritten(n * n);
        let mut read = simd::unwritten(n * dv);
        // SAFETY: as above.
        unsafe {
            product(Target::rows(&mut da, n), [n, n, dv], View::rows(&dw, dv), transpose(w), Write::Set, Precision::F32);
            product(Target::rows(&mut read, dv), [n, dv, dk], place.k, View::rows(state, dv), Write::Set, Precision::F32);
        }
        // Gradients of the running sums of g, of beta, and through them of g.
        let mut dsum = vec![0.0_f32; n];
        let mut dbeta = vec![0.0_f32; n];
        for i in 0..n {
            let da = &mut da[i * n..(i + 1) * n];
            let dp = &mut dp[i * n..(i + 1) * n];
            for j in 0..=i {
                // A = beta kk decay and P = qk decay: both depend on the sums through the decay.
                let below = if j < i { da[j] * a[i * n + j] } else { 0.0 };
                let through = dp[j] * p[i * n + j] - below;
                dsum[i] += through;
                dsum[j] -= through;
                let factor = (decay.sum[i] - decay.sum[j]).exp();
                dp[j] *= factor;
                if j < i {
                    if beta[i] != 0.0 {
                        dbeta[i] -= da[j] * a[i * n + j] / beta[i];
                    }
                    da[j] *= -beta[i] * factor;
                }
            }
            da[i..].fill(0.0);
            dp[i + 1..].fill(0.0);
        }
        // R = beta (V - e^G K S): `read` becomes the gradient of K S.
        for i in 0..n {
            let (dw, read) = (&dw[i * dv..(i + 1) * dv], &mut read[i * dv..(i + 1) * dv]);
            let along = inner(dw, read) * decay.from_start[i];
            dbeta[i] += inner(dw, row(v, i)) - along;
            dsum[i] -= beta[i] * along;
            for (read, dw) in read.iter_mut().zip(dw) {
                *read = -beta[i] * decay.from_start[i] * dw;
            }
            // SAFETY: a row of this head's gradient.
            let dv_row = unsafe { std::slice::from_raw_parts_mut(to_v.at(i, 0).start, dv) };
            for (out, dw) in dv_row.iter_mut().zip(dw) {
                *out = beta[i] * dw;
            }
        }
        // Q carried by e^G, K kept by e^(G_C - G): scale, and their part in the sums.
        let mut dwhole = inner(&dstate, state) * decay.whole();
        for i in 0..n {
            // SAFETY: rows of the inputs' heads.
            let (q, k) = unsafe {
                let at = |view: View| std::slice::from_raw_parts(view.at(i, 0).start, dk);
                (at(place.q), at(place.k))
            };
            let (dq, dk_row) = (&mut dq_carried[i * dk..(i + 1) * dk], &mut dk_kept[i * dk..(i + 1) * dk]);
            simd::scale(dq, decay.from_start[i]);
            simd::scale(dk_row, decay.to_end[i]);
            dsum[i] += inner(dq, q);
            let kept = inner(dk_row, k);
            dsum[i] -= kept;
            dwhole += kept;
        }
        dsum[n - 1] += dwhole;
        let carried = scaled_rows(place.q, &decay.from_start, dk);
        // SAFETY: as above; other value heads of this key head add to the same rows, one after the other.
        unsafe {
            let (mine_q, mine_k) = (Target::rows(&mut dq_carried, dk), Target::rows(&mut dk_kept, dk));
            product(mine_q, [n, dk, n], View::rows(&dp, n), place.k, Write::Add, Precision::F32);
            product(mine_k, [n, dk, n], View::transposed(&dp, n), place.q, Write::Add, Precision::F32);
            product(mine_k, [n, dk, n], View::rows(&da, n), place.k, Write::Add, Precision::F32);
            product(mine_k, [n, dk, n], View::transposed(&da, n), place.k, Write::Add, Precision::F32);
            product(mine_k, [n, dk, dv], View::rows(&read, dv), View::transposed(state, dv), Write::Add, Precision::F32);
            for i in 0..n {
                let at = |target: Target| std::slice::from_raw_parts_mut(target.at(i, 0).start, dk);
                simd::add(at(to_q), &dq_carried[i * dk..(i + 1) * dk]);
                simd::add(at(to_k), &dk_kept[i * dk..(i + 1) * dk]);
            }
            // The gradient of the state before the chunk; a document's first state depends on nothing.
            simd::scale(&mut dstate, decay.whole());
            let target = Target::rows(&mut dstate, dv);
            product(target, [dk, dv, n], View::transposed(&carried, dk), dy, Write::Add, Precision::F32);
            product(target, [dk, dv, n], transpose(place.k), View::rows(&read, dv), Write::Add, Precision::F32);
        }
        if chunk.fresh {
            dstate.fill(0.0);
        }
        let mut later = 0.0;
        for i in (0..n).rev() {
            later += dsum[i];
            // SAFETY: this head's column of this chunk's rows.
            unsafe {
                *to.g.at(chunk.row + i, head).start = later;
                *to.beta.at(chunk.row + i, head).start = dbeta[i];
            }
        }
    }
}
