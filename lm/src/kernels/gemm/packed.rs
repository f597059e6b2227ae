//! The right operand of products, laid out as the micro-kernel reads it.

use rayon::prelude::*;

use super::buffer::Buffer;
use super::{Precision, View, Window, has_avx512, portable};

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Lanes of depth in a block. A lane is 32 bits: a float, or two bf16.
pub(super) const BLOCK: usize = 256;

/// Panels that are packed together.
const TOGETHER: usize = 4;

/// A `[k, n]` matrix packed for [`super::product_packed`], rounded to its precision.
///
/// Blocks of [`BLOCK`] lanes follow one another; a block holds its panels of [`PANEL`] columns, a panel its lanes in
/// order. Without AVX-512 the matrix is row-major instead.
#[derive(Debug)]
pub(crate) struct Packed {
    buffer: Buffer,
    size: [usize; 2],
    precision: Precision,
    panels: bool,
}

#[derive(Clone, Copy)]
struct Place(*mut f32);
// SAFETY: only an address; panels are disjoint.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// Terms in a lane.
pub(super) fn lane_depth(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 1,
        Precision::Bf16 => 2,
    }
}

impl Packed {
    /// Packs `b[k, n]`, spread over rayon's pool.
    ///
    /// # Safety
    /// The view covers `k x n` valid elements.
    pub(crate) unsafe fn new(b: View, size: [usize; 2], precision: Precision) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            Self::build(b, size, precision, |pieces, one| {
                (0..pieces).into_par_iter().for_each(one);
            })
        }
    }

    /// Like [`Packed::new`] on this thread.
    ///
    /// # Safety
    /// As for [`Packed::new`].
    pub(crate) unsafe fn on_this_thread(b: View, size: [usize; 2], precision: Precision) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Self::build(b, size, precision, |pieces, one| (0..pieces).for_each(one)) }
    }

    unsafe fn build(
        b: View,
        [k, n]: [usize; 2],
        precision: Precision,
        each: impl FnOnce(usize, &(dyn Fn(usize) + Sync)),
    ) -> Self {
        if !has_avx512(precision) {
            let mut buffer = Buffer::take(k * n);
            // SAFETY: promised by the caller; the buffer holds `k x n` floats.
            unsafe { portable::copy(buffer.start_mut(), b, [k, n], precision) };
            return Self { buffer, size: [k, n], precision, panels: false };
        }
        let depth = lane_depth(precision);
        let (lanes, panels) = (k.div_ceil(depth), n.div_ceil(PANEL));
        let mut buffer = Buffer::take(lanes * panels * PANEL);
        let to = Place(buffer.start_mut());
        let across = panels.div_ceil(TOGETHER);
        let one = |piece: usize| {
            let (block, panel) = (piece / across, piece % across * TOGETHER);
            let first = block * BLOCK;
            let count = BLOCK.min(lanes - first);
            // SAFETY: panels are disjoint pieces of the buffer and of what the caller promised; the machine has AVX-512.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                // `{ to }` captures the wrapper, which may cross threads, not the pointer in it.
                let to = { to }.0.add(first * panels * PANEL + panel * count * PANEL);
                let terms = (count * depth).min(k - first * depth);
                let columns = (TOGETHER * PANEL).min(n - panel * PANEL);
                let from = b.at(first * depth, panel * PANEL);
                super::avx512::pack_columns(to, count * PANEL, from, [terms, columns], precision);
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = (count, to);
        };
        each(lanes.div_ceil(BLOCK) * across, &one);
        Self { buffer, size: [k, n], precision, panels: true }
    }

    /// `[k, n]`.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Window {
        Window { columns: 0..self.size[1], depth: 0..self.size[0] }
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    pub(super) fn is_panels(&self) -> bool {
        self.panels
    }

    pub(super) fn start(&self) -> *const f32 {
        self.buffer.start()
    }
}
