//! The position-wise half of a block on few rows: SwiGLU, or the chosen experts of a mixture.

use super::crew::Crew;
use super::packed::{Form, Packed, Part, Rows, apply_parts};
use super::weights::Named;
use crate::config::{Experts, FeedForward};
use crate::kernels::simd::{self, multiversion};

/// Gate and up, and down, of one SwiGLU.
#[derive(Clone, Debug)]
pub(super) struct SwiGlu {
    gate_up: Packed,
    down: Packed,
}

/// The weights of a feed-forward layer.
#[derive(Clone, Debug)]
pub(super) enum FeedForwardLayer {
    SwiGlu(SwiGlu),
    Experts { shape: Experts, router: Packed, experts: Vec<SwiGlu> },
}

impl FeedForwardLayer {
    pub(super) fn new(named: &mut Named, place: &str, kind: &FeedForward, d: usize) -> Self {
        let mut take = |name: &str| named.take(&format!("{place}.mlp.{name}.weight"));
        match kind {
            FeedForward::SwiGlu { intermediate_size } => Self::SwiGlu(SwiGlu {
                gate_up: Packed::pair(&take("gate_proj"), &take("up_proj"), d),
                down: Packed::stack(&[&take("down_proj")], *intermediate_size),
            }),
            FeedForward::Experts(shape) => {
                let router = Packed::stack(&[&take("gate")], d);
                let (gate, up, down) = (take("experts.gate_proj"), take("experts.up_proj"), take("experts.down_proj"));
                let size = shape.intermediate_size * d;
                let experts = (0..shape.n_experts).map(|e| {
                    let at = e * size..(e + 1) * size;
                    SwiGlu {
                        gate_up: Packed::pair(&gate[at.clone()], &up[at.clone()], d),
                        down: Packed::stack(&[&down[at]], shape.intermediate_size),
                    }
                });
                Self::Experts { shape: *shape, router, experts: experts.collect() }
            }
        }
    }

    /// Weights that a token reads.
    pub(super) fn active(&self) -> usize {
        let of = |ffn: &SwiGlu| ffn.gate_up.len() + ffn.down.len();
        match self {
            Self::SwiGlu(ffn) => of(ffn),
            Self::Experts { shape, router, experts } => router.len() + experts.first().map_or(0, of) * shape.top_k,
        }
    }

    /// The layer's output `[n, d]` for rows `x` `[n, d]`.
    pub(super) fn forward(&self, crew: &Crew, x: &[f32]) -> Vec<f32> {
        match self {
            Self::SwiGlu(ffn) => ffn.down.apply(crew, &ffn.gate_up.gated(crew, x)),
            Self::Experts { shape, router, experts } => {
                let mut logits = router.apply(crew, x);
                mixture(crew, x, &mut logits, shape, experts)
            }
        }
    }
}

/// `sum over the chosen experts of p_e ffn_e(x)`, added up from the most likely expert down.
fn mixture(crew: &Crew, x: &[f32], logits: &mut [f32], shape: &Experts, experts: &[SwiGlu]) -> Vec<f32> {
    let (k, n) = (shape.top_k, logits.len() / shape.n_experts);
    let d = x.len() / n;
    let mut choices: Vec<(usize, f32)> = Vec::with_capacity(n * k);
    for row in logits.chunks_exact_mut(shape.n_experts) {
        softmax(row);
        choose(row, shape, &mut choices);
    }
    // Slots in the order of their experts: where each slot's row stands and which token it reads.
    let mut order: Vec<usize> = (0..choices.len()).collect();
    order.sort_by_key(|slot| (choices[*slot].0, *slot));
    let tokens: Vec<u32> = order.iter().map(|slot| (slot / k) as u32).collect();
    let in_order: Vec<u32> = (0..order.len() as u32).collect();
    let mut runs = Vec::new();
    let mut first = 0;
    for run in order.chunk_by(|a, b| choices[*a].0 == choices[*b].0) {
        runs.push((&experts[choices[run[0]].0], first..first + run.len()));
        first += run.len();
    }
    let mut product = simd::unwritten(order.len() * shape.intermediate_size);
    let up = runs.iter().map(|(expert, rows)| Part {
        matrix: &expert.gate_up,
        rows: Rows::Picked(&tokens[rows.clone()]),
        first: rows.start,
    });
    apply_parts(crew, &mut product, x, &up.collect::<Vec<_>>(), Form::Gated);
    let mut given = simd::unwritten(order.len() * d);
    let down = runs.iter().map(|(expert, rows)| Part {
        matrix: &expert.down,
        rows: Rows::Picked(&in_order[rows.clone()]),
        first: rows.start,
    });
    apply_parts(crew, &mut given, &product, &down.collect::<Vec<_>>(), Form::Plain);
    let mut row_of = vec![0; order.len()];
    order.iter().enumerate().for_each(|(row, slot)| row_of[*slot] = row);
    let mut y = vec![0.0; x.len()];
    for (slot, (_, weight)) in choices.iter().enumerate() {
        let given = &given[row_of[slot] * d..(row_of[slot] + 1) * d];
        simd::add_scaled(&mut y[slot / k * d..(slot / k + 1) * d], given, *weight);
    }
    y
}

multiversion! {
    fn softmax(row: &mut [f32]) {
        let max = simd::max(row);
        for x in row.iter_mut() {
            *x = simd::exp(*x - max);
        }
        let inverse = 1.0 / simd::sum1(row, |x| x);
        for x in row {
            *x *= inverse;
        }
    }
}

/// Adds the experts of one token and their weights, most likely first, of equally likely ones the lower number.
fn choose(probabilities: &[f32], shape: &Experts, choices: &mut Vec<(usize, f32)>) {
    let first = choices.len();
    for _ in 0..shape.top_k {
        let free = (0..probabilities.len()).filter(|e| choices[first..].iter().all(|chosen| chosen.0 != *e));
        let best = free.reduce(|best, e| if probabilities[e] > probabilities[best] { e } else { best });
        let best = best.expect("there are at least `top_k` experts");
        choices.push((best, probabilities[best]));
    }
    if shape.normalize {
        let total: f32 = choices[first..].iter().map(|chosen| chosen.1).sum();
        choices[first..].iter_mut().for_each(|chosen| chosen.1 /= total);
    }
}
