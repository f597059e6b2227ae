//! Packing: strips of rows or columns of an operand, lane after lane.

use std::arch::x86_64::*;

use super::lanes::Lane;

/// Strips that are packed together at most.
const STRIPS: usize = 8;
/// Lanes that are fetched ahead.
const AHEAD: usize = 4;

/// Rows (or columns) of an operand and where their lanes go, in strips of up to sixteen.
#[derive(Clone, Copy)]
pub(super) struct Strips {
    /// First lane of the first strip: sixteen floats, one per row.
    pub(super) to: *mut f32,
    /// Floats from a lane to the next.
    pub(super) step: usize,
    /// Strips side by side in a lane.
    pub(super) pair: usize,
    /// Floats from the first lane of such a group of strips to that of the next.
    pub(super) apart: usize,
    /// First term of the first row.
    pub(super) from: *const f32,
    /// Floats from a row to the next.
    pub(super) along: usize,
    /// Floats from a term to the next.
    pub(super) deep: usize,
    /// Rows of a strip, at most sixteen; what is left of its lanes becomes 0.
    pub(super) height: usize,
    /// Number of strips, at most [`STRIPS`]; whole groups.
    pub(super) count: usize,
    /// Rows of all strips together.
    pub(super) rows: usize,
    /// Terms of each row; an incomplete lane is filled with 0.
    pub(super) terms: usize,
}

impl Strips {
    /// Where a strip begins.
    #[inline(always)]
    fn start(&self, strip: usize) -> *mut f32 {
        self.to.wrapping_add(strip / self.pair * self.apart + strip % self.pair * 16)
    }

    /// How many rows a strip has.
    #[inline(always)]
    fn width(&self, strip: usize) -> usize {
        self.rows.saturating_sub(strip * self.height).min(self.height)
    }
}

/// Packs strips.
///
/// # Safety
/// The operand has the rows and terms, `to` the lanes, and the machine the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn strips<L: Lane>(strips: Strips) {
    let Strips { step, from, along, deep, height, count, rows, terms, .. } = strips;
    let lanes = terms.div_ceil(L::DEPTH);
    // SAFETY: promised by the caller; where a strip has no rows, nothing is read.
    unsafe {
        if deep == 1 {
            for strip in 0..count {
                let (to, from) = (strips.start(strip), from.wrapping_add(strip * height * along));
                transposed::<L>(to, step, from, along, strips.width(strip), terms);
            }
        } else if along == 1 {
            assert!(count <= STRIPS, "strips are packed a few at a time");
            let (mut starts, mut masks) = ([std::ptr::null_mut(); STRIPS], [0 as __mmask16; STRIPS]);
            for strip in 0..count {
                let width = strips.width(strip);
                starts[strip] = strips.start(strip);
                masks[strip] = if width >= 16 { !0 } else { (1 << width) - 1 };
            }
            // A term of all strips before the next term: they lie side by side.
            for lane in 0..lanes {
                let from = from.add(lane * L::DEPTH * deep);
                let left = terms - lane * L::DEPTH;
                // Terms may be pages apart, where the machine does not guess what comes next.
                for term in 0..L::DEPTH {
                    let ahead = from.wrapping_add((AHEAD * L::DEPTH + term) * deep);
                    for line in (0..rows).step_by(16) {
                        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line).cast());
                    }
                }
                for strip in 0..count {
                    let value = L::wide(from.wrapping_add(strip * height), deep, left, masks[strip]);
                    _mm512_storeu_ps(starts[strip].add(lane * step), value);
                }
            }
        } else {
            for (strip, lane) in (0..count).flat_map(|strip| (0..lanes).map(move |lane| (strip, lane))) {
                let mut gathered = [0.0; 32];
                for term in 0..L::DEPTH.min(terms - lane * L::DEPTH) {
                    for i in 0..strips.width(strip) {
                        gathered[term * 16 + i] = *from.add((strip * height + i) * along + (lane * L::DEPTH + term) * deep);
                    }
                }
                _mm512_storeu_ps(strips.start(strip).add(lane * step), L::wide(gathered.as_ptr(), 16, L::DEPTH, !0));
            }
        }
    }
}

/// Packs one strip of rows with consecutive terms.
///
/// # Safety
/// As for [`strips`].
#[inline(always)]
unsafe fn transposed<L: Lane>(to: *mut f32, step: usize, from: *const f32, along: usize, width: usize, terms: usize) {
    let lanes = terms.div_ceil(L::DEPTH);
    // SAFETY: promised by the caller.
    unsafe {
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
