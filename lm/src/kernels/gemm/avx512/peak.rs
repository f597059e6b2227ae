//! Multiply-adds without memory: what the micro-kernel is measured against.

use std::arch::x86_64::*;

use super::lanes::Lane;

/// Independent sums, more than the instruction's latency.
pub(super) const SUMS: usize = 24;

/// Runs `rounds` rounds of [`SUMS`] multiply-adds.
///
/// # Safety
/// The machine has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn rounds<L: Lane>(rounds: usize) {
    // SAFETY: promised by the caller; only registers are touched.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let value = std::hint::black_box(_mm512_set1_ps(0.5));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = L::multiply_add(*sum, value, value);
            }
        }
        let total = sums.into_iter().fold(_mm512_setzero_ps(), |total, sum| _mm512_add_ps(total, sum));
        std::hint::black_box(total);
    }
}
