//! The head and the softmax cross-entropy in one, a few rows of logits at a time.
//!
//! Log-probabilities are never materialised. Chunks of rows follow one another, so gradients of the head are added in a
//! fixed order; inside a chunk the work is spread over rayon's pool.

use rayon::prelude::*;

use super::matmul::{self, Precision, Write};
use super::simd::{self, multiversion};
use crate::batch::IGNORED;

/// Rows whose logits are held at once: about 8 MB of them.
fn chunk_rows(vocab: usize) -> usize {
    ((2 << 20) / vocab).clamp(32, 512) / 32 * 32
}

/// What the head reads and should predict.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// `[n, width]`.
    pub(crate) hidden: &'a [f32],
    /// `[V, width]`.
    pub(crate) weight: &'a [f32],
    /// One per row.
    pub(crate) targets: &'a [u32],
    /// Columns of both matrices.
    pub(crate) width: usize,
    /// Of the products.
    pub(crate) precision: Precision,
}

/// Per row, the negative log-likelihood of the target and the log-partition function; both 0 for ignored rows.
#[derive(Clone, Debug)]
pub(crate) struct RowLosses {
    pub(crate) nll: Vec<f32>,
    pub(crate) lse: Vec<f32>,
}

/// The gradients of the head's inputs.
#[derive(Clone, Debug)]
pub(crate) struct HeadGradients {
    pub(crate) hidden: Vec<f32>,
    pub(crate) weight: Vec<f32>,
}

/// How a row's losses depend on its logits: the gradient is `softmax * a - onehot(target) * b`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope {
    pub(crate) a: f32,
    pub(crate) b: f32,
}

multiversion! {
    /// Exponentiates a row of logits after subtracting the maximum; returns the log-partition function and the sum.
    fn exponentiate(logits: &mut [f32]) -> (f32, f32) {
        let shift = simd::max(logits);
        for x in logits.iter_mut() {
            *x = simd::exp(*x - shift);
        }
        let sum = simd::sum1(logits, |x| x);
        (shift + sum.ln(), sum)
    }
}

/// The losses of all rows and, where `slope` gives a row's slope from its index and log-partition function, gradients.
fn run(head: Head<'_>, slope: Option<&(dyn Fn(usize, f32) -> Slope + Sync)>) -> (RowLosses, Option<HeadGradients>) {
    let Head { hidden, weight, targets, width, precision } = head;
    let (n, vocab) = (targets.len(), weight.len() / width);
    assert_eq!(hidden.len(), n * width, "one row of activations per target");
    let chunk = chunk_rows(vocab);
    let mut losses = RowLosses { nll: simd::unwritten(n), lse: simd::unwritten(n) };
    let mut gradients =
        slope.map(|_| HeadGradients { hidden: simd::unwritten(hidden.len()), weight: simd::unwritten(weight.len()) });
    if n == 0 {
        gradients.iter_mut().for_each(|gradients| gradients.weight.fill(0.0));
    }
    let mut logits = simd::unwritten(chunk.min(n) * vocab);
    let forward = matmul::pack_forward(weight, width, precision);
    let backward = slope.map(|_| matmul::pack_backward(weight, width, precision));
    for first in (0..n).step_by(chunk) {
        let rows = first..(first + chunk).min(n);
        let activations = &hidden[rows.start * width..rows.end * width];
        let logits = &mut logits[..rows.len() * vocab];
        matmul::multiply(logits, activations, &forward, Write::Set);
        let outputs = losses.nll[rows.clone()].par_iter_mut().zip(&mut losses.lse[rows.clone()]);
        logits.par_chunks_mut(vocab).zip(outputs).with_min_len(8).enumerate().for_each(|(i, (logits, (nll, lse)))| {
            let target = targets[rows.start + i];
            if target == IGNORED {
                (*nll, *lse) = (0.0, 0.0);
                logits.fill(0.0);
                return;
            }
            let wanted = logits[target as usize];
            let sum;
            (*lse, sum) = exponentiate(logits);
            *nll = *lse - wanted;
            if let Some(slope) = slope {
                let Slope { a, b } = slope(rows.start + i, *lse);
                simd::scale(logits, a / sum);
                logits[target as usize] -= b;
            }
        });
        if let (Some(gradients), Some(backward)) = (&mut gradients, &backward) {
            let dhidden = &mut gradients.hidden[rows.start * width..rows.end * width];
            matmul::multiply(dhidden, logits, backward, Write::Set);
            let write = if first == 0 { Write::Set } else { Write::Add };
            matmul::backward_weight(&mut gradients.weight, logits, activations, width, write, precision);
        }
    }
    (losses, gradients)
}

/// The losses of all rows.
pub(crate) fn losses(head: Head<'_>) -> RowLosses {
    run(head, None).0
}

/// The losses of all rows and the gradients of what `slope` describes.
pub(crate) fn losses_and_gradients(head: Head<'_>, slope: &(dyn Fn(usize, f32) -> Slope + Sync)) -> (RowLosses, HeadGradients) {
    let (losses, gradients) = run(head, Some(slope));
    (losses, gradients.expect("a slope was given"))
}

/// Sums in double precision, in order: of the negative log-likelihoods and of the squared log-partition functions.
pub(crate) fn totals(losses: &RowLosses) -> (f64, f64) {
    let nll = losses.nll.iter().map(|x| f64::from(*x)).sum();
    let squares = losses.lse.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (nll, squares)
}
