//! Weight matrices in the order in which decoding reads them, and their products with a few rows.
//!
//! Each output is one sum over the inputs in order, whatever the number of rows: a row's result has the same bits alone
//! and among others, in a prompt and after it. A weight is read once per [`ROWS`] rows.

use rayon::prelude::*;

use super::crew::Crew;
use crate::kernels::matmul::Target;
use crate::kernels::rows;
use crate::kernels::simd::{self, multiversion};

/// Outputs side by side in a panel.
pub(super) const PANEL: usize = 32;
/// Rows that go through a panel together.
const ROWS: usize = 8;
/// Multiplications below which a product is not worth sharing.
const SHARE: usize = 1 << 14;

/// A matrix `[outputs, inputs]` as panels `[inputs, 32]`, the last one filled up with zeros.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    inputs: usize,
    outputs: usize,
    panels: Vec<f32>,
}

/// The sums of up to eight rows for one panel.
type Sums = [[f32; PANEL]; ROWS];

#[inline(always)]
fn block<const R: usize>(x: [&[f32]; R], panel: &[f32], out: &mut Sums, first: usize) {
    let n = panel.len() / PANEL;
    assert!(x.iter().all(|x| x.len() >= n), "a row has all inputs");
    let mut sums = [[0.0_f32; PANEL]; R];
    for (k, weights) in panel.as_chunks::<PANEL>().0.iter().enumerate() {
        // Halves of sixteen: the form that compiles to one multiplication and one addition per vector.
        for half in 0..PANEL / 16 {
            let weights: &[f32; 16] = weights[half * 16..half * 16 + 16].try_into().expect("sixteen weights");
            for r in 0..R {
                // SAFETY: `k < n` and every row has `n` elements.
                let x = unsafe { *x[r].get_unchecked(k) };
                let sums: &mut [f32; 16] = (&mut sums[r][half * 16..half * 16 + 16]).try_into().expect("sixteen sums");
                for c in 0..16 {
                    sums[c] += x * weights[c];
                }
            }
        }
    }
    out[first..first + R].copy_from_slice(&sums);
}

multiversion! {
    fn one(x: [&[f32]; 1], panel: &[f32], out: &mut Sums, first: usize) { block(x, panel, out, first) }
}
multiversion! {
    fn two(x: [&[f32]; 2], panel: &[f32], out: &mut Sums, first: usize) { block(x, panel, out, first) }
}
multiversion! {
    fn four(x: [&[f32]; 4], panel: &[f32], out: &mut Sums, first: usize) { block(x, panel, out, first) }
}
multiversion! {
    fn eight(x: [&[f32]; 8], panel: &[f32], out: &mut Sums, first: usize) { block(x, panel, out, first) }
}

/// The rows of a product: all rows of a matrix, or some of them.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    /// So many, in order.
    All(usize),
    /// Row `picked[i]` of the input gives row `i` of the output.
    Picked(&'a [u32]),
}

impl Rows<'_> {
    fn len(self) -> usize {
        match self {
            Self::All(n) => n,
            Self::Picked(picked) => picked.len(),
        }
    }

    fn at(self, index: usize) -> usize {
        match self {
            Self::All(_) => index,
            Self::Picked(picked) => picked[index] as usize,
        }
    }
}

impl Packed {
    /// The matrix whose rows are those of `parts`, one after the other.
    pub(super) fn stack(parts: &[&[f32]], inputs: usize) -> Self {
        let row_of: Vec<&[f32]> = parts.iter().flat_map(|part| part.chunks_exact(inputs)).collect();
        Self::from_rows(&row_of, inputs)
    }

    /// Panels of `gate` and `up` in turn, for [`gated`](Self::gated).
    pub(super) fn pair(gate: &[f32], up: &[f32], inputs: usize) -> Self {
        let zeros = vec![0.0; inputs];
        let (gate, up): (Vec<_>, Vec<_>) = (gate.chunks_exact(inputs).collect(), up.chunks_exact(inputs).collect());
        let mut rows: Vec<&[f32]> = Vec::new();
        for (gate, up) in gate.chunks(PANEL).zip(up.chunks(PANEL)) {
            for part in [gate, up] {
                rows.extend(part);
                rows.extend(std::iter::repeat_n(zeros.as_slice(), PANEL - part.len()));
            }
        }
        Self { outputs: gate.len(), ..Self::from_rows(&rows, inputs) }
    }

    fn from_rows(rows: &[&[f32]], inputs: usize) -> Self {
        let mut panels = vec![0.0; rows.len().div_ceil(PANEL) * PANEL * inputs];
        panels.par_chunks_mut(PANEL * inputs).zip(rows.par_chunks(PANEL)).for_each(|(panel, rows)| {
            for (k, weights) in panel.chunks_exact_mut(PANEL).enumerate() {
                for (weight, row) in weights.iter_mut().zip(rows) {
                    *weight = row[k];
                }
            }
        });
        Self { inputs, outputs: rows.len(), panels }
    }

    /// Number of outputs; of the gate alone for a pair.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of weights in memory.
    pub(super) fn len(&self) -> usize {
        self.panels.len()
    }

    fn panel(&self, index: usize) -> &[f32] {
        let size = PANEL * self.inputs;
        &self.panels[index * size..(index + 1) * size]
    }

    /// The sums of panel `index` for rows `rows[first..first + n]` of `x`, `n` at most eight.
    fn sums(&self, out: &mut Sums, index: usize, x: &[f32], rows: Rows<'_>, first: usize, n: usize) {
        let row = |i: usize| &x[rows.at(first + i) * self.inputs..][..self.inputs];
        let panel = self.panel(index);
        let mut at = 0;
        while at < n {
            match n - at {
                8.. => eight(std::array::from_fn(|i| row(at + i)), panel, out, at),
                4..8 => four(std::array::from_fn(|i| row(at + i)), panel, out, at),
                2..4 => two(std::array::from_fn(|i| row(at + i)), panel, out, at),
                _ => one([row(at)], panel, out, at),
            }
            at += match n - at {
                8.. => 8,
                4..8 => 4,
                2..4 => 2,
                _ => 1,
            };
        }
    }

    /// Writes panels `which` of the product for all `rows` to `out` `[rows, outputs]`.
    ///
    /// # Safety
    /// Nobody else accesses these columns of `out`, which has a row for each of `rows`.
    unsafe fn write(&self, which: std::ops::Range<usize>, out: Target, x: &[f32], rows: Rows<'_>) {
        let mut sums = [[0.0; PANEL]; ROWS];
        for panel in which {
            let columns = PANEL.min(self.outputs - panel * PANEL);
            for first in (0..rows.len()).step_by(ROWS) {
                let n = ROWS.min(rows.len() - first);
                self.sums(&mut sums, panel, x, rows, first, n);
                for (i, sums) in sums[..n].iter().enumerate() {
                    // SAFETY: promised by the caller.
                    unsafe {
                        let start = out.at(first + i, panel * PANEL).start;
                        std::slice::from_raw_parts_mut(start, columns).copy_from_slice(&sums[..columns]);
                    }
                }
            }
        }
    }

    /// Like [`write`](Self::write) for a pair: `silu(gate) * up`, columns of panel pairs `which`.
    ///
    /// # Safety
    /// As for `write`.
    unsafe fn write_gated(&self, which: std::ops::Range<usize>, out: Target, x: &[f32], rows: Rows<'_>) {
        let (mut gate, mut up) = ([[0.0; PANEL]; ROWS], [[0.0; PANEL]; ROWS]);
        for pair in which {
            let columns = PANEL.min(self.outputs - pair * PANEL);
            for first in (0..rows.len()).step_by(ROWS) {
                let n = ROWS.min(rows.len() - first);
                self.sums(&mut gate, 2 * pair, x, rows, first, n);
                self.sums(&mut up, 2 * pair + 1, x, rows, first, n);
                for (i, (gate, up)) in gate[..n].iter().zip(&up[..n]).enumerate() {
                    // SAFETY: promised by the caller.
                    let out = unsafe { std::slice::from_raw_parts_mut(out.at(first + i, pair * PANEL).start, columns) };
                    rows::swiglu(out, &gate[..columns], &up[..columns]);
                }
            }
        }
    }

    fn n_panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// `x w^T` for the rows of `x` `[n, inputs]`: `[n, outputs]`.
    pub(super) fn apply(&self, crew: &Crew, x: &[f32]) -> Vec<f32> {
        let mut out = simd::unwritten(x.len() / self.inputs * self.outputs);
        let parts = [Part { matrix: self, rows: Rows::All(x.len() / self.inputs), first: 0 }];
        apply_parts(crew, &mut out, x, &parts, false);
        out
    }

    /// `silu(x gate^T) * (x up^T)` of a pair: `[n, outputs]`.
    pub(super) fn gated(&self, crew: &Crew, x: &[f32]) -> Vec<f32> {
        let mut out = simd::unwritten(x.len() / self.inputs * self.outputs);
        let parts = [Part { matrix: self, rows: Rows::All(x.len() / self.inputs), first: 0 }];
        apply_parts(crew, &mut out, x, &parts, true);
        out
    }
}

/// One matrix of several in a phase: it works on `rows` and its output begins at row `first`.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) matrix: &'a Packed,
    pub(super) rows: Rows<'a>,
    pub(super) first: usize,
}

/// The products of several matrices of one shape, each with its own rows of `x`, in one phase; with `silu(gate) * up` of
/// pairs if `gated`.
pub(super) fn apply_parts(crew: &Crew, out: &mut [f32], x: &[f32], parts: &[Part<'_>], gated: bool) {
    let Some(shape) = parts.first().map(|part| part.matrix) else { return };
    let (panels, outputs) = (shape.n_panels(), shape.outputs);
    let n_rows: usize = parts.iter().map(|part| part.rows.len()).sum();
    assert_eq!(out.len(), n_rows * outputs, "the output has a row for every row of every part");
    let work = n_rows * outputs * shape.inputs;
    // How the panels are shared out changes nothing but the speed.
    let per_piece = if work < SHARE { panels } else { (panels * parts.len()).div_ceil(6 * crew.size()).clamp(1, panels) };
    let per_part = panels.div_ceil(per_piece);
    let target = Target::rows(out, outputs);
    let piece = |index: usize| {
        let Part { matrix, rows, first } = parts[index / per_part];
        let start = index % per_part * per_piece;
        let which = start..(start + per_piece).min(panels);
        // SAFETY: pieces write different rows or different columns, all inside the output.
        unsafe {
            let target = target.at(first, 0);
            if gated { matrix.write_gated(which, target, x, rows) } else { matrix.write(which, target, x, rows) }
        }
    };
    if work < SHARE { (0..parts.len() * per_part).for_each(piece) } else { crew.run(parts.len() * per_part, piece) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u64) -> Vec<f32> {
        let stream = crate::random::Stream::new(seed, "packed");
        (0..n as u64).map(|i| stream.normal(i) as f32).collect()
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others() {
        for (inputs, outputs) in [(7, 5), (64, 33), (100, 64)] {
            let w = values(inputs * outputs, 1);
            let packed = Packed::stack(&[&w], inputs);
            let pair = Packed::pair(&w, &values(inputs * outputs, 2), inputs);
            for n in 1..=20 {
                let x = values(n * inputs, 3);
                let (all, gated) = Crew::with(1, |crew| (packed.apply(crew, &x), pair.gated(crew, &x)));
                for (i, x) in x.chunks_exact(inputs).enumerate() {
                    let at = i * outputs..(i + 1) * outputs;
                    assert_eq!(all[at.clone()], packed.apply(&Crew::alone(), x));
                    assert_eq!(gated[at.clone()], pair.gated(&Crew::alone(), x));
                    for (out, w) in all[at].iter().zip(w.chunks_exact(inputs)) {
                        let wanted: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                        assert!((f64::from(*out) - wanted).abs() < 1e-4, "{out} {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn picked_rows_go_to_their_places() {
        let (w, x) = (values(40 * 9, 1), values(5 * 9, 2));
        let packed = Packed::stack(&[&w[..90], &w[90..]], 9);
        let all = packed.apply(&Crew::alone(), &x);
        let mut out = vec![0.0; 3 * 40];
        let parts = [
            Part { matrix: &packed, rows: Rows::Picked(&[4]), first: 2 },
            Part { matrix: &packed, rows: Rows::Picked(&[3, 1]), first: 0 },
        ];
        apply_parts(&Crew::alone(), &mut out, &x, &parts, false);
        assert_eq!(out, [&all[120..160], &all[40..80], &all[160..200]].concat());
    }
}
