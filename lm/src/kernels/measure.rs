//! Single matrix products and the machine's peak, for measurements from outside this crate.

use super::gemm::{self, Precision, Target, View, Write};
use super::matmul;

/// How an operand lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Row after row.
    Rows,
    /// Column after column: the transpose is stored row after row.
    Columns,
}

/// Where a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the calling thread.
    ThisThread,
    /// On rayon's pool.
    Pool,
}

/// A dense operand.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its elements.
    pub values: &'a [f32],
    /// Their order.
    pub order: Order,
}

impl Operand<'_> {
    fn view(self, rows: usize, columns: usize) -> View {
        assert_eq!(self.values.len(), rows * columns, "the operand has its shape");
        match self.order {
            Order::Rows => View::rows(self.values, columns),
            Order::Columns => View::transposed(self.values, rows),
        }
    }
}

/// `out[m, n] = a[m, k] b[k, n]`, packing included.
///
/// # Panics
/// When a slice does not have its shape.
pub fn product(out: &mut [f32], [m, n, k]: [usize; 3], a: Operand<'_>, b: Operand<'_>, precision: Precision, place: Place) {
    assert_eq!(out.len(), m * n, "the target has its shape");
    let (target, a, b) = (Target::rows(out, n), a.view(m, k), b.view(k, n));
    // SAFETY: the lengths were checked and `out` is borrowed exclusively.
    unsafe {
        match place {
            Place::ThisThread => gemm::product(target, [m, n, k], a, b, Write::Set, precision),
            Place::Pool => gemm::parallel_product(target, [m, n, k], a, b, Write::Set, precision),
        }
    }
}

/// `out[n, o] = x[n, i] w[o, i]^T` as layers compute it, few rows without packing; on rayon's pool.
///
/// # Panics
/// When the slices do not fit each other.
pub fn linear(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize, precision: Precision) {
    matmul::forward_in(out, x, w, inputs, precision);
}

/// Multiply-adds of `rounds` rounds of the vector instruction of `precision` on this thread, with operands and sums in
/// registers, as a number of floating-point operations; `None` where the machine lacks the instruction.
///
/// Divided by the time it takes, it is the most a core can do.
pub fn registers_only(rounds: usize, precision: Precision) -> Option<f64> {
    gemm::registers_only(rounds, precision)
}
