//! The inner loops of decoding's products: a few rows by one or more panels of sixteen outputs.
//!
//! Each output is one sum over the inputs in order, a multiplication and an addition per term, whatever rows stand beside
//! it. Sixteen rows by one panel is the shape that keeps the arithmetic units busy: one load per multiplication. Fewer
//! rows wait for memory, so they take several panels at once.

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
}

/// `W` rows that lie input by input.
///
/// # Safety
/// The machine has the instructions of `L`.
#[inline(always)]
unsafe fn side_by_side<L: Lanes, const W: usize>(x: &[f32], panel: &[f32], out: &mut [Tile]) {
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
    for (sum, out) in sums.into_iter().zip(&mut out[0]) {
        sum.store(out);
    }
}

/// `R` rows by `P` panels that follow one another.
///
/// # Safety
/// The machine has the instructions of `L`.
#[inline(always)]
unsafe fn apart<L: Lanes, const R: usize, const P: usize>(x: [&[f32]; R], panels: &[f32], out: &mut [Tile]) {
    let n = x[0].len();
    assert!(x.iter().all(|x| x.len() == n) && panels.len() == P * n * PANEL && out.len() == P, "the shapes fit");
    let mut sums = [[L::zero(); R]; P];
    for k in 0..n {
        for p in 0..P {
            // SAFETY: `k < n`, and every panel has `n` times sixteen weights.
            let weights = unsafe { L::load(panels.as_ptr().add((p * n + k) * PANEL)) };
            for r in 0..R {
                // SAFETY: `k < n`, and every row has `n` elements.
                sums[p][r] = sums[p][r].add_product(unsafe { *x[r].get_unchecked(k) }, weights);
            }
        }
    }
    for (sums, out) in sums.into_iter().zip(out) {
        for (sum, out) in sums.into_iter().zip(out) {
            sum.store(out);
        }
    }
}

/// A function with the widest lanes that the machine has.
macro_rules! tile {
    ($(#[$meta:meta])* fn $name:ident($x:ident: $ty:ty) = $inner:ident<$($size:literal),*>) => {
        $(#[$meta])*
        pub(super) fn $name($x: $ty, panels: &[f32], out: &mut [Tile]) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                unsafe fn wide($x: $ty, panels: &[f32], out: &mut [Tile]) {
                    // SAFETY: promised by the caller.
                    unsafe { $inner::<std::arch::x86_64::__m512, $($size),*>($x, panels, out) }
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the instructions were just found to exist.
                    return unsafe { wide($x, panels, out) };
                }
            }
            multiversion! {
                // SAFETY: arrays need no instructions.
                fn narrow($x: $ty, panels: &[f32], out: &mut [Tile]) {
                    unsafe { $inner::<[f32; PANEL], $($size),*>($x, panels, out) }
                }
            }
            narrow($x, panels, out);
        }
    };
}

tile! {
    /// Sixteen rows `[inputs, 16]` by one panel `[inputs, 16]`.
    fn sixteen(x: &[f32]) = side_by_side<16>
}
tile! {
    /// Eight rows `[inputs, 8]` by one panel.
    fn eight(x: &[f32]) = side_by_side<8>
}
tile! {
    /// One row by one panel.
    fn one(x: [&[f32]; 1]) = apart<1, 1>
}
tile! {
    /// One row by four panels.
    fn one_by_four(x: [&[f32]; 1]) = apart<1, 4>
}
tile! {
    /// Two rows by one panel.
    fn two(x: [&[f32]; 2]) = apart<2, 1>
}
tile! {
    /// Two rows by two panels.
    fn two_by_two(x: [&[f32]; 2]) = apart<2, 2>
}
tile! {
    /// Four rows by one panel.
    fn four(x: [&[f32]; 4]) = apart<4, 1>
}

/// Exchanges rows and columns: four times the perfect shuffle of the rows.
#[inline(always)]
fn exchange(mut block: Tile) -> Tile {
    for _ in 0..4 {
        let mut shuffled = [[0.0; 16]; 16];
        for i in 0..8 {
            for j in 0..8 {
                shuffled[2 * i][2 * j] = block[i][j];
                shuffled[2 * i][2 * j + 1] = block[i + 8][j];
                shuffled[2 * i + 1][2 * j] = block[i][8 + j];
                shuffled[2 * i + 1][2 * j + 1] = block[i + 8][8 + j];
            }
        }
        block = shuffled;
    }
    block
}

multiversion! {
    /// Lays up to sixteen rows side by side, input by input: `[inputs, 16]`, zeros where there is no row.
    pub(super) fn interleave_sixteen(out: &mut [f32], rows: &[&[f32]; 16]) {
        let (blocks, rest) = out.as_chunks_mut::<256>();
        for (b, out) in blocks.iter_mut().enumerate() {
            let mut block = [[0.0; 16]; 16];
            for (to, row) in block.iter_mut().zip(rows) {
                if !row.is_empty() {
                    to.copy_from_slice(&row[b * 16..b * 16 + 16]);
                }
            }
            out.copy_from_slice(exchange(block).as_flattened());
        }
        for (i, out) in rest.chunks_exact_mut(16).enumerate() {
            let at = blocks.len() * 16 + i;
            for (to, row) in out.iter_mut().zip(rows) {
                *to = row.get(at).copied().unwrap_or(0.0);
            }
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
