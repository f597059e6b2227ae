//! The innermost loop: a panel of rows times a panel of columns, all sums in registers.

use std::arch::x86_64::*;

use super::lanes::Lane;
use super::{LEFT, PANEL, Target, Write};

/// One corner of a product: a left panel, a right panel, and where their product goes.
#[derive(Clone, Copy)]
pub(super) struct Corner {
    /// Lanes of both panels.
    pub(super) lanes: usize,
    /// First lane of the left panel.
    pub(super) left: *const f32,
    /// First lane of the right panel.
    pub(super) right: *const f32,
    /// First element of the product.
    pub(super) out: Target,
    /// Rows, at most fourteen.
    pub(super) rows: usize,
    /// Columns, at most [`PANEL`].
    pub(super) columns: usize,
    /// What happens to the old content.
    pub(super) write: Write,
}

/// Multiplies one corner of `ROWS` rows and up to `16 * VECTORS` columns.
///
/// # Safety
/// The panels have the lanes, the target the rows and columns, and the machine the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn corner<L: Lane, const ROWS: usize, const VECTORS: usize>(corner: Corner) {
    let Corner { lanes, mut left, mut right, out, columns, write, .. } = corner;
    // SAFETY: promised by the caller.
    unsafe {
        for row in 0..ROWS {
            _mm_prefetch::<_MM_HINT_T0>(out.start.wrapping_add(row * out.row).cast());
            _mm_prefetch::<_MM_HINT_T0>(out.start.wrapping_add(row * out.row + columns - 1).cast());
        }
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for _ in 0..lanes {
            let mut columns = [_mm512_setzero_ps(); VECTORS];
            for (vector, columns) in columns.iter_mut().enumerate() {
                *columns = _mm512_load_ps(right.add(vector * 16));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*left.add(row));
                for vector in 0..VECTORS {
                    sums[vector] = L::multiply_add(sums[vector], value, columns[vector]);
                }
            }
            left = left.add(LEFT);
            right = right.add(PANEL);
        }
        let last = columns - (VECTORS - 1) * 16;
        let mask: __mmask16 = if last >= 16 { !0 } else { (1 << last) - 1 };
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                let to = out.start.add(row * out.row + vector * 16);
                let mask = if vector + 1 == VECTORS { mask } else { !0 };
                let value = match write {
                    Write::Set => *sum,
                    Write::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), *sum),
                };
                _mm512_mask_storeu_ps(to, mask, value);
            }
        }
    }
}
