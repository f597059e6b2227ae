//! A mixture of SwiGLU experts on slices: every token goes to its `k` experts, none is dropped.
//!
//! Rows are put in the order of their experts, so that each expert works on consecutive rows; what a token's experts give
//! is added up in the order of their weights.

use std::ops::Range;

use rayon::prelude::*;

use super::matmul::{self, Packed, Precision, Target, View, Write, local, product};
use super::rows::{self, CHUNK};
use super::simd::{self, multiversion, sum2};

/// The stacked matrices: gate and up `[E, F, d]`, down `[E, d, F]`.
#[derive(Clone, Copy)]
pub(crate) struct ExpertWeights<'a> {
    pub(crate) gate: &'a [f32],
    pub(crate) up: &'a [f32],
    pub(crate) down: &'a [f32],
    /// Of the experts' products.
    pub(crate) precision: Precision,
}

/// The packed gate, up and down matrices of the experts that have rows.
fn pack(
    weights: ExpertWeights<'_>,
    routing: &Routing,
    size: usize,
    pack: impl Fn(&[f32], usize) -> Packed + Sync,
    d: usize,
) -> Vec<Option<[Packed; 3]>> {
    let n_experts = routing.starts.len() - 1;
    (0..n_experts)
        .into_par_iter()
        .map(|e| {
            let of = |stack: &'_ [f32], inputs: usize| pack(&stack[e * size..(e + 1) * size], inputs);
            (routing.starts[e] < routing.starts[e + 1])
                .then(|| [of(weights.gate, d), of(weights.up, d), of(weights.down, size / d)])
        })
        .collect()
}

const PACKED: &str = "a piece of work has an expert with rows";

/// How tokens choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Experts, `E`.
    pub(crate) n_experts: usize,
    /// Experts of a token, `k`.
    pub(crate) top_k: usize,
    /// Whether the weights of the chosen are scaled to sum to 1.
    pub(crate) normalize: bool,
}

/// Which token goes where, with which weight.
#[derive(Clone, Debug)]
pub(crate) struct Routing {
    /// Experts of each token, most likely first, `[n, k]`.
    experts: Vec<u32>,
    /// Their weights, `[n, k]`.
    weights: Vec<f32>,
    /// Where the rows of each expert begin; one more for the end.
    starts: Vec<usize>,
    /// The token of each row.
    tokens: Vec<u32>,
    /// The row of each token and slot, `[n, k]`.
    rows: Vec<u32>,
}

impl Routing {
    /// The routing by `probabilities` `[n, E]`; of equally likely experts the one with the lower number comes first.
    pub(crate) fn new(probabilities: &[f32], choice: Choice) -> Self {
        let Choice { n_experts, top_k, normalize } = choice;
        let n = probabilities.len() / n_experts;
        let mut experts = vec![0_u32; n * top_k];
        let mut weights = simd::unwritten(n * top_k);
        experts
            .par_chunks_mut(top_k)
            .zip(weights.par_chunks_mut(top_k))
            .zip(probabilities.par_chunks(n_experts))
            .with_min_len(64)
            .for_each(|((experts, weights), row)| {
                let mut taken = vec![false; n_experts];
                for (expert, weight) in experts.iter_mut().zip(weights.iter_mut()) {
                    let free = (0..n_experts).filter(|e| !taken[*e]);
                    let best = free.reduce(|best, e| if row[e] > row[best] { e } else { best }).unwrap_or(0);
                    taken[best] = true;
                    (*expert, *weight) = (best as u32, row[best]);
                }
                if normalize {
                    let total: f32 = weights.iter().sum();
                    weights.iter_mut().for_each(|w| *w /= total);
                }
            });
        let mut starts = vec![0; n_experts + 1];
        for expert in &experts {
            starts[*expert as usize + 1] += 1;
        }
        for e in 0..n_experts {
            starts[e + 1] += starts[e];
        }
        let mut next = starts.clone();
        let mut tokens = vec![0; n * top_k];
        let mut rows = vec![0; n * top_k];
        for (slot, expert) in experts.iter().enumerate() {
            let row = &mut next[*expert as usize];
            tokens[*row] = (slot / top_k) as u32;
            rows[slot] = *row as u32;
            *row += 1;
        }
        Self { experts, weights, starts, tokens, rows }
    }

    /// Runs of rows of one expert each, at most [`CHUNK`] long.
    fn pieces(&self) -> Vec<(usize, Range<usize>)> {
        let experts = self.starts.windows(2).enumerate();
        experts
            .flat_map(|(e, pair)| {
                let (start, end) = (pair[0], pair[1]);
                (start..end).step_by(CHUNK).map(move |at| (e, at..(at + CHUNK).min(end)))
            })
            .collect()
    }
}

/// What the backward pass needs: the rows in expert order, the projections, their gated product, what each expert gave.
#[derive(Clone, Debug)]
pub(crate) struct ExpertsSaved {
    routing: Routing,
    x: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    product: Vec<f32>,
    given: Vec<f32>,
}

/// Gradients of the input, the probabilities and the matrices.
pub(crate) struct ExpertsGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) probabilities: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) down: Vec<f32>,
}

/// Cuts a vector into the rows of consecutive pieces.
fn cut<'a>(values: &'a mut [f32], pieces: &[(usize, Range<usize>)], width: usize) -> Vec<&'a mut [f32]> {
    let mut rest = values;
    pieces
        .iter()
        .map(|(_, rows)| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(rows.len() * width);
            rest = after;
            piece
        })
        .collect()
}

/// `sum over the k experts of p_e down_e(silu(gate_e(x)) * up_e(x))` for `x` `[n, d]`.
pub(crate) fn forward(
    x: &[f32],
    probabilities: &[f32],
    weights: ExpertWeights<'_>,
    choice: Choice,
    d: usize,
) -> (Vec<f32>, ExpertsSaved) {
    let routing = Routing::new(probabilities, choice);
    let size = weights.gate.len() / choice.n_experts;
    let (m, f) = (routing.tokens.len(), size / d);
    let gathered = rows::gather(x, &routing.tokens, d);
    let (mut gate, mut up, mut product) = (simd::unwritten(m * f), simd::unwritten(m * f), simd::unwritten(m * f));
    let mut given = simd::unwritten(m * d);
    let packed = pack(weights, &routing, size, |w, inputs| matmul::pack_forward(w, inputs, weights.precision), d);
    let pieces = routing.pieces();
    let outputs = cut(&mut gate, &pieces, f)
        .into_iter()
        .zip(cut(&mut up, &pieces, f))
        .zip(cut(&mut product, &pieces, f).into_iter().zip(cut(&mut given, &pieces, d)));
    let work: Vec<_> = pieces.iter().zip(outputs).collect();
    work.into_par_iter().with_max_len(1).for_each(|((expert, rows), ((gate, up), (product, given)))| {
        let [to_gate, to_up, down] = packed[*expert].as_ref().expect(PACKED);
        let x = &gathered[rows.start * d..rows.end * d];
        local::multiply(gate, x, to_gate, Write::Set);
        local::multiply(up, x, to_up, Write::Set);
        rows::swiglu(product, gate, up);
        local::multiply(given, product, down, Write::Set);
    });
    let mut y = simd::unwritten(x.len());
    let k = choice.top_k;
    y.par_chunks_mut(d).enumerate().with_min_len(CHUNK).for_each(|(token, y)| {
        y.fill(0.0);
        for slot in token * k..(token + 1) * k {
            let row = routing.rows[slot] as usize;
            simd::add_scaled(y, &given[row * d..(row + 1) * d], routing.weights[slot]);
        }
    });
    (y, ExpertsSaved { routing, x: gathered, gate, up, product, given })
}

multiversion! {
    fn inner(a: &[f32], b: &[f32]) -> f32 {
        sum2(a, b, |x, y| x * y)
    }
}

/// The gradients of [`forward`] given that of its output; uses up what was saved.
pub(crate) fn backward(
    dy: &[f32],
    probabilities: &[f32],
    weights: ExpertWeights<'_>,
    saved: ExpertsSaved,
    choice: Choice,
    d: usize,
) -> ExpertsGradients {
    let ExpertsSaved { routing, x, mut gate, mut up, product: gated, given } = saved;
    let Choice { n_experts, top_k: k, normalize } = choice;
    let size = weights.gate.len() / n_experts;
    let (m, f) = (routing.tokens.len(), size / d);
    // The gradient of what each expert gave, and of the weights.
    let mut slot_of = vec![0_u32; m];
    routing.rows.iter().enumerate().for_each(|(slot, row)| slot_of[*row as usize] = slot as u32);
    let mut dgiven = simd::unwritten(m * d);
    let mut dweights = simd::unwritten(m);
    dgiven.par_chunks_mut(d).zip(dweights.par_iter_mut()).enumerate().with_min_len(CHUNK).for_each(|(row, (out, dw))| {
        let dy = &dy[routing.tokens[row] as usize * d..][..d];
        *dw = inner(dy, &given[row * d..(row + 1) * d]);
        out.copy_from_slice(dy);
        simd::scale(out, routing.weights[slot_of[row] as usize]);
    });
    let mut dprobabilities = vec![0.0; probabilities.len()];
    for (token, row) in dprobabilities.chunks_exact_mut(n_experts).enumerate() {
        let slots = token * k..(token + 1) * k;
        let chosen = |slot: usize| (routing.experts[slot] as usize, dweights[routing.rows[slot] as usize]);
        let (mut along, mut total) = (0.0, 1.0);
        if normalize {
            along = slots.clone().map(|slot| routing.weights[slot] * chosen(slot).1).sum();
            total = slots.clone().map(|slot| probabilities[token * n_experts + chosen(slot).0]).sum();
        }
        for slot in slots {
            let (expert, dw) = chosen(slot);
            row[expert] = (dw - along) / total;
        }
    }
    let mut drows = simd::unwritten(m * d);
    let packed = pack(weights, &routing, size, |w, inputs| matmul::pack_backward(w, inputs, weights.precision), d);
    let pieces = routing.pieces();
    let outputs = cut(&mut gate, &pieces, f).into_iter().zip(cut(&mut up, &pieces, f)).zip(cut(&mut drows, &pieces, d));
    let work: Vec<_> = pieces.iter().zip(outputs).collect();
    work.into_par_iter().with_max_len(1).for_each(|((expert, rows), ((gate, up), drows))| {
        let [from_gate, from_up, down] = packed[*expert].as_ref().expect(PACKED);
        let mut dproduct = simd::unwritten(gate.len());
        let dgiven = &dgiven[rows.start * d..rows.end * d];
        local::multiply(&mut dproduct, dgiven, down, Write::Set);
        rows::swiglu_backward(gate, up, &dproduct);
        local::multiply(drows, gate, from_gate, Write::Set);
        local::multiply(drows, up, from_up, Write::Add);
    });
    let mut dx = simd::unwritten(dy.len());
    dx.par_chunks_mut(d).enumerate().with_min_len(CHUNK).for_each(|(token, dx)| {
        dx.fill(0.0);
        for slot in token * k..(token + 1) * k {
            let row = routing.rows[slot] as usize;
            simd::add(dx, &drows[row * d..(row + 1) * d]);
        }
    });
    ExpertsGradients {
        x: dx,
        probabilities: dprobabilities,
        gate: weight_gradients(&routing, &gate, &x, [f, d], weights.precision),
        up: weight_gradients(&routing, &up, &x, [f, d], weights.precision),
        down: weight_gradients(&routing, &dgiven, &gated, [d, f], weights.precision),
    }
}

/// `dy_e^T x_e` of every expert, `[E, outputs, inputs]`; 0 for an expert without rows.
fn weight_gradients(routing: &Routing, dy: &[f32], x: &[f32], [outputs, inputs]: [usize; 2], precision: Precision) -> Vec<f32> {
    let n_experts = routing.starts.len() - 1;
    let mut dw = simd::unwritten(n_experts * outputs * inputs);
    let of = |e: usize, dw: &mut [f32], alone: bool| {
        let rows = routing.starts[e]..routing.starts[e + 1];
        if rows.is_empty() {
            return dw.fill(0.0);
        }
        let dy = &dy[rows.start * outputs..rows.end * outputs];
        let x = &x[rows.start * inputs..rows.end * inputs];
        if alone {
            return matmul::backward_weight(dw, dy, x, inputs, Write::Set, precision);
        }
        let (target, size) = (Target::rows(dw, inputs), [outputs, inputs, rows.len()]);
        // SAFETY: the slices cover the shapes and `dw` is borrowed exclusively.
        unsafe { product(target, size, View::transposed(dy, outputs), View::rows(x, inputs), Write::Set, precision) };
    };
    // Few experts share the threads one after the other, many are spread over them; both depend on the shape only.
    if n_experts < 4 {
        dw.chunks_exact_mut(outputs * inputs).enumerate().for_each(|(e, dw)| of(e, dw, true));
    } else {
        dw.par_chunks_exact_mut(outputs * inputs).enumerate().with_max_len(1).for_each(|(e, dw)| of(e, dw, false));
    }
    dw
}
