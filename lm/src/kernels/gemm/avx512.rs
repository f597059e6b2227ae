//! Blocking of products for AVX-512: which panels meet in which order.
//!
//! A panel of the left operand stays in the first-level cache while the panels of the right one stream past it from the
//! second.

use super::buffer::Buffer;
use super::packed::{BLOCK, PANEL, lane_depth};
use super::{Packed, Precision, Target, View, Window, Write};

mod dot;
mod lanes;
mod micro;
mod pack;

use lanes::{Bf16, Kernel, Single};
use micro::Corner;
use pack::Strip;

/// Rows of a panel of the left operand at most.
const HEIGHT: usize = 14;
/// Floats from a lane of a left panel to the next.
const LEFT: usize = 16;
/// Panels of the left operand that are packed together.
const GROUP: usize = 8;
/// Lanes times columns of the right operand that should stay in the second-level cache.
const RESIDENT: usize = 128 << 10;

/// Packs `terms x columns` of `from` (at most [`PANEL`] columns) as one panel; missing columns become 0.
///
/// # Safety
/// The view covers the shape, `to` the panel's lanes, and the machine has the instructions of `precision`.
pub(super) unsafe fn pack_columns(to: *mut f32, from: View, columns: usize, terms: usize, precision: Precision) {
    let strip = |half: usize| {
        let width = columns.saturating_sub(half * 16).min(16);
        // SAFETY: `half` is 0 or 1, inside the panel; an empty strip reads nothing.
        unsafe {
            let from = if width == 0 { from } else { from.at(0, half * 16) };
            Strip { to: to.add(half * 16), step: PANEL, from: from.start, along: from.column, deep: from.row, width, terms }
        }
    };
    // SAFETY: promised by the caller.
    unsafe {
        for half in 0..2 {
            match precision {
                Precision::F32 => Single::pack(strip(half)),
                Precision::Bf16 => Bf16::pack(strip(half)),
            }
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

/// See [`super::product_packed`].
///
/// # Safety
/// As there; `b` consists of panels, so the machine has the instructions.
pub(super) unsafe fn product(out: Target, m: usize, a: View, b: &Packed, window: Window, write: Write) {
    // SAFETY: promised by the caller.
    unsafe {
        match b.precision() {
            Precision::F32 => blocks::<Single>(out, m, a, b, window, write),
            Precision::Bf16 => blocks::<Bf16>(out, m, a, b, window, write),
        }
    }
}

unsafe fn blocks<K: Kernel>(out: Target, m: usize, a: View, b: &Packed, window: Window, write: Write) {
    let depth = lane_depth(b.precision());
    let [k, n] = b.size();
    let (lanes, stride) = (k.div_ceil(depth), n.div_ceil(PANEL) * PANEL);
    let Window { columns, depth: terms } = window;
    assert!(columns.start.is_multiple_of(PANEL) && terms.start.is_multiple_of(depth), "windows begin on panels and lanes");
    assert!(columns.end <= n && terms.end <= k, "windows lie inside the operand");
    let panels = m.div_ceil(HEIGHT);
    let groups = panels.div_ceil(GROUP);
    let mut left = Buffer::take(panels.min(GROUP) * BLOCK * LEFT);
    // Panel `p` of the left operand begins at this row: all panels have nearly the same height.
    let row = |p: usize| m * p / panels;
    let last = terms.end.div_ceil(depth);
    for group in 0..groups {
        let group = panels * group / groups..panels * (group + 1) / groups;
        let mut lane = terms.start / depth;
        let mut write = write;
        while lane < last {
            let block = lane / BLOCK * BLOCK;
            let end = (block + BLOCK).min(last);
            let in_block = BLOCK.min(lanes - block);
            let from = lane * depth - terms.start;
            let n_terms = (end * depth).min(terms.end) - lane * depth;
            for p in group.clone() {
                // SAFETY: the rows and terms lie inside `a`, the panel inside the buffer.
                unsafe {
                    let a = a.at(row(p), from);
                    let to = left.start_mut().add((p - group.start) * BLOCK * LEFT);
                    let width = row(p + 1) - row(p);
                    K::pack(Strip { to, step: LEFT, from: a.start, along: a.row, deep: a.column, width, terms: n_terms });
                }
            }
            let resident = (RESIDENT / (end - lane)).max(PANEL) / PANEL * PANEL;
            for first in columns.clone().step_by(resident) {
                let until = (first + resident).min(columns.end);
                for p in group.clone() {
                    let (top, rows) = (row(p), row(p + 1) - row(p));
                    for column in (first..until).step_by(PANEL) {
                        // SAFETY: panels, rows and columns lie inside what the caller promised.
                        unsafe {
                            K::multiply(Corner {
                                lanes: end - lane,
                                left: left.start().add((p - group.start) * BLOCK * LEFT),
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
            write = Write::Add;
            lane = end;
        }
    }
}
