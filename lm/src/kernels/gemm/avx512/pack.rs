//! Packing: sixteen rows or columns of an operand, lane after lane.

use std::arch::x86_64::*;

use super::lanes::Lane;

/// Up to sixteen rows (or columns) of an operand and where their lanes go.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    /// First lane: sixteen floats, one per row.
    pub(super) to: *mut f32,
    /// Floats from a lane to the next.
    pub(super) step: usize,
    /// First term of the first row.
    pub(super) from: *const f32,
    /// Floats from a row to the next.
    pub(super) along: usize,
    /// Floats from a term to the next.
    pub(super) deep: usize,
    /// Rows, at most sixteen; the others become 0.
    pub(super) width: usize,
    /// Terms of each row; an incomplete lane is filled with 0.
    pub(super) terms: usize,
}

/// Packs a strip.
///
/// # Safety
/// The operand has the rows and terms, `to` the lanes, and the machine the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn strip<L: Lane>(strip: Strip) {
    let Strip { to, step, from, along, deep, width, terms } = strip;
    let lanes = terms.div_ceil(L::DEPTH);
    let mask: __mmask16 = if width >= 16 { !0 } else { (1 << width) - 1 };
    // SAFETY: promised by the caller.
    unsafe {
        if deep == 1 {
            for first in (0..lanes).step_by(16) {
                let done = first * L::DEPTH;
                let mut rows = [_mm512_setzero_ps(); 16];
                for (i, row) in rows.iter_mut().enumerate() {
                    if i < width {
                        *row = L::deep(from.add(i * along + done), terms - done);
                    }
                }
                let columns = transpose(rows);
                let count = (lanes - first).min(16);
                for (i, column) in columns.iter().enumerate() {
                    if i < count {
                        _mm512_storeu_ps(to.add((first + i) * step), *column);
                    }
                }
            }
        } else if along == 1 {
            for lane in 0..lanes {
                let done = lane * L::DEPTH;
                _mm512_storeu_ps(to.add(lane * step), L::wide(from.add(done * deep), deep, terms - done, mask));
            }
        } else {
            for lane in 0..lanes {
                let mut gathered = [0.0; 32];
                for term in 0..L::DEPTH.min(terms - lane * L::DEPTH) {
                    for i in 0..width {
                        gathered[term * 16 + i] = *from.add(i * along + (lane * L::DEPTH + term) * deep);
                    }
                }
                _mm512_storeu_ps(to.add(lane * step), L::wide(gathered.as_ptr(), 16, L::DEPTH, !0));
            }
        }
    }
}

/// The transpose of a 16 x 16 matrix.
///
/// # Safety
/// Needs AVX-512.
#[inline(always)]
unsafe fn transpose(r: [__m512; 16]) -> [__m512; 16] {
    // SAFETY: promised by the caller.
    unsafe {
        let mut t = r;
        // Pairs of rows: 32-bit elements alternate.
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        // Fours of rows: `q[4 i + j]` holds column `j` (and `j + 4`, ...) of rows `4 i..4 i + 4` in its quarters.
        let mut q = t;
        for i in 0..4 {
            let pd = |x: __m512| _mm512_castps_pd(x);
            q[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(t[4 * i]), pd(t[4 * i + 2])));
            q[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(t[4 * i]), pd(t[4 * i + 2])));
            q[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(t[4 * i + 1]), pd(t[4 * i + 3])));
            q[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(t[4 * i + 1]), pd(t[4 * i + 3])));
        }
        // Quarters: first those of rows 0..8 and 8..16, then all four.
        let mut out = q;
        for j in 0..4 {
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(q[j], q[4 + j]);
            let odd_low = _mm512_shuffle_f32x4::<0b11_01_11_01>(q[j], q[4 + j]);
            let high = _mm512_shuffle_f32x4::<0b10_00_10_00>(q[8 + j], q[12 + j]);
            let odd_high = _mm512_shuffle_f32x4::<0b11_01_11_01>(q[8 + j], q[12 + j]);
            out[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low, high);
            out[8 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low, high);
            out[4 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(odd_low, odd_high);
            out[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(odd_low, odd_high);
        }
        out
    }
}
