//! The operators that make arrays wider: copies of channels, heads and units, and new hidden units.
//!
//! Let a replicated vector be `k` copies of the small one. A matrix whose inputs are replicated gives the small result
//! iff the blocks that read the copies add up to the small matrix. So with replicated outputs block row `a` is
//! `W - sum_b R_ab` on the diagonal and `R_ab` beside it, for any noise `R`; with outputs that are not replicated (a head,
//! a router, an output projection when only heads grow) the matrix is cut into `k` shares `W / k + S_b` with
//! `sum_b S_b = 0`. Norms of a replicated vector are replicated, and so are attention and the delta rule, because whole
//! heads are copied. Gradients of replicated outputs are divided by `k`; hence the moments. A new hidden unit reads random
//! numbers and is read with 0.

use super::Moment;
use super::axes::{Axes, Axis, Factors, Origin};
use crate::config::ModelConfig;
use crate::init::{Role, STD, parameter_shapes, role};
use crate::random::Stream;
use crate::weights::{Array, NamedArrays};

const FINAL_GAIN: &str = "model.norm.weight";

impl Axes {
    /// The grown array whose elements `f` gives from the number of the stacked array, output and input origin.
    fn build(&self, f: impl Fn(usize, Origin, Origin) -> f32) -> Array {
        const NO_INPUT: [Origin; 1] = [Origin::Copy { old: 0, copy: 0 }];
        let inputs = self.input.as_ref().map_or(NO_INPUT.as_slice(), |axis| &axis.origins);
        let rows = (0..self.stacked).flat_map(|e| self.output.origins.iter().map(move |o| (e, *o)));
        let data = rows.flat_map(|(e, o)| inputs.iter().map(move |i| (e, o, *i))).map(|(e, o, i)| f(e, o, i)).collect();
        let mut shape = Vec::new();
        if self.stacked > 1 {
            shape.push(self.stacked);
        }
        shape.push(self.output.origins.len());
        if self.convolution {
            shape.push(1);
        }
        shape.extend(self.input.as_ref().map(|axis| axis.origins.len()));
        Array::new(shape, data)
    }

    /// Rows and columns of one of the small arrays.
    fn small_size(&self) -> (usize, usize) {
        let old = |axis: &Axis| {
            let kept = axis.origins.iter().filter(|origin| matches!(origin, Origin::Copy { copy: 0, .. }));
            kept.count()
        };
        (old(&self.output), self.input.as_ref().map_or(1, old))
    }
}

/// Arrays of one expert keep the axis of experts.
fn reshaped(array: Array, small: &Array) -> Array {
    if small.shape.len() == array.shape.len() { array } else { Array::new([&[1], array.shape.as_slice()].concat(), array.data) }
}

/// The weights of the grown model.
pub(super) fn weights(factors: Factors, before: &ModelConfig, after: &ModelConfig, small: &NamedArrays) -> NamedArrays {
    parameter_shapes(before)
        .into_iter()
        .map(|(name, _)| {
            let array = &small[&name];
            let mut grown = reshaped(weight(factors, &name, &factors.axes(&name, before, after), array), array);
            if name == FINAL_GAIN && before.tie_word_embeddings {
                // The head is the repeated embedding, whose copies add up.
                let share = 1.0 / factors.residual as f32;
                grown.data.iter_mut().for_each(|x| *x *= share);
            }
            (name, grown)
        })
        .collect()
}

fn weight(factors: Factors, name: &str, axes: &Axes, small: &Array) -> Array {
    let (rows, columns) = axes.small_size();
    let size = rows * columns;
    let at = |e: usize, o: usize, i: usize| small.data[e * size + o * columns + i];
    let is_matrix = matches!(role(name), Role::Matrix | Role::Head | Role::Router);
    // The embedding is read by row, so its columns are outputs: they are simply repeated, as gains and taps are.
    let Some(input) = axes.input.as_ref().filter(|_| is_matrix) else {
        return axes.build(|e, o, i| match (o, i) {
            (Origin::Copy { old: o, .. }, Origin::Copy { old: i, .. }) => at(e, o, i),
            _ => unreachable!("new indices appear in matrices of the feed-forward layer only"),
        });
    };
    let mean_square = small.data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / small.len().max(1) as f64;
    let spread = factors.noise * mean_square.sqrt();
    let stream = Stream::new(factors.seed, &format!("grow.{name}"));
    let fresh = Stream::new(factors.seed, &format!("grow.new.{name}"));
    let k = input.copies;
    // The noise that output copy `a` reads of input copy `b` at element `(o, i)` of array `e`.
    let perturbation = |e: usize, a: usize, b: usize, o: usize, i: usize| {
        if spread == 0.0 {
            return 0.0;
        }
        let index = ((a * k + b) * small.len() + e * size + o * columns + i) as u64;
        spread * stream.normal(index)
    };
    let width = input.origins.len();
    let new_rows = axes.output.origins.len() - axes.output.copies * rows;
    axes.build(|e, o, i| {
        let value = match (o, i) {
            (_, Origin::New(_)) => 0.0,
            (Origin::New(new), Origin::Copy { old, copy }) => {
                STD * fresh.normal(((e * new_rows + new) * width + copy * columns + old) as u64)
            }
            (Origin::Copy { old: o, copy: a }, Origin::Copy { old: i, copy: b }) => {
                let w = f64::from(at(e, o, i));
                if k == 1 {
                    w
                } else if axes.output.copies == 1 {
                    // Shares of an output that is not replicated: the noise of all but the last adds up in the last.
                    let others = || (0..k - 1).map(|b| perturbation(e, a, b, o, i)).sum::<f64>();
                    w / k as f64 + if b + 1 < k { perturbation(e, a, b, o, i) } else { -others() }
                } else if a == b {
                    w - (0..k).filter(|b| *b != a).map(|b| perturbation(e, a, b, o, i)).sum::<f64>()
                } else {
                    perturbation(e, a, b, o, i)
                }
            }
        };
        value as f32
    })
}

/// The moments of the grown model's optimiser.
pub(super) fn moments(
    factors: Factors,
    before: &ModelConfig,
    after: &ModelConfig,
    small: &NamedArrays,
    moment: Moment,
) -> NamedArrays {
    small
        .iter()
        .map(|(name, small)| {
            let axes = factors.axes(name, before, after);
            let (rows, columns) = axes.small_size();
            let copies = match role(name) {
                // The columns of the embedding are outputs of the look-up.
                Role::Embedding => factors.residual,
                Role::FinalGain if before.tie_word_embeddings => 1,
                _ => axes.output.copies,
            };
            let scale = match moment {
                Moment::First => 1.0 / copies as f32,
                Moment::Second => 1.0 / (copies * copies) as f32,
            };
            let grown = axes.build(|e, o, i| match (o, i) {
                (Origin::Copy { old: o, .. }, Origin::Copy { old: i, .. }) => {
                    scale * small.data[e * rows * columns + o * columns + i]
                }
                _ => 0.0,
            });
            (name.clone(), reshaped(grown, small))
        })
        .collect()
}
