//! The inner loops of decoding's products: up to sixteen rows by a panel of sixteen outputs.
//!
//! Each output is one sum over the inputs in order, a multiplication and an addition per term, whatever rows stand beside
//! it. Sixteen rows keep the arithmetic units busy: one load per multiplication. Fewer wait for memory, which is read
//! from end to end.

use crate::kernels::simd::multiversion;

/// Outputs side by side in a panel.
pub(super) const PANEL: usize = 16;
/// Sums of up to sixteen rows for one panel.
pub(super) type Tile = [[f32; PANEL]; 16];
/// Inputs that are fetched ahead: a thousand cycles of sixteen rows.
const AHEAD: usize = 64;

/// Sixteen floats that are multiplied and added side by side.
trait Lanes: Copy {
    fn zero() -> Self;
    /// # Safety
    /// There are sixteen floats, and the machine has the instructions.
    unsafe fn load(from: *const f32) -> Self;
    /// `self + x * weights`, rounded twice.
    fn add_product(self, x: f32, weights: Self) -> Self;
    fn store(self, to: &mut [f32; PANEL]);
    /// Asks for a line that is needed soon; any address will do.
    fn fetch(line: *const f32);
}

impl Lanes for [f32; PANEL] {
    #[inline(always)]
    fn zero() -> Self {
        [0.0; PANEL]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: promised by the caller.
        unsafe { from.cast::<Self>().read_unaligned() }
    }

    #[inline(always)]
    fn add_product(mut self, x: f32, weights: Self) -> Self {
        for (sum, weight) in self.iter_mut().zip(weights) {
            *sum += x * weight;
        }
        self
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; PANEL]) {
        *to = self;
    }

    #[inline(always)]
    fn fetch(_: *const f32) {}
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{Lanes, PANEL};

    // Only functions compiled for AVX-512 use it.
    impl Lanes for __m512 {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: every bit pattern is a vector.
            unsafe { std::mem::zeroed() }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: promised by the caller.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        fn add_product(self, x: f32, weights: Self) -> Self {
            // SAFETY: the caller was compiled for these instructions.
            unsafe { _mm512_add_ps(self, _mm512_mul_ps(_mm512_set1_ps(x), weights)) }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; PANEL]) {
            // SAFETY: there are sixteen floats.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self) }
        }

        #[inline(always)]
        fn fetch(line: *const f32) {
            // SAFETY: prefetching has no effect but on speed.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
        }
    }

    /// Exchanges rows and columns of squares of sixteen: four times the perfect shuffle of the rows.
    ///
    /// # Safety
    /// Every row has as many floats as `out` has lanes, or none; the machine has AVX-512.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn interleave(out: &mut [f32], rows: &[&[f32]; 16]) {
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        for (square, out) in out.as_chunks_mut::<256>().0.iter_mut().enumerate() {
            let mut lanes = [_mm512_setzero_ps(); 16];
            for (lane, row) in lanes.iter_mut().zip(rows).filter(|(_, row)| !row.is_empty()) {
                // SAFETY: promised by the caller.
                *lane = unsafe { _mm512_loadu_ps(row.as_ptr().add(square * 16)) };
            }
            for _ in 0..4 {
                let mut shuffled = [_mm512_setzero_ps(); 16];
                for i in 0..8 {
                    shuffled[2 * i] = _mm512_permutex2var_ps(lanes[i], low, lanes[i + 8]);
                    shuffled[2 * i + 1] = _mm512_permutex2var_ps(lanes[i], high, lanes[i + 8]);
                }
                lanes = shuffled;
            }
            for (lane, out) in lanes.into_iter().zip(out.as_chunks_mut::<16>().0) {
                lane.store(out);
            }
        }
    }
}

/// `W` rows that lie input by input.
///
/// # Safety
/// The machine has the instructions of `L`.
#[inline(always)]
unsafe fn side_by_side<L: Lanes, const W: usize>(x: &[f32], panel: &[f32], out: &mut Tile) {
    let mut sums = [L::zero(); W];
    for (x, weights) in x.as_chunks::<W>().0.iter().zip(panel.as_chunks::<PANEL>().0) {
        // Panels follow one another, so what lies behind this one is wanted next.
        L::fetch(weights.as_ptr().wrapping_add(AHEAD * PANEL));
        // SAFETY: there are sixteen weights; the machine is promised by the caller.
        let weights = unsafe { L::load(weights.as_ptr()) };
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = sum.add_product(*x, weights);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        sum.store(out);
    }
}

/// `R` rows.
///
/// # Safety
/// The machine has the instructions of `L`.
#[inline(always)]
unsafe fn apart<L: Lanes, const R: usize>(x: [&[f32]; R], panel: &[f32], out: &mut Tile) {
    let n = panel.len() / PANEL;
    assert!(x.iter().all(|x| x.len() == n), "a row has all inputs");
    let mut sums = [L::zero(); R];
    for (k, weights) in panel.as_chunks::<PANEL>().0.iter().enumerate() {
        // SAFETY: there are sixteen weights; the machine is promised by the caller.
        let weights = unsafe { L::load(weights.as_ptr()) };
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: `k < n`, and every row has `n` elements.
            *sum = sum.add_product(unsafe { *x.get_unchecked(k) }, weights);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        sum.store(out);
    }
}

/// A function with the widest lanes that the machine has.
macro_rules! tile {
    ($(#[$meta:meta])* fn $name:ident($x:ident: $ty:ty) = $inner:ident<$size:literal>) => {
        $(#[$meta])*
        pub(super) fn $name($x: $ty, panel: &[f32], out: &mut Tile) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                unsafe fn wide($x: $ty, panel: &[f32], out: &mut Tile) {
                    // SAFETY: promised by the caller.
                    unsafe { $inner::<std::arch::x86_64::__m512, $size>($x, panel, out) }
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the instructions were just found to exist.
                    return unsafe { wide($x, panel, out) };
                }
            }
            multiversion! {
                // SAFETY: arrays need no instructions.
                fn narrow($x: $ty, panel: &[f32], out: &mut Tile) {
                    unsafe { $inner::<[f32; PANEL], $size>($x, panel, out) }
                }
            }
            narrow($x, panel, out);
        }
    };
}

tile! {
    /// Sixteen rows `[inputs, 16]` by a panel.
    fn sixteen(x: &[f32]) = side_by_side<16>
}
tile! {
    /// Eight rows `[inputs, 8]`.
    fn eight(x: &[f32]) = side_by_side<8>
}
tile! {
    /// One row.
    fn one(x: [&[f32]; 1]) = apart<1>
}
tile! {
    /// Two rows.
    fn two(x: [&[f32]; 2]) = apart<2>
}
tile! {
    /// Four rows.
    fn four(x: [&[f32]; 4]) = apart<4>
}

/// Lays up to sixteen rows side by side, input by input: `[inputs, 16]`, zeros where there is no row.
pub(super) fn interleave_sixteen(out: &mut [f32], rows: &[&[f32]; 16]) {
    let inputs = out.len() / 16;
    assert!(rows.iter().all(|row| row.is_empty() || row.len() == inputs), "rows have all inputs");
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        done = inputs / 16 * 16;
        // SAFETY: the lengths were checked and the instructions were found to exist.
        unsafe { wide::interleave(&mut out[..done * 16], rows) };
    }
    for (at, out) in out.chunks_exact_mut(16).enumerate().skip(done) {
        for (to, row) in out.iter_mut().zip(rows) {
            *to = row.get(at).copied().unwrap_or(0.0);
        }
    }
}

/// Like [`interleave_sixteen`] for up to eight rows.
pub(super) fn interleave_eight(out: &mut [f32], rows: &[&[f32]; 16]) {
    for (at, out) in out.chunks_exact_mut(8).enumerate() {
        for (to, row) in out.iter_mut().zip(rows) {
            *to = row.get(at).copied().unwrap_or(0.0);
        }
    }
}
