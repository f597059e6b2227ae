//! Products of few rows with a weight matrix: bound by reading the weights, so they are read once and never packed.

use rayon::prelude::*;

use super::{Precision, Target, View, has_avx512};

/// Rows up to which this beats packing.
const FEW: usize = 16;
/// Weights per piece of parallel work.
const PIECE: usize = 32 << 10;

/// Whether [`few_rows`] serves a product of `n` rows.
pub(crate) fn is_few(n: usize, precision: Precision) -> bool {
    n <= FEW && has_avx512(precision)
}

/// `out[n, o] = x[n, i] w[o, i]^T` for `n` that [`is_few`], spread over rayon's pool.
///
/// An element is the sum of sixteen lanes of fused multiply-adds (bf16: of pairs), whatever `n` and `o` are.
pub(crate) fn few_rows(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize, precision: Precision) {
    let (n, outputs) = (x.len() / inputs, w.len() / inputs);
    assert!(is_few(n, precision) && out.len() == n * outputs, "few_rows: the shapes fit");
    let target = Target::rows(out, outputs);
    let x = View::rows(x, inputs);
    let rows = (PIECE / inputs).max(16);
    let one = |(i, w): (usize, &[f32])| {
        let size = [n, w.len() / inputs, inputs];
        // SAFETY: the lengths were checked, columns are disjoint, and the machine has the instructions.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            super::avx512::dot_rows(target.at(0, i * rows), size, x, View::rows(w, inputs), precision);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (size, i, &target, x);
    };
    if w.len() < 4 * PIECE {
        w.chunks(rows * inputs).enumerate().for_each(one);
    } else {
        w.par_chunks(rows * inputs).enumerate().for_each(one);
    }
}
