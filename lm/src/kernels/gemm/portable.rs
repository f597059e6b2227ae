//! The products through the `gemm` crate, for machines without AVX-512.

use super::{Packed, Precision, Target, View, Window, Write};

/// A float rounded to bfloat16, to nearest even.
pub(super) fn round_bf16(x: f32) -> f32 {
    half::bf16::from_f32(x).to_f32()
}

/// Copies a `[rows, columns]` view to row-major memory, rounded to `precision`.
///
/// # Safety
/// Both cover the shape.
pub(super) unsafe fn copy(to: *mut f32, from: View, [rows, columns]: [usize; 2], precision: Precision) {
    for row in 0..rows {
        for column in 0..columns {
            // SAFETY: promised by the caller.
            unsafe {
                let x = *from.at(row, column).start;
                *to.add(row * columns + column) = if precision == Precision::Bf16 { round_bf16(x) } else { x };
            }
        }
    }
}

/// See [`super::product`].
///
/// # Safety
/// As there.
pub(super) unsafe fn product(out: Target, [m, n, k]: [usize; 3], a: View, b: View, write: Write, precision: Precision) {
    // SAFETY: promised by the caller; the copies cover the shapes.
    unsafe {
        if precision == Precision::F32 {
            return single(out, [m, n, k], a, b, write);
        }
        let (mut left, mut right) = (vec![0.0; m * k], vec![0.0; k * n]);
        copy(left.as_mut_ptr(), a, [m, k], precision);
        copy(right.as_mut_ptr(), b, [k, n], precision);
        single(out, [m, n, k], View::rows(&left, k), View::rows(&right, n), write);
    }
}

/// See [`super::product_packed`].
///
/// # Safety
/// As there; `b` is row-major.
pub(super) unsafe fn product_packed(out: Target, m: usize, a: View, b: &Packed, window: Window, write: Write) {
    let (columns, k) = (b.size()[1], window.depth.len());
    // SAFETY: promised by the caller; the copy covers the shape.
    unsafe {
        let right = View { start: b.start(), row: columns, column: 1 }.at(window.depth.start, window.columns.start);
        let size = [m, window.columns.len(), k];
        if b.precision() == Precision::F32 {
            return single(out, size, a, right, write);
        }
        let mut left = vec![0.0; m * k];
        copy(left.as_mut_ptr(), a, [m, k], b.precision());
        single(out, size, View::rows(&left, k), right, write);
    }
}

unsafe fn single(out: Target, [m, n, k]: [usize; 3], a: View, b: View, write: Write) {
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
