//! A lane of depth in either precision: 32 bits that hold one float, or two bf16 that are multiplied and added at once.

use std::arch::x86_64::*;

use super::dot;
use super::micro::{self, Corner};
use super::pack::{self, Strips};
use super::{Target, View, peak};

/// How lanes are made and multiplied.
///
/// # Safety
/// All functions need the instructions of the precision.
pub(super) trait Lane {
    /// Terms in a lane.
    const DEPTH: usize;

    /// `sum + left * right` in all sixteen columns.
    unsafe fn multiply_add(sum: __m512, left: __m512, right: __m512) -> __m512;

    /// Sixteen lanes in order of depth from consecutive floats, of which `left` exist; the rest is 0.
    unsafe fn deep(from: *const f32, left: usize) -> __m512;

    /// One lane of the columns in `mask`, whose terms are `step` floats apart and of which `left` exist.
    unsafe fn wide(from: *const f32, step: usize, left: usize, mask: __mmask16) -> __m512;
}

/// What the blocking needs, compiled with the instructions of the precision.
///
/// # Safety
/// All functions need these instructions.
pub(super) trait Kernel {
    /// Terms in a lane.
    const DEPTH: usize;
    /// See [`pack::strips`].
    unsafe fn pack(strips: Strips);
    /// See [`micro::corner`].
    unsafe fn multiply(corner: Corner);
    /// See [`dot::rows`].
    unsafe fn dot(out: Target, size: [usize; 3], x: View, w: View);
    /// See [`peak::rounds`].
    unsafe fn peak(rounds: usize);
}

/// Single precision.
pub(super) struct Single;

/// Pairs of bf16.
pub(super) struct Bf16;

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

impl Lane for Single {
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, left: __m512, right: __m512) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_fmadd_ps(left, right, sum) }
    }

    #[inline(always)]
    unsafe fn deep(from: *const f32, left: usize) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { if left >= 16 { _mm512_loadu_ps(from) } else { _mm512_maskz_loadu_ps(first(left), from) } }
    }

    #[inline(always)]
    unsafe fn wide(from: *const f32, _step: usize, _left: usize, mask: __mmask16) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
}

/// Places the bf16 of two halves alternately.
static ALTERNATE: [i16; 32] =
    [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];

impl Lane for Bf16 {
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, left: __m512, right: __m512) -> __m512 {
        // SAFETY: promised by the caller; both types are 512 bits.
        unsafe {
            _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512, __m512bh>(left), std::mem::transmute::<__m512, __m512bh>(right))
        }
    }

    #[inline(always)]
    unsafe fn deep(from: *const f32, left: usize) -> __m512 {
        // SAFETY: promised by the caller; masked-out elements are not read.
        unsafe {
            let (low, high) = if left >= 32 {
                (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16)))
            } else {
                let high = _mm512_maskz_loadu_ps(first(left.saturating_sub(16)), from.wrapping_add(16));
                (_mm512_maskz_loadu_ps(first(left), from), high)
            };
            std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[inline(always)]
    unsafe fn wide(from: *const f32, step: usize, left: usize, mask: __mmask16) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask, from);
            let high = if left >= 2 { _mm512_maskz_loadu_ps(mask, from.wrapping_add(step)) } else { _mm512_setzero_ps() };
            let halves = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_loadu_epi16(ALTERNATE.as_ptr()), halves))
        }
    }
}

/// Compiles the kernels of a precision with its instructions.
macro_rules! kernel {
    ($lane:ty, $features:literal) => {
        impl Kernel for $lane {
            const DEPTH: usize = <$lane as Lane>::DEPTH;

            #[target_feature(enable = $features)]
            unsafe fn pack(strips: Strips) {
                // SAFETY: promised by the caller.
                unsafe { pack::strips::<$lane>(strips) }
            }

            #[target_feature(enable = $features)]
            unsafe fn dot(out: Target, size: [usize; 3], x: View, w: View) {
                // SAFETY: promised by the caller.
                unsafe { dot::rows::<$lane>(out, size, x, w) }
            }

            #[target_feature(enable = $features)]
            unsafe fn peak(rounds: usize) {
                // SAFETY: promised by the caller.
                unsafe { peak::rounds::<$lane>(rounds) }
            }

            #[target_feature(enable = $features)]
            unsafe fn multiply(corner: Corner) {
                #[target_feature(enable = $features)]
                unsafe fn fixed<const ROWS: usize, const VECTORS: usize>(corner: Corner) {
                    // SAFETY: promised by the caller.
                    unsafe { micro::corner::<$lane, ROWS, VECTORS>(corner) }
                }
                // SAFETY: promised by the caller; the match gives the kernel for the corner's size.
                unsafe {
                    match (corner.rows, corner.columns > 16) {
                        (1, true) => fixed::<1, 2>(corner),
                        (1, false) => fixed::<1, 1>(corner),
                        (2, true) => fixed::<2, 2>(corner),
                        (2, false) => fixed::<2, 1>(corner),
                        (3, true) => fixed::<3, 2>(corner),
                        (3, false) => fixed::<3, 1>(corner),
                        (4, true) => fixed::<4, 2>(corner),
                        (4, false) => fixed::<4, 1>(corner),
                        (5, true) => fixed::<5, 2>(corner),
                        (5, false) => fixed::<5, 1>(corner),
                        (6, true) => fixed::<6, 2>(corner),
                        (6, false) => fixed::<6, 1>(corner),
                        (7, true) => fixed::<7, 2>(corner),
                        (7, false) => fixed::<7, 1>(corner),
                        (8, true) => fixed::<8, 2>(corner),
                        (8, false) => fixed::<8, 1>(corner),
                        (9, true) => fixed::<9, 2>(corner),
                        (9, false) => fixed::<9, 1>(corner),
                        (10, true) => fixed::<10, 2>(corner),
                        (10, false) => fixed::<10, 1>(corner),
                        (11, true) => fixed::<11, 2>(corner),
                        (11, false) => fixed::<11, 1>(corner),
                        (12, true) => fixed::<12, 2>(corner),
                        (12, false) => fixed::<12, 1>(corner),
                        (13, true) => fixed::<13, 2>(corner),
                        (13, false) => fixed::<13, 1>(corner),
                        (14, true) => fixed::<14, 2>(corner),
                        (14, false) => fixed::<14, 1>(corner),
                        _ => unreachable!("panels have between 1 and 14 rows"),
                    }
                }
            }
        }
    };
}

kernel!(Single, "avx512f,avx512bw,avx512dq,avx512vl");
kernel!(Bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16");
