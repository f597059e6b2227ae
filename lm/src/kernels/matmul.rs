//! The products of a linear map on slices. Bits do not depend on the number of threads.
//!
//! All matrices are row-major. `n` counts rows of activations, `i` inputs and `o` outputs of a linear map. Weights that
//! meet many pieces of activations are packed once ([`pack_forward`], [`pack_backward`]).

use super::gemm::{self, parallel_product};
pub(crate) use super::gemm::{Packed, Part, Precision, Target, View, Window, Write, product, product_packed};
use super::simd;

/// `out[n, o] = x[n, i] w[o, i]^T` in single precision.
#[cfg(test)]
pub(crate) fn forward(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize) {
    forward_in(out, x, w, inputs, Precision::F32);
}

/// `out[n, o] = x[n, i] w[o, i]^T`.
pub(crate) fn forward_in(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize, precision: Precision) {
    let (n, outputs) = (x.len() / inputs, w.len() / inputs);
    assert_eq!(out.len(), n * outputs, "forward: the shapes fit");
    if gemm::is_few(n, precision) {
        return gemm::few_rows(out, x, w, inputs, precision);
    }
    let size = [n, outputs, inputs];
    let (x, w) = (View::rows(x, inputs), View::transposed(w, inputs));
    // SAFETY: the lengths were checked and `out` is borrowed exclusively.
    unsafe {
        parallel_product(Target::rows(out, outputs), size, x, w, Write::Set, precision);
    }
}

/// `dx[n, i] = dy[n, o] w[o, i]` (or `+=`).
pub(crate) fn backward_input(dx: &mut [f32], dy: &[f32], w: &[f32], inputs: usize, write: Write, precision: Precision) {
    let outputs = w.len() / inputs;
    let n = dy.len() / outputs;
    assert_eq!(dx.len(), n * inputs, "backward_input: the shapes fit");
    let size = [n, inputs, outputs];
    let (dy, w) = (View::rows(dy, outputs), View::rows(w, inputs));
    // SAFETY: the lengths were checked and `dx` is borrowed exclusively.
    unsafe {
        parallel_product(Target::rows(dx, inputs), size, dy, w, write, precision);
    }
}

/// `dw[o, i] = dy[n, o]^T x[n, i]` (or `+=`).
///
/// Pieces of the rows added in order give the bits of the whole where they are cut at multiples of
/// [`gemm::block_depth`].
pub(crate) fn backward_weight(dw: &mut [f32], dy: &[f32], x: &[f32], inputs: usize, write: Write, precision: Precision) {
    let outputs = dw.len() / inputs;
    let n = x.len() / inputs;
    assert_eq!(dy.len(), n * outputs, "backward_weight: the shapes fit");
    let size = [outputs, inputs, n];
    let (dy, x) = (View::transposed(dy, outputs), View::rows(x, inputs));
    // SAFETY: the lengths were checked and `dw` is borrowed exclusively.
    unsafe {
        parallel_product(Target::rows(dw, inputs), size, dy, x, write, precision);
    }
}

/// Weights `[o, i]` packed for `x w^T`.
pub(crate) fn pack_forward(w: &[f32], inputs: usize, precision: Precision) -> Packed {
    // SAFETY: the view is the slice.
    unsafe { Packed::new(View::transposed(w, inputs), [inputs, w.len() / inputs], precision) }
}

/// Weights `[o, i]` packed for `dy w`.
pub(crate) fn pack_backward(w: &[f32], inputs: usize, precision: Precision) -> Packed {
    // SAFETY: the view is the slice.
    unsafe { Packed::new(View::rows(w, inputs), [w.len() / inputs, inputs], precision) }
}

/// `out[n, columns] = x[n, k] w[k, columns]` (or `+=`).
pub(crate) fn multiply(out: &mut [f32], x: &[f32], w: &Packed, write: Write) {
    multiply_all([out], x, [w], write);
}

/// [`multiply`] of the same `x` with several weights.
pub(crate) fn multiply_all<const N: usize>(outs: [&mut [f32]; N], x: &[f32], weights: [&Packed; N], write: Write) {
    let Some(k) = weights.first().map(|w| w.size()[0]) else { return };
    let n = x.len() / k;
    let mut weights = weights.into_iter();
    let parts = outs.map(|out| {
        let w = weights.next().expect("both arrays have N elements");
        assert_eq!(out.len(), n * w.size()[1], "multiply: the shapes fit");
        (Target::rows(out, w.size()[1]), w)
    });
    // SAFETY: the lengths were checked and the outputs are borrowed exclusively.
    unsafe {
        gemm::parallel_products_packed(&parts, n, View::rows(x, k), write);
    }
}

/// `out[n, o] = x[n, i] w[o, i]^T` for several weights.
pub(crate) fn forward_all<const N: usize>(
    outs: [&mut [f32]; N],
    x: &[f32],
    weights: [&[f32]; N],
    inputs: usize,
    precision: Precision,
) {
    let packed = weights.map(|w| pack_forward(w, inputs, precision));
    multiply_all(outs, x, packed.each_ref(), Write::Set);
}

/// The input of linear maps packed for [`weight_gradient`] of several of them.
pub(crate) fn pack_input(x: &[f32], inputs: usize, precision: Precision) -> Packed {
    pack_backward(x, inputs, precision)
}

/// [`backward_weight`] from a packed input: `dw[o, i]`.
pub(crate) fn weight_gradient(dy: &[f32], x: &Packed) -> Vec<f32> {
    let [n, inputs] = x.size();
    let outputs = dy.len() / n;
    let mut dw = simd::unwritten(outputs * inputs);
    // SAFETY: the views are the slices, `dw` was made with their shape.
    unsafe {
        let (target, dy) = (Target::rows(&mut dw, inputs), View::transposed(dy, outputs));
        gemm::parallel_products_packed(&[(target, x)], outputs, dy, Write::Set);
    }
    dw
}

/// The same products on this thread alone, for use inside a parallel loop.
pub(crate) mod local {
    use super::{Packed, Part, Target, View, Write, gemm};

    /// `out[n, columns] = x[n, k] w[k, columns]` (or `+=`).
    pub(crate) fn multiply(out: &mut [f32], x: &[f32], w: &Packed, write: Write) {
        multiply_all([out], x, [w], write);
    }

    /// [`multiply`] of the same `x` with several weights.
    pub(crate) fn multiply_all<const N: usize>(outs: [&mut [f32]; N], x: &[f32], weights: [&Packed; N], write: Write) {
        let Some(k) = weights.first().map(|w| w.size()[0]) else { return };
        let n = x.len() / k;
        let mut weights = weights.into_iter();
        let parts = outs.map(|out| {
            let b = weights.next().expect("both arrays have N elements");
            let columns = b.size()[1];
            assert_eq!(out.len(), n * columns, "multiply: the shapes fit");
            Part { out: Target::rows(out, columns), b, columns: 0..columns }
        });
        // SAFETY: the lengths were checked and the outputs are borrowed exclusively.
        unsafe {
            gemm::products_packed(&parts, n, View::rows(x, k), 0..k, write);
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
            backward_input(&mut dx, &dy, &w, i, Write::Add, Precision::F32);
            let mut dw = vec![f32::NAN; o * i];
            backward_weight(&mut dw, &dy, &x, i, Write::Set, Precision::F32);
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
