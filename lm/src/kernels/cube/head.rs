//! Softmax cross-entropy and log-probabilities over pieces of the rows: the logits of all rows never exist at once.
//!
//! The head's products run on the device's matrix units; logits and all sums are 32-bit floats, in a fixed order.

use burn::tensor::DType;
use burn_cubecl::kernel::cast;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Turned;
use super::attention::product;
use super::launch::{ROW_UNITS, arg, cube_max, cube_sum, elem, per_element, per_row, unwritten, upload, whole, zeroed};
use crate::kernels::LossScale;

/// Elements of the logits that exist at once, if one row does not have more.
const LOGITS: usize = 1 << 28;

#[cube(launch)]
fn statistics_kernel(
    logits: &[f32],
    targets: &[u32],
    nll: &mut [f32],
    lse: &mut [f32],
    rows: usize,
    first: usize,
    vocab: usize,
    #[comptime] units: usize,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let start = row * vocab;
    let mut most = logits[start];
    let mut i = UNIT_POS as usize;
    while i < vocab {
        let value = logits[start + i];
        if value > most {
            most = value;
        }
        i += units;
    }
    let most = cube_max(most, units);
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < vocab {
        sum += (logits[start + i] - most).exp();
        i += units;
    }
    let sum = cube_sum(sum, units);
    if UNIT_POS == 0 {
        let target = targets[first + row] as usize;
        // A target that does not count is `u32::MAX`, beyond every vocabulary.
        if target < vocab {
            let total = most + sum.ln();
            lse[first + row] = total;
            nll[first + row] = total - logits[start + target];
        } else {
            lse[first + row] = 0.0f32;
            nll[first + row] = 0.0f32;
        }
    }
}

#[cube(launch)]
fn totals_kernel(nll: &[f32], lse: &[f32], out: &mut [f32], rows: usize, z_loss: f32, divisor: f32, #[comptime] units: usize) {
    let mut losses = 0.0f32;
    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < rows {
        losses += nll[i];
        squares += lse[i] * lse[i];
        i += units;
    }
    let losses = cube_sum(losses, units);
    let squares = cube_sum(squares, units);
    if UNIT_POS == 0 {
        out[0] = (losses + z_loss * squares) / divisor;
        out[1] = losses;
        out[2] = squares;
    }
}

#[cube(launch)]
fn logit_gradient_kernel<F: Float>(
    logits: &[f32],
    targets: &[u32],
    lse: &[f32],
    upstream: &[f32],
    out: &mut [F],
    total: usize,
    first: usize,
    vocab: usize,
    z_loss: f32,
    divisor: f32,
    #[comptime] per_row: bool,
    #[define(F)] _dtype: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let row = first + at / vocab;
        let target = targets[row] as usize;
        let mut gradient = 0.0f32;
        if target < vocab {
            // The loss grows with the log-sum-exp by `a` and falls with the target's logit by `b`.
            let b = if comptime!(per_row) { -upstream[row] } else { 1.0f32 / divisor };
            let a = b * (1.0f32 + 2.0f32 * z_loss * lse[row]);
            gradient = (logits[at] - lse[row]).exp() * a;
            if at % vocab == target {
                gradient -= b;
            }
        }
        out[at] = F::cast_from(gradient);
    }
}

/// A batch at the head: activations `[n, d]` in the type of the computation, the head `[V, d]` in that type too.
struct Head {
    hidden: CubeTensor,
    weight: CubeTensor,
    targets: CubeTensor,
}

impl Head {
    fn new(hidden: CubeTensor, weight: CubeTensor, targets: &[u32]) -> Self {
        let hidden = whole(hidden);
        let weight = cast(whole(weight), hidden.dtype);
        let targets = upload(&hidden, targets);
        Self { hidden, weight, targets }
    }

    fn rows(&self) -> usize {
        self.hidden.meta.shape()[0]
    }

    fn vocab(&self) -> usize {
        self.weight.meta.shape()[0]
    }

    fn width(&self) -> usize {
        self.hidden.meta.shape()[1]
    }

    /// First row and number of rows of each piece.
    fn pieces(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, vocab) = (self.rows(), self.vocab());
        let step = (LOGITS / vocab.max(1)).clamp(1, rows.max(1));
        // Whole multiples of 64 suit the matrix units.
        let step = if step > 64 { step / 64 * 64 } else { step };
        (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
    }

    /// Rows `first..first + rows` of the activations.
    fn piece(&self, first: usize, rows: usize) -> CubeTensor {
        burn_cubecl::kernel::slice(self.hidden.clone(), &[first..first + rows, 0..self.width()])
    }

    /// The logits of `piece`, `[rows, V]`.
    fn logits(&self, piece: CubeTensor) -> CubeTensor {
        product(piece, self.weight.clone(), Turned::Right, DType::F32)
    }

    fn statistics(&self, logits: &CubeTensor, (first, rows): (usize, usize), nll: &CubeTensor, lse: &CubeTensor) {
        let (count, dim) = per_row(rows);
        statistics_kernel::launch(
            &logits.client,
            count,
            dim,
            arg(logits),
            arg(&self.targets),
            arg(nll),
            arg(lse),
            rows,
            first,
            self.vocab(),
            ROW_UNITS as usize,
        );
    }

    /// The gradient of the logits of a piece, in the type of the computation.
    fn logit_gradient(
        &self,
        logits: &CubeTensor,
        (first, rows): (usize, usize),
        lse: &CubeTensor,
        slope: &Slope<'_>,
    ) -> CubeTensor {
        let total = rows * self.vocab();
        let out = unwritten(logits, &[rows, self.vocab()], self.hidden.dtype);
        let (count, dim) = per_element(logits, total);
        let (upstream, scale, per_row) = match slope {
            Slope::Loss(scale) => (lse, *scale, false),
            Slope::PerRow(upstream) => (*upstream, LossScale::new(0.0, 1.0), true),
        };
        logit_gradient_kernel::launch(
            &logits.client,
            count,
            dim,
            arg(logits),
            arg(&self.targets),
            arg(lse),
            arg(upstream),
            arg(&out),
            total,
            first,
            self.vocab(),
            scale.z_loss as f32,
            scale.divisor as f32,
            per_row,
            elem(&out),
        );
        out
    }

    fn totals(&self, nll: &CubeTensor, lse: &CubeTensor, scale: LossScale) -> CubeTensor {
        let out = unwritten(nll, &[3], DType::F32);
        totals_kernel::launch(
            &nll.client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(ROW_UNITS),
            arg(nll),
            arg(lse),
            arg(&out),
            self.rows(),
            scale.z_loss as f32,
            scale.divisor as f32,
            ROW_UNITS as usize,
        );
        out
    }

    /// Runs over all pieces; with `known`, the log-sum-exps are there already and only gradients are made.
    fn run(
        &self,
        nll: &CubeTensor,
        lse: &CubeTensor,
        known: Known,
        slope: Option<&Slope<'_>>,
    ) -> Option<(CubeTensor, CubeTensor)> {
        let mut gradients = slope.map(|slope| {
            let dhidden = unwritten(&self.hidden, &[self.rows(), self.width()], self.hidden.dtype);
            (slope, dhidden, None::<CubeTensor>)
        });
        for (first, rows) in self.pieces() {
            let piece = self.piece(first, rows);
            let logits = self.logits(piece.clone());
            if known == Known::Nothing {
                self.statistics(&logits, (first, rows), nll, lse);
            }
            if let Some((slope, dhidden, dweight)) = &mut gradients {
                let dlogits = self.logit_gradient(&logits, (first, rows), lse, slope);
                drop(logits);
                let of_piece = product(dlogits.clone(), self.weight.clone(), Turned::None, self.hidden.dtype);
                copy_rows(&of_piece, dhidden, first);
                let of_weight = product(dlogits, piece, Turned::Left, DType::F32);
                *dweight = Some(match dweight.take() {
                    Some(sum) => burn_cubecl::ops::numeric::add(sum, of_weight),
                    None => of_weight,
                });
            }
        }
        gradients.map(|(_, dhidden, dweight)| {
            let dweight = dweight.unwrap_or_else(|| zeroed(&self.hidden, &[self.vocab(), self.width()], DType::F32));
            (dhidden, dweight)
        })
    }
}

/// What the gradient of a row's loss is made of.
enum Slope<'a> {
    /// That of the loss of the batch.
    Loss(LossScale),
    /// That of the row's log-probability times a number, `[n]`.
    PerRow(&'a CubeTensor),
}

/// Which statistics of the rows are there already.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Nothing,
    LogSumExp,
}

#[cube(launch)]
fn copy_rows_kernel<F: Float>(source: &[F], out: &mut [F], total: usize, offset: usize, #[define(F)] _dtype: ElemType) {
    let at = ABSOLUTE_POS;
    if at < total {
        out[offset + at] = source[at];
    }
}

/// Writes the rows of `source` into `out` from row `first` on.
fn copy_rows(source: &CubeTensor, out: &CubeTensor, first: usize) {
    let total = source.meta.num_elements();
    let offset = first * source.meta.shape()[1];
    let (count, dim) = per_element(source, total);
    copy_rows_kernel::launch(&source.client, count, dim, arg(source), arg(out), total, offset, elem(source));
}

/// The loss, the sum of negative log-likelihoods and the sum of squared log-sum-exps: `[3]`.
pub(super) fn loss(hidden: CubeTensor, weight: CubeTensor, targets: &[u32], scale: LossScale) -> CubeTensor {
    let head = Head::new(hidden, weight, targets);
    let (nll, lse) = (unwritten(&head.hidden, &[head.rows()], DType::F32), unwritten(&head.hidden, &[head.rows()], DType::F32));
    head.run(&nll, &lse, Known::Nothing, None);
    head.totals(&nll, &lse, scale)
}

/// `loss`, and its gradients for the activations (in their type) and the head (32-bit floats).
pub(super) fn loss_and_gradients(
    hidden: CubeTensor,
    weight: CubeTensor,
    targets: &[u32],
    scale: LossScale,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let head = Head::new(hidden, weight, targets);
    let (nll, lse) = (unwritten(&head.hidden, &[head.rows()], DType::F32), unwritten(&head.hidden, &[head.rows()], DType::F32));
    let gradients = head.run(&nll, &lse, Known::Nothing, Some(&Slope::Loss(scale)));
    let (dhidden, dweight) = gradients.expect("gradients were asked for");
    (head.totals(&nll, &lse, scale), dhidden, dweight)
}

#[cube(launch)]
fn negate_kernel(values: &[f32], out: &mut [f32], n: usize) {
    let at = ABSOLUTE_POS;
    if at < n {
        out[at] = -values[at];
    }
}

/// The log-probability of each row's target, 0 where it does not count, and the row's log-sum-exp: `[n]` each.
pub(super) fn log_probs(hidden: CubeTensor, weight: CubeTensor, targets: &[u32]) -> (CubeTensor, CubeTensor) {
    let head = Head::new(hidden, weight, targets);
    let n = head.rows();
    let (nll, lse) = (unwritten(&head.hidden, &[n], DType::F32), unwritten(&head.hidden, &[n], DType::F32));
    head.run(&nll, &lse, Known::Nothing, None);
    let out = unwritten(&nll, &[n], DType::F32);
    let (count, dim) = per_element(&nll, n);
    negate_kernel::launch(&nll.client, count, dim, arg(&nll), arg(&out), n);
    (out, lse)
}

/// Gradients of `log_probs` for the activations and the head.
pub(super) fn log_probs_backward(
    hidden: CubeTensor,
    weight: CubeTensor,
    targets: &[u32],
    lse: CubeTensor,
    upstream: CubeTensor,
) -> (CubeTensor, CubeTensor) {
    let head = Head::new(hidden, weight, targets);
    let lse = whole(lse);
    let upstream = whole(upstream);
    let gradients = head.run(&lse, &lse, Known::LogSumExp, Some(&Slope::PerRow(&upstream)));
    gradients.expect("gradients were asked for")
}
