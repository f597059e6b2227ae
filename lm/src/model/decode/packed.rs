//! Weight matrices in the order in which decoding reads them, and their products with a few rows.
//!
//! Each output is one sum over the inputs in order, whatever the number of rows: a row's result has the same bits alone
//! and among others, in a prompt and after it. A weight is read from memory once per sixteen rows.

use rayon::prelude::*;

use super::crew::Crew;
use crate::kernels::matmul::Target;
use crate::kernels::rows;
use crate::kernels::simd;

mod tiles;

use tiles::{PANEL, Tile};

/// Multiplications below which a product is not worth sharing.
const SHARE: usize = 1 << 14;
/// Pieces per thread of a product.
const PIECES: usize = 8;
/// Blocks of rows from which on several threads lay them side by side.
const BLOCKS: usize = 4;

/// A matrix `[outputs, inputs]` as panels `[inputs, 16]`, the last one filled up with zeros.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    inputs: usize,
    outputs: usize,
    panels: Vec<f32>,
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

/// What a product does with the panels.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Every panel gives sixteen outputs.
    Plain,
    /// Panels come in pairs, which give `silu(gate) * up`.
    Gated,
}

/// Up to sixteen rows of an input as the inner loops read them.
struct Block<'a> {
    /// The first of them in the output.
    first: usize,
    rows: [&'a [f32]; 16],
    n: usize,
    /// Side by side, input by input, where there are more than four; for eight or sixteen.
    interleaved: &'a [f32],
}

/// Rows for which memory to lay `n` rows side by side is needed.
fn lanes(n: usize) -> usize {
    match n {
        0..=4 => 0,
        5..=8 => 8,
        _ => 16,
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

    /// The sums of panel `index`.
    fn sums(&self, tile: &mut Tile, index: usize, block: &Block<'_>) {
        let size = PANEL * self.inputs;
        let panel = &self.panels[index * size..(index + 1) * size];
        let row = |i: usize| block.rows[i.min(block.n - 1)];
        match block.n {
            1 => tiles::one([row(0)], panel, tile),
            2 => tiles::two([row(0), row(1)], panel, tile),
            3 | 4 => tiles::four([row(0), row(1), row(2), row(3)], panel, tile),
            5..=8 => tiles::eight(block.interleaved, panel, tile),
            _ => tiles::sixteen(block.interleaved, panel, tile),
        }
    }

    /// Writes columns `16 * which` of the product of `blocks` to `out`.
    ///
    /// # Safety
    /// Nobody else accesses these columns of `out`, which has the rows of the blocks.
    unsafe fn write(&self, which: std::ops::Range<usize>, out: Target, blocks: &[Block<'_>], form: Form) {
        let (mut tile, mut up) = ([[0.0; PANEL]; 16], [[0.0; PANEL]; 16]);
        for (unit, block) in which.flat_map(|unit| blocks.iter().map(move |block| (unit, block))) {
            match form {
                Form::Plain => self.sums(&mut tile, unit, block),
                Form::Gated => {
                    self.sums(&mut tile, 2 * unit, block);
                    self.sums(&mut up, 2 * unit + 1, block);
                    rows::swiglu_in_place(tile[..block.n].as_flattened_mut(), up[..block.n].as_flattened());
                }
            }
            let columns = PANEL.min(self.outputs - unit * PANEL);
            for (i, sums) in tile[..block.n].iter().enumerate() {
                // SAFETY: promised by the caller.
                unsafe {
                    let start = out.at(block.first + i, unit * PANEL).start;
                    match columns {
                        // A length that is known is copied without a call.
                        PANEL => *start.cast::<[f32; PANEL]>() = *sums,
                        _ => std::slice::from_raw_parts_mut(start, columns).copy_from_slice(&sums[..columns]),
                    }
                }
            }
        }
    }

    /// `x w^T` for the rows of `x` `[n, inputs]`: `[n, outputs]`.
    pub(super) fn apply(&self, crew: &Crew, x: &[f32]) -> Vec<f32> {
        self.product(crew, x, Form::Plain)
    }

    /// `silu(x gate^T) * (x up^T)` of a pair: `[n, outputs]`.
    pub(super) fn gated(&self, crew: &Crew, x: &[f32]) -> Vec<f32> {
        self.product(crew, x, Form::Gated)
    }

    fn product(&self, crew: &Crew, x: &[f32], form: Form) -> Vec<f32> {
        let mut out = simd::unwritten(x.len() / self.inputs * self.outputs);
        let parts = [Part { matrix: self, rows: Rows::All(x.len() / self.inputs), first: 0 }];
        apply_parts(crew, &mut out, x, &parts, form);
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

impl Part<'_> {
    /// Its rows in blocks, with memory for each to lay them side by side cut off `memory`.
    fn blocks<'a>(&self, x: &'a [f32], memory: &mut &'a mut [f32], inputs: usize) -> Vec<Laying<'a>> {
        let n = self.rows.len();
        let cut = (0..n).step_by(16).map(|start| {
            let mut rows: [&[f32]; 16] = [&[]; 16];
            let n = 16.min(n - start);
            for (i, row) in rows[..n].iter_mut().enumerate() {
                *row = &x[self.rows.at(start + i) * inputs..][..inputs];
            }
            let (side_by_side, rest) = std::mem::take(memory).split_at_mut(lanes(n) * inputs);
            *memory = rest;
            Laying { first: self.first + start, rows, n, side_by_side }
        });
        cut.collect()
    }
}

/// A [`Block`] in the making.
struct Laying<'a> {
    first: usize,
    rows: [&'a [f32]; 16],
    n: usize,
    side_by_side: &'a mut [f32],
}

impl Laying<'_> {
    fn interleave(&mut self) {
        match self.n {
            0..=4 => {}
            5..=8 => tiles::interleave_eight(self.side_by_side, &self.rows),
            _ => tiles::interleave_sixteen(self.side_by_side, &self.rows),
        }
    }
}

/// The products of several matrices of one shape, each with its own rows of `x`, in one phase.
pub(super) fn apply_parts(crew: &Crew, out: &mut [f32], x: &[f32], parts: &[Part<'_>], form: Form) {
    let Some(shape) = parts.first().map(|part| part.matrix) else { return };
    let (inputs, outputs) = (shape.inputs, shape.outputs);
    let n_rows: usize = parts.iter().map(|part| part.rows.len()).sum();
    assert_eq!(out.len(), n_rows * outputs, "the output has a row for every row of every part");
    let work = n_rows * outputs * inputs;
    let shared = work >= SHARE;
    let side_by_side = |n: usize| n / 16 * 16 + lanes(n % 16);
    let mut memory = simd::unwritten(parts.iter().map(|part| side_by_side(part.rows.len()) * inputs).sum());
    let mut memory = memory.as_mut_slice();
    let mut laying: Vec<Laying<'_>> = Vec::with_capacity(parts.len());
    // Where each part's blocks end.
    let mut ends = Vec::with_capacity(parts.len());
    for part in parts {
        laying.extend(part.blocks(x, &mut memory, inputs));
        ends.push(laying.len());
    }
    if shared && laying.len() >= BLOCKS {
        crew.each(&mut laying, |_, block| block.interleave());
    } else {
        laying.iter_mut().for_each(Laying::interleave);
    }
    let block = |Laying { first, rows, n, side_by_side }| Block { first, rows, n, interleaved: side_by_side };
    let blocks: Vec<Block<'_>> = laying.into_iter().map(block).collect();
    // How the panels are shared out changes nothing but the speed.
    let panels = outputs.div_ceil(PANEL);
    let per_piece = if shared { (panels * parts.len()).div_ceil(PIECES * crew.size()).clamp(1, panels) } else { panels };
    let per_part = panels.div_ceil(per_piece);
    let target = Target::rows(out, outputs);
    let piece = |index: usize| {
        let (part, start) = (index / per_part, index % per_part * per_piece);
        let blocks = &blocks[if part == 0 { 0 } else { ends[part - 1] }..ends[part]];
        // SAFETY: pieces write different rows or different columns, all inside the output.
        unsafe { parts[part].matrix.write(start..(start + per_piece).min(panels), target, blocks, form) }
    };
    if shared { crew.run(parts.len() * per_part, piece) } else { (0..parts.len() * per_part).for_each(piece) }
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
        for (inputs, outputs) in [(7, 5), (64, 33), (100, 81)] {
            let w = values(inputs * outputs, 1);
            let packed = Packed::stack(&[&w], inputs);
            let pair = Packed::pair(&w, &values(inputs * outputs, 2), inputs);
            for n in (1..=20).chain([40]) {
                let x = values(n * inputs, 3);
                let (all, gated) = Crew::with(1, |crew| (packed.apply(crew, &x), pair.gated(crew, &x)));
                for (i, x) in x.chunks_exact(inputs).enumerate() {
                    let at = i * outputs..(i + 1) * outputs;
                    assert_eq!(all[at.clone()], packed.apply(&Crew::alone(), x));
                    assert_eq!(gated[at.clone()], pair.gated(&Crew::alone(), x));
                    for (out, w) in all[at].iter().zip(w.chunks_exact(inputs)) {
                        // To the bit: one product after the other.
                        assert_eq!(*out, x.iter().zip(w).fold(0.0, |sum, (x, w)| sum + x * w));
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
        apply_parts(&Crew::alone(), &mut out, &x, &parts, Form::Plain);
        assert_eq!(out, [&all[120..160], &all[40..80], &all[160..200]].concat());
    }
}
