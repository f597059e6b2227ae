//! Inner products of few rows with many: nothing is packed, sums run in sixteen lanes.

use std::arch::x86_64::*;

use super::lanes::Lane;
use super::{Target, View};

/// Many rows that are read together.
const TOGETHER: usize = 4;

/// `out[n, o] = x[n, k] w[o, k]^T`, both with consecutive `k`.
///
/// # Safety
/// The views cover the shapes, and the machine has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn rows<L: Lane>(out: Target, [n, o, k]: [usize; 3], x: View, w: View) {
    let whole = o / TOGETHER * TOGETHER;
    // SAFETY: promised by the caller.
    unsafe {
        for column in (0..whole).step_by(TOGETHER) {
            let mut row = 0;
            while row + 4 <= n {
                block::<L, 4, TOGETHER>(out.at(row, column), k, x.at(row, 0), w.at(column, 0));
                row += 4;
            }
            while row < n {
                block::<L, 1, TOGETHER>(out.at(row, column), k, x.at(row, 0), w.at(column, 0));
                row += 1;
            }
        }
        for column in whole..o {
            for row in 0..n {
                block::<L, 1, 1>(out.at(row, column), k, x.at(row, 0), w.at(column, 0));
            }
        }
    }
}

#[inline(always)]
unsafe fn block<L: Lane, const X: usize, const W: usize>(out: Target, k: usize, x: View, w: View) {
    // SAFETY: promised by the caller.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); W]; X];
        for done in (0..k).step_by(16 * L::DEPTH) {
            let mut right = [_mm512_setzero_ps(); W];
            for (i, right) in right.iter_mut().enumerate() {
                *right = L::deep(w.start.add(i * w.row + done), k - done);
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = L::deep(x.start.add(i * x.row + done), k - done);
                for (sum, right) in sums.iter_mut().zip(&right) {
                    *sum = L::multiply_add(*sum, left, *right);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                *out.start.add(i * out.row + j) = _mm512_reduce_add_ps(*sum);
            }
        }
    }
}
