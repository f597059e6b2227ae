//! Matrix products on slices, cut into tiles that depend on the shape only, so the bits do not depend on the threads.
//!
//! All matrices are row-major. `n` counts rows of activations, `i` inputs and `o` outputs of a linear map.

use rayon::prelude::*;

use super::simd;

/// A strided matrix somewhere in memory.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// First element.
    pub(crate) start: *const f32,
    /// Elements from a row to the next.
    pub(crate) row: usize,
    /// Elements from a column to the next.
    pub(crate) column: usize,
}

impl View {
    /// A row-major matrix with `columns` columns.
    pub(crate) fn rows(values: &[f32], columns: usize) -> Self {
        Self { start: values.as_ptr(), row: columns, column: 1 }
    }

    /// The transpose of a row-major matrix with `columns` columns.
    pub(crate) fn transposed(values: &[f32], columns: usize) -> Self {
        Self { start: values.as_ptr(), row: 1, column: columns }
    }

    /// The same matrix from element `(row, column)` on.
    ///
    /// # Safety
    /// The element lies inside the allocation.
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: promised by the caller.
        Self { start: unsafe { self.start.add(row * self.row + column * self.column) }, ..self }
    }
}

// SAFETY: a view is only an address; whoever reads through it promises that it is valid.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

/// Where a product goes: row-major with `row` elements from a row to the next.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// First element.
    pub(crate) start: *mut f32,
    /// Elements from a row to the next.
    pub(crate) row: usize,
}

impl Target {
    /// A row-major matrix with `columns` columns.
    pub(crate) fn rows(values: &mut [f32], columns: usize) -> Self {
        Self { start: values.as_mut_ptr(), row: columns }
    }

    /// The same matrix from element `(row, column)` on.
    ///
    /// # Safety
    /// The element lies inside the allocation.
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: promised by the caller.
        Self { start: unsafe { self.start.add(row * self.row + column) }, ..self }
    }
}

// SAFETY: a target is only an address; whoever writes through it promises that nobody else touches the same elements.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// What happens to the old content of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It is replaced.
    Set,
    /// The product is added to it.
    Add,
}

/// `out[m, n] = a[m, k] b[k, n]` (or `+=`) on this thread.
///
/// # Safety
/// The views cover `m x k`, `k x n` and `m x n` elements that are valid, and nobody else accesses those of `out`.
pub(crate) unsafe fn product(out: Target, [m, n, k]: [usize; 3], a: View, b: View, write: Write) {
    if m == 0 || n == 0 {
        return;
    }
    let accumulate = write == Write::Add;
    // SAFETY: promised by the caller.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.start,
            1,
            out.row as isize,
            accumulate,
            a.start,
            a.column as isize,
            a.row as isize,
            b.start,
            b.column as isize,
            b.row as isize,
            if accumulate { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// How an `m x n` target is cut: at most about sixteen tiles, and none below 32 x 64.
fn tile(m: usize, n: usize) -> (usize, usize) {
    let rows = m.div_ceil(16).next_multiple_of(32).clamp(32, 256);
    let strips = m.div_ceil(rows);
    let columns = if strips >= 4 { n } else { n.div_ceil(8usize.div_ceil(strips)).next_multiple_of(64).max(64) };
    (rows, columns)
}

/// Like [`product`], with the tiles of the target spread over rayon's pool.
///
/// # Safety
/// As for [`product`].
unsafe fn parallel_product(out: Target, [m, n, k]: [usize; 3], a: View, b: View, write: Write) {
    let (rows, columns) = tile(m, n);
    let (down, across) = (m.div_ceil(rows), n.div_ceil(columns));
    let one = |index: usize| {
        let (top, left) = (index / across * rows, index % across * columns);
        let size = [rows.min(m - top), columns.min(n - left), k];
        // SAFETY: the tiles are disjoint pieces of what the caller promised.
        unsafe {
            product(out.at(top, left), size, a.at(top, 0), b.at(0, left), write);
        }
    };
    if m * n * k < 1 << 16 {
        (0..down * across).for_each(one);
    } else {
        (0..down * across).into_par_iter().for_each(one);
    }
}

/// `out[n, o] = x[n, i] w[o, i]^T`.
pub(crate) fn forward(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize) {
    let (n, outputs) = (x.len() / inputs, w.len() / inputs);
    assert_eq!(out.len(), n * outputs, "forward: the shapes fit");
    let size = [n, outputs, inputs];
    // SAFETY: the lengths were checked and `out` is borrowed exclusively.
    unsafe {
        parallel_product(Target::rows(out, outputs), size, View::rows(x, inputs), View::transposed(w, inputs), Write::Set);
    }
}

/// `dx[n, i] = dy[n, o] w[o, i]` (or `+=`).
pub(crate) fn backward_input(dx: &mut [f32], dy: &[f32], w: &[f32], inputs: usize, write: Write) {
    let outputs = w.len() / inputs;
    let n = dy.len() / outputs;
    assert_eq!(dx.len(), n * inputs, "backward_input: the shapes fit");
    let size = [n, inputs, outputs];
    // SAFETY: the lengths were checked and `dx` is borrowed exclusively.
    unsafe {
        parallel_product(Target::rows(dx, inputs), size, View::rows(dy, outputs), View::rows(w, inputs), write);
    }
}

/// `dw[o, i] = dy[n, o]^T x[n, i]` (or `+=`).
pub(crate) fn backward_weight(dw: &mut [f32], dy: &[f32], x: &[f32], inputs: usize, write: Write) {
    let outputs = dw.len() / inputs;
    let n = x.len() / inputs;
    assert_eq!(dy.len(), n * outputs, "backward_weight: the shapes fit");
    if n >= 2 * SPLIT_ROWS && dw.len() <= SPLIT_MAX {
        return sum_of_pieces(dw, dy, x, inputs, write);
    }
    let size = [outputs, inputs, n];
    // SAFETY: the lengths were checked and `dw` is borrowed exclusively.
    unsafe {
        parallel_product(Target::rows(dw, inputs), size, View::transposed(dy, outputs), View::rows(x, inputs), write);
    }
}

/// Rows per piece of a weight gradient that is cut along the rows.
const SPLIT_ROWS: usize = 512;
/// Largest weight gradient that is cut along the rows.
const SPLIT_MAX: usize = 1 << 17;

/// A small weight gradient over many rows: products of pieces of the rows, added in order.
fn sum_of_pieces(dw: &mut [f32], dy: &[f32], x: &[f32], inputs: usize, write: Write) {
    let outputs = dw.len() / inputs;
    let pieces: Vec<Vec<f32>> = dy
        .par_chunks(SPLIT_ROWS * outputs)
        .zip(x.par_chunks(SPLIT_ROWS * inputs))
        .map(|(dy, x)| {
            let mut piece = simd::unwritten(outputs * inputs);
            let size = [outputs, inputs, x.len() / inputs];
            // SAFETY: the slices cover the shapes and `piece` is this closure's own.
            unsafe {
                let (dy, x) = (View::transposed(dy, outputs), View::rows(x, inputs));
                product(Target::rows(&mut piece, inputs), size, dy, x, Write::Set);
            }
            piece
        })
        .collect();
    let mut pieces = pieces.iter();
    if write == Write::Set {
        dw.copy_from_slice(pieces.next().expect("there are at least two pieces"));
    }
    for piece in pieces {
        simd::add(dw, piece);
    }
}

/// The same products on this thread alone, for use inside a parallel loop.
pub(crate) mod local {
    use super::{Target, View, Write, product};

    /// `out[n, o] = x[n, i] w[o, i]^T`.
    pub(crate) fn forward(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize) {
        let (n, outputs) = (x.len() / inputs, w.len() / inputs);
        assert_eq!(out.len(), n * outputs, "forward: the shapes fit");
        let size = [n, outputs, inputs];
        // SAFETY: the lengths were checked and `out` is borrowed exclusively.
        unsafe {
            product(Target::rows(out, outputs), size, View::rows(x, inputs), View::transposed(w, inputs), Write::Set);
        }
    }

    /// `dx[n, i] = dy[n, o] w[o, i]` (or `+=`).
    pub(crate) fn backward_input(dx: &mut [f32], dy: &[f32], w: &[f32], inputs: usize, write: Write) {
        let outputs = w.len() / inputs;
        let n = dy.len() / outputs;
        assert_eq!(dx.len(), n * inputs, "backward_input: the shapes fit");
        let size = [n, inputs, outputs];
        // SAFETY: the lengths were checked and `dx` is borrowed exclusively.
        unsafe {
            product(Target::rows(dx, inputs), size, View::rows(dy, outputs), View::rows(w, inputs), write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u64) -> Vec<f32> {
        let stream = crate::random::Stream::new(seed, "matmul");
        (0..n as u64).map(|i| stream.normal(i) as f32).collect()
    }

    #[test]
    fn products_agree_with_three_loops() {
        for [n, i, o] in [[1, 3, 5], [300, 7, 70], [33, 64, 129], [1100, 5, 3]] {
            let (x, w, dy) = (values(n * i, 1), values(o * i, 2), values(n * o, 3));
            let mut out = vec![f32::NAN; n * o];
            forward(&mut out, &x, &w, i);
            let mut dx = vec![1.0; n * i];
            backward_input(&mut dx, &dy, &w, i, Write::Add);
            let mut dw = vec![f32::NAN; o * i];
            backward_weight(&mut dw, &dy, &x, i, Write::Set);
            let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} {b}");
            let get = |m: &[f32], row: usize, columns: usize, column: usize| f64::from(m[row * columns + column]);
            for row in 0..n {
                for column in 0..o {
                    close(out[row * o + column], (0..i).map(|k| get(&x, row, i, k) * get(&w, column, i, k)).sum());
                }
                for column in 0..i {
                    close(dx[row * i + column], 1.0 + (0..o).map(|k| get(&dy, row, o, k) * get(&w, k, i, column)).sum::<f64>());
                }
            }
            for row in 0..o {
                for column in 0..i {
                    close(dw[row * i + column], (0..n).map(|k| get(&dy, k, o, row) * get(&x, k, i, column)).sum());
                }
            }
        }
    }
}
