//! Blocking of products for AVX-512: which panels meet in which order.
//!
//! A panel of the left operand stays in the first-level cache while the panels of the right one stream past it from the
//! second.

use std::ops::Range;

use super::buffer::Buffer;
use super::packed::{BLOCK, PANEL, lane_depth};
use super::{Part, Precision, Target, View, Write};

mod dot;
mod lanes;
mod micro;
mod pack;
mod peak;

use lanes::{Bf16, Kernel, Single};
use micro::Corner;
use pack::Strips;

/// Rows of a panel of the left operand at most.
const HEIGHT: usize = 14;
/// Floats from a lane of a left panel to the next.
const LEFT: usize = 16;
/// Floats from a left panel to the next; not a power of two, so that the panels fall into different cache sets.
const APART: usize = BLOCK * LEFT + 16;
/// Panels of the left operand that are packed together.
const GROUP: usize = 8;
/// Lanes times columns of the right operand that should stay in the second-level cache.
const RESIDENT: usize = 128 << 10;

/// Packs `terms x columns` of `from` as panels that are `apart` floats from one another; missing columns become 0.
///
/// # Safety
/// The view covers the shape, `to` the panels' lanes, and the machine has the instructions of `precision`.
pub(super) unsafe fn pack_columns(to: *mut f32, apart: usize, from: View, [terms, columns]: [usize; 2], precision: Precision) {
    let View { start: from, row: deep, column: along } = from;
    let count = 2 * columns.div_ceil(PANEL);
    let strips = Strips { to, step: PANEL, pair: 2, apart, from, along, deep, height: 16, count, rows: columns, terms };
    // SAFETY: promised by the caller.
    unsafe {
        match precision {
            Precision::F32 => Single::pack(strips),
            Precision::Bf16 => Bf16::pack(strips),
        }
    }
}

/// `out[n, o] = x[n, k] w[o, k]^T`, both with consecutive `k`.
///
/// # Safety
/// The views cover the shapes, and the machine has the instructions of `precision`.
pub(super) unsafe fn dot_rows(out: Target, size: [usize; 3], x: View, w: View, precision: Precision) {
    // SAFETY: promised by the caller.
    unsafe {
        match precision {
            Precision::F32 => Single::dot(out, size, x, w),
            Precision::Bf16 => Bf16::dot(out, size, x, w),
        }
    }
}

/// See [`super::registers_only`].
///
/// # Safety
/// The machine has the instructions of `precision`.
pub(super) unsafe fn registers_only(rounds: usize, precision: Precision) -> f64 {
    // SAFETY: promised by the caller.
    unsafe {
        match precision {
            Precision::F32 => Single::peak(rounds),
            Precision::Bf16 => Bf16::peak(rounds),
        }
    }
    // Sixteen columns, a multiplication and an addition per term.
    (rounds * peak::SUMS * 16 * 2 * lane_depth(precision)) as f64
}

/// See [`super::products_packed`].
///
/// # Safety
/// As there; all operands consist of panels, so the machine has the instructions.
pub(super) unsafe fn products(parts: &[Part<'_>], m: usize, a: View, terms: Range<usize>, write: Write) {
    let Some(first) = parts.first() else { return };
    let (k, precision) = (first.b.size()[0], first.b.precision());
    for Part { b, columns, .. } in parts {
        assert!(b.size()[0] == k && b.precision() == precision, "right operands of one left operand are alike");
        assert!(columns.start.is_multiple_of(PANEL) && columns.end <= b.size()[1], "columns begin on panels of the operand");
    }
    assert!(terms.start.is_multiple_of(lane_depth(precision)) && terms.end <= k, "terms begin on lanes of the operand");
    // SAFETY: promised by the caller.
    unsafe {
        match precision {
            Precision::F32 => blocks::<Single>(parts, m, a, terms, k, write),
            Precision::Bf16 => blocks::<Bf16>(parts, m, a, terms, k, write),
        }
    }
}

unsafe fn blocks<K: Kernel>(parts: &[Part<'_>], m: usize, a: View, terms: Range<usize>, k: usize, write: Write) {
    let depth = K::DEPTH;
    let lanes = k.div_ceil(depth);
    let groups = m.div_ceil(HEIGHT * GROUP);
    let mut left = Buffer::take(m.div_ceil(HEIGHT).min(GROUP) * APART);
    let last = terms.end.div_ceil(depth);
    for group in 0..groups {
        let group = m * group / groups..m * (group + 1) / groups;
        let panels = group.len().div_ceil(HEIGHT);
        // All panels have nearly the same height.
        let height = group.len().div_ceil(panels);
        let mut lane = terms.start / depth;
        let mut write = write;
        while lane < last {
            let block = lane / BLOCK * BLOCK;
            let end = (block + BLOCK).min(last);
            let in_block = BLOCK.min(lanes - block);
            let from = lane * depth - terms.start;
            let n_terms = (end * depth).min(terms.end) - lane * depth;
            // SAFETY: the rows and terms lie inside `a`, the panels inside the buffer.
            unsafe {
                let View { start: from, row: along, column: deep } = a.at(group.start, from);
                let (to, rows) = (left.start_mut(), group.len());
                K::pack(Strips {
                    to,
                    step: LEFT,
                    pair: 1,
                    apart: APART,
                    from,
                    along,
                    deep,
                    height,
                    count: panels,
                    rows,
                    terms: n_terms,
                });
            }
            for Part { out, b, columns } in parts {
                let stride = b.size()[1].div_ceil(PANEL) * PANEL;
                let resident = (RESIDENT / (end - lane)).max(PANEL) / PANEL * PANEL;
                for first in columns.clone().step_by(resident) {
                    let until = (first + resident).min(columns.end);
                    for panel in 0..panels {
                        let top = group.start + panel * height;
                        let rows = height.min(group.end.saturating_sub(top));
                        if rows == 0 {
                            break;
                        }
                        for column in (first..until).step_by(PANEL) {
                            // SAFETY: panels, rows and columns lie inside what the caller promised.
                            unsafe {
                                K::multiply(Corner {
                                    lanes: end - lane,
                                    left: left.start().add(panel * APART),
                                    right: b.start().add(block * stride + column * in_block + (lane - block) * PANEL),
                                    out: out.at(top, column - columns.start),
                                    rows,
                                    columns: PANEL.min(until - column),
                                    write,
                                });
                            }
                        }
                    }
                }
            }
            write = Write::Add;
            lane = end;
        }
    }
}
