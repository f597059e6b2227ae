//! Matrix products: strided operands, single precision or bf16 inputs, one thread or rayon's pool.
//!
//! On AVX-512 the right operand is packed into panels of 32 columns and the left one into panels of up to 14 rows; a
//! micro-kernel keeps 14 x 32 sums in registers. Elsewhere the `gemm` crate computes the same products.
//!
//! The bits of a result depend on the operands alone: an element is the sum, over blocks of [`block_depth`] terms in
//! order, of chains of fused multiply-adds in order of `k` (bf16: of pairs). They depend neither on the number of threads
//! nor on how rows and columns are cut, and a product whose `k` is cut at multiples of the block, the pieces added in
//! order with [`Write::Add`], has the bits of the whole. (On machines without AVX-512 only the threads do not matter.)
//!
//! Knows no layers; `matmul` names the products of a linear map.

use std::ops::Range;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod few;
mod packed;
mod portable;
#[cfg(test)]
mod tests;

pub(crate) use few::{few_rows, is_few};
pub(crate) use packed::Packed;

/// What the inputs of a product are rounded to. Sums and outputs are single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// Rounded to bfloat16, to nearest even.
    Bf16,
}

/// A strided matrix somewhere in memory.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// First element.
    pub(crate) start: *const f32,
    /// Elements from a row to the next.
    pub(crate) row: usize,
    /// Elements from a column to the next.
    pub(crate) column: usize,
}

impl View {
    /// A row-major matrix with `columns` columns.
    pub(crate) fn rows(values: &[f32], columns: usize) -> Self {
        Self { start: values.as_ptr(), row: columns, column: 1 }
    }

    /// The transpose of a row-major matrix with `columns` columns.
    pub(crate) fn transposed(values: &[f32], columns: usize) -> Self {
        Self::rows(values, columns).transpose()
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transpose(self) -> Self {
        Self { start: self.start, row: self.column, column: self.row }
    }

    /// The same matrix from element `(row, column)` on.
    ///
    /// # Safety
    /// The element lies inside the allocation.
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: promised by the caller.
        Self { start: unsafe { self.start.add(row * self.row + column * self.column) }, ..self }
    }
}

// SAFETY: a view is only an address; whoever reads through it promises that it is valid.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

/// Where a product goes: row-major with `row` elements from a row to the next.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// First element.
    pub(crate) start: *mut f32,
    /// Elements from a row to the next.
    pub(crate) row: usize,
}

impl Target {
    /// A row-major matrix with `columns` columns.
    pub(crate) fn rows(values: &mut [f32], columns: usize) -> Self {
        Self { start: values.as_mut_ptr(), row: columns }
    }

    /// The same matrix from element `(row, column)` on.
    ///
    /// # Safety
    /// The element lies inside the allocation.
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: promised by the caller.
        Self { start: unsafe { self.start.add(row * self.row + column) }, ..self }
    }
}

// SAFETY: a target is only an address; whoever writes through it promises that nobody else touches the same elements.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// What happens to the old content of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It is replaced.
    Set,
    /// The product is added to it.
    Add,
}

/// Terms of a sum that are added before they are added to the target.
#[cfg_attr(not(test), expect(dead_code, reason = "callers that cut sums state it"))]
pub(crate) fn block_depth(precision: Precision) -> usize {
    packed::BLOCK
        * match precision {
            Precision::F32 => 1,
            Precision::Bf16 => 2,
        }
}

/// Whether this machine has the instructions of the kernels for `precision`.
fn has_avx512(precision: Precision) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        wide && (precision == Precision::F32 || is_x86_feature_detected!("avx512bf16"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = precision;
        false
    }
}

/// Floating-point operations of `rounds` rounds of multiply-adds in registers, after running them; `None` without the
/// instructions.
pub(crate) fn registers_only(rounds: usize, precision: Precision) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if has_avx512(precision) {
        // SAFETY: the instructions were just found to exist.
        return Some(unsafe { avx512::registers_only(rounds, precision) });
    }
    let _ = (rounds, precision);
    None
}

/// `out[m, n] = a[m, k] b[k, n]` (or `+=`) on this thread.
///
/// # Safety
/// The views cover `m x k`, `k x n` and `m x n` elements that are valid, and nobody else accesses those of `out`.
pub(crate) unsafe fn product(out: Target, [m, n, k]: [usize; 3], a: View, b: View, write: Write, precision: Precision) {
    // SAFETY: promised by the caller.
    unsafe {
        if has_avx512(precision) {
            let packed = Packed::on_this_thread(b, [k, n], precision);
            product_packed(out, m, a, &packed, packed.whole(), write);
        } else {
            portable::product(out, [m, n, k], a, b, write, precision);
        }
    }
}

/// Like [`product`], spread over rayon's pool.
///
/// # Safety
/// As for [`product`].
pub(crate) unsafe fn parallel_product(out: Target, [m, n, k]: [usize; 3], a: View, b: View, write: Write, precision: Precision) {
    if m * n * k < 1 << 17 {
        // SAFETY: promised by the caller.
        return unsafe { product(out, [m, n, k], a, b, write, precision) };
    }
    // SAFETY: promised by the caller.
    unsafe {
        if has_avx512(precision) {
            let packed = Packed::new(b, [k, n], precision);
            parallel_products_packed(&[(out, &packed)], m, a, write);
        } else {
            tiles(m, n).into_par_iter().for_each(|Tile { rows, columns }| {
                let (out, a, b) = (out.at(rows.start, columns.start), a.at(rows.start, 0), b.at(0, columns.start));
                portable::product(out, [rows.len(), columns.len(), k], a, b, write, precision);
            });
        }
    }
}

/// A piece of a packed operand: the columns begin at a multiple of [`packed::PANEL`], the depth at an even index.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Columns of the product.
    pub(crate) columns: Range<usize>,
    /// Terms of its sums.
    pub(crate) depth: Range<usize>,
}

/// A right operand and where its product goes.
#[derive(Clone)]
pub(crate) struct Part<'a> {
    /// The product, which begins with the first of the columns.
    pub(crate) out: Target,
    /// The operand.
    pub(crate) b: &'a Packed,
    /// Its columns that count; they begin at a multiple of [`packed::PANEL`].
    pub(crate) columns: Range<usize>,
}

/// `out[m, columns] = a[m, depth] b[depth, columns]` (or `+=`) on this thread, for a window of a packed operand; `a` begins
/// at the first term of the window.
///
/// # Safety
/// As for [`product`] with the sizes of the window, which lies inside `b`.
pub(crate) unsafe fn product_packed(out: Target, m: usize, a: View, b: &Packed, window: Window, write: Write) {
    let Window { columns, depth } = window;
    // SAFETY: promised by the caller.
    unsafe { products_packed(&[Part { out, b, columns }], m, a, depth, write) }
}

/// Products of one left operand with several right ones of the same depth and precision, on this thread.
///
/// # Safety
/// As for [`product_packed`] with each of the parts, whose targets do not overlap.
pub(crate) unsafe fn products_packed(parts: &[Part<'_>], m: usize, a: View, depth: Range<usize>, write: Write) {
    // SAFETY: promised by the caller; operands are packed for this machine.
    unsafe {
        if depth.is_empty() && write == Write::Set {
            for (part, row) in parts.iter().flat_map(|part| (0..m).map(move |row| (part, row))) {
                std::slice::from_raw_parts_mut(part.out.at(row, 0).start, part.columns.len()).fill(0.0);
            }
        }
        if m == 0 || depth.is_empty() {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if parts.iter().all(|part| part.b.is_panels()) {
            return avx512::products(parts, m, a, depth, write);
        }
        for Part { out, b, columns } in parts {
            portable::product_packed(*out, m, a, b, Window { columns: columns.clone(), depth: depth.clone() }, write);
        }
    }
}

/// Like [`products_packed`] for whole operands, spread over rayon's pool.
///
/// # Safety
/// As for [`products_packed`].
pub(crate) unsafe fn parallel_products_packed(parts: &[(Target, &Packed)], m: usize, a: View, write: Write) {
    let Some([k, widest]) = parts.iter().map(|(_, b)| b.size()).max() else { return };
    // Several parts are cut into rows only.
    let tiles = tiles(m, if parts.len() == 1 { widest } else { 1 });
    let one = |tile: Tile| {
        let parts = parts.iter().map(|(out, b)| {
            let columns = if parts.len() == 1 { tile.columns.clone() } else { 0..b.size()[1] };
            // SAFETY: the tiles are disjoint pieces of what the caller promised.
            Part { out: unsafe { out.at(tile.rows.start, columns.start) }, b, columns }
        });
        // SAFETY: as above.
        unsafe {
            products_packed(&parts.collect::<Vec<_>>(), tile.rows.len(), a.at(tile.rows.start, 0), 0..k, write);
        }
    };
    if m * widest * k < 1 << 17 {
        tiles.into_iter().for_each(one);
    } else {
        tiles.into_par_iter().for_each(one);
    }
}

/// A piece of a product's target.
struct Tile {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// How an `m x n` target is cut: an even number of strips of at most about a hundred rows, and across where there are few.
fn tiles(m: usize, n: usize) -> Vec<Tile> {
    const ROWS: usize = 112;
    let down = m.div_ceil(ROWS).max(m.div_ceil(14).min(8)).next_multiple_of(2).min(m);
    let panels = n.div_ceil(packed::PANEL);
    let across = 8usize.div_ceil(down.max(1)).min(panels.div_ceil(2));
    let mut tiles = Vec::with_capacity(down * across);
    for i in 0..down {
        for j in 0..across {
            let columns = panels * j / across * packed::PANEL..(panels * (j + 1) / across * packed::PANEL).min(n);
            tiles.push(Tile { rows: m * i / down..m * (i + 1) / down, columns });
        }
    }
    tiles
}
